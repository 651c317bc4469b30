"""The report's phase 1 as its author would have written it, in Keras, from a folder of class folders.

    .venv-peers/bin/python benchmarks/peers/keras_report.py FOLDER [--epochs 20] [--seed 0]

OpenCV reads and resizes the images, ImageDataGenerator changes them at random, 70/15/15 stratified. It prints one
JSON line: seconds of starting (interpreter and imports, from --started), loading, training and evaluating; errors and
loss on the test part.

Source: Molina, "Medical MNIST Data Set Exploration".
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import layers
from tensorflow.keras.preprocessing.image import ImageDataGenerator


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--started", type=float, default=time.time(), help="when the process began, since 1970"
    )
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)

    clock = [arguments.started, time.time()]
    images, labels, class_names = load(arguments.folder)
    train, val, test = split(labels, arguments.seed)
    targets = keras.utils.to_categorical(labels, len(class_names))
    clock.append(time.time())

    model = make_model(len(class_names))
    generator = ImageDataGenerator(
        rotation_range=10, width_shift_range=0.1, height_shift_range=0.1, zoom_range=0.1
    )
    model.fit(
        generator.flow(images[train], targets[train], batch_size=32),
        epochs=arguments.epochs,
        validation_data=(images[val], targets[val]),
        verbose=0,
    )
    clock.append(time.time())
    loss, accuracy = model.evaluate(images[test], targets[test], verbose=0)
    clock.append(time.time())

    parts = ("starting", "loading", "training", "evaluating")
    seconds = {
        f"{part}_seconds": round(float(lap), 2) for part, lap in zip(parts, np.diff(clock), strict=True)
    }
    scores = {"scored": len(test), "errors": round(len(test) * (1 - accuracy)), "loss": loss}
    print(json.dumps({**seconds, **scores, "epochs": arguments.epochs}))


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images of 28 by 28 in [0, 1], their labels, and the names of the classes."""
    class_names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    images, labels = [], []
    for label, class_name in enumerate(class_names):
        for path in sorted((folder / class_name).iterdir()):
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            images.append(cv2.resize(image, (28, 28)))
            labels.append(label)
    return np.array(images, "float32")[..., None] / 255, np.array(labels), class_names


def split(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Indices of train, val and test: 70/15/15 of each class."""
    generator = np.random.default_rng(seed)
    parts = [[], [], []]
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cuts = (np.array([0.70, 0.85]) * len(members)).round().astype(int)
        for part, chosen in zip(parts, np.split(members, cuts), strict=True):
            part.append(chosen)
    return [generator.permutation(np.concatenate(part)) for part in parts]


def make_model(num_classes: int) -> keras.Model:
    """The report's network and optimizer."""
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(num_classes, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


if __name__ == "__main__":
    main()
