"""One training step of the report's network by Keras or PyTorch, from the start of a process.

    python -m benchmarks.peers.first_step keras|pytorch

Prints "first step" when a batch of 32 random images of 28 by 28 has been trained on. As their users would write it:
Keras by `compile` and `train_on_batch`, PyTorch eagerly, channels-last.
"""

import sys

import numpy as np

IMAGES = np.random.default_rng(0).random((32, 28, 28, 1), np.float32)
LABELS = np.arange(32) % 6


def step_keras() -> None:
    """Build, compile, one step."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(6, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.train_on_batch(IMAGES, LABELS)


def step_pytorch() -> None:
    """Build, one step."""
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1600, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 6),
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    loss = nn.functional.cross_entropy(model(images), torch.from_numpy(LABELS))
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    {"keras": step_keras, "pytorch": step_pytorch}[sys.argv[1]]()
    print("first step", flush=True)
