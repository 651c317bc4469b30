"""The report's network in Keras on TensorFlow, in the ways a Keras user would train and ask it.

`pipeline` draws batches of indices in tf.data, gathers images that are tensors in memory, changes a batch by one
projective transform, and runs 32 steps a call. `arrays` hands NumPy arrays to fit. `generator` is the report's own
way, ImageDataGenerator. XLA (jit_compile) made all of them slower and Keras's preprocessing layers the pipeline.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import math
import time
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.peers.server import serve

tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)

STEPS_A_CALL = 32
Way = Literal["pipeline", "arrays", "generator"]


class Data:
    """The data set and which of its images are trained on; images are f32, 0 to 1."""

    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray


class Clock(keras.callbacks.Callback):
    """Seconds from the start of the first batch to the end of the last of a fit.

    What fit does before and after is left out: of an epoch of the real data it is nothing, of a short turn much.
    tf.data's tuner alone may keep it waiting for as long as the turn took.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """No batch has started."""
        self.started = self.ended = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The first batch starts the clock."""
        self.started = self.started or time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Every batch may be the last."""
        self.ended = time.perf_counter()


_models: dict[tuple[Any, ...], keras.Model] = {}
_pipelines: dict[tuple[Any, ...], tf.data.Dataset] = {}


def make_model(steps_a_call: int = 1) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((*Data.images.shape[1:],)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(int(Data.labels.max()) + 1),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False, steps_per_execution=steps_a_call)
    return model


def augment(images: tf.Tensor) -> tf.Tensor:
    """Rotation by 10 degrees, shift by 0.1 of a side and zoom of each axis by 0.1 at most, in one resampling."""
    count, side = tf.shape(images)[0], Data.images.shape[1]
    angle = tf.random.uniform([count], -math.radians(10), math.radians(10))
    shift = tf.random.uniform([2, count], -0.1 * side, 0.1 * side)
    zoom = tf.random.uniform([2, count], 0.9, 1.1)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    rows = (cosine * zoom[0], -sine * zoom[1]), (sine * zoom[0], cosine * zoom[1])
    centre = (side - 1) / 2
    offsets = [centre + shift[axis] - centre * (rows[axis][0] + rows[axis][1]) for axis in range(2)]
    nothing = tf.zeros_like(angle)
    transform = tf.stack([*rows[0], offsets[0], *rows[1], offsets[1], nothing, nothing], axis=1)
    return keras.ops.image.affine_transform(images, transform, interpolation="bilinear", fill_mode="nearest")


def make_pipeline(batch_size: int, augmented: bool, num_images: int) -> tf.data.Dataset:
    """Each time it is gone through, whole batches of `num_images` of the training images, newly shuffled."""
    images, labels, train = (tf.constant(part) for part in (Data.images, Data.labels, Data.train))
    num_batches = num_images // batch_size

    def shuffle(_: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.shuffle(train)[: num_batches * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, (num_batches, batch_size)))

    def take(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.gather(images, indices)
        return augment(batch) if augmented else batch, tf.gather(labels, indices)

    batches = tf.data.Dataset.range(1).flat_map(shuffle).map(take).prefetch(4)
    batches = batches.with_options(_untuned())
    return batches.apply(tf.data.experimental.assert_cardinality(num_batches))


def _untuned() -> tf.data.Options:
    """Without tf.data's tuner: there is nothing to tune, and each pass over the data ends by waiting for it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def load(path: str) -> None:
    """Take images, labels and parts from an .npz."""
    with np.load(path) as file:
        Data.images = file["images"].astype(np.float32) / 255
        Data.labels = file["labels"].astype(np.int32)
        Data.train, Data.test = file["train"], file["test"]


def train(batch_size: int, augmented: bool, way: Way, images: int) -> float:
    """Seconds for training on this many images; the model is kept for the next call of the same kind."""
    case = (batch_size, augmented, way)
    if case not in _models:
        _models[case] = make_model(STEPS_A_CALL if way == "pipeline" else 1)
        if way == "pipeline":
            _pipelines[case] = make_pipeline(batch_size, augmented, images)
    clock = Clock()
    fit = {"verbose": 0, "callbacks": [clock]}
    if way == "pipeline":
        _models[case].fit(_pipelines[case], shuffle=False, **fit)
    else:
        chosen = np.random.default_rng().permutation(Data.train)[:images]
        arrays = Data.images[chosen], Data.labels[chosen]
        if way == "arrays":
            _models[case].fit(*arrays, batch_size=batch_size, **fit)
        else:
            _models[case].fit(make_generator().flow(*arrays, batch_size=batch_size), **fit)
    return clock.ended - clock.started


def make_generator() -> Any:
    """The report's augmentation."""
    return tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=10, width_shift_range=0.1, height_shift_range=0.1, zoom_range=0.1
    )


def train_afresh(batch_size: int, epochs: int) -> int:
    """Errors on the test part of a new model after these epochs without augmentation."""
    model = make_model(STEPS_A_CALL)
    pipeline = make_pipeline(batch_size, False, len(Data.train))
    model.fit(pipeline, epochs=epochs, shuffle=False, verbose=0)
    logits = model.predict(Data.images[Data.test], batch_size=1024, verbose=0)
    return int((logits.argmax(1) != Data.labels[Data.test]).sum())


def cross_validate(folds: list[int], epochs: int, way: Way) -> int:
    """Train a new model for each fold on all other images, without augmentation, and score it; the errors of all."""
    errors = 0
    for fold in range(max(folds) + 1):
        is_scored = np.array(folds) == fold
        model = make_model(STEPS_A_CALL if way == "pipeline" else 1)
        if way == "pipeline":
            Data.train = np.flatnonzero(~is_scored)
            pipeline = make_pipeline(32, False, len(Data.train))
            model.fit(pipeline, epochs=epochs, shuffle=False, verbose=0)
        else:
            model.fit(
                Data.images[~is_scored], Data.labels[~is_scored], epochs=epochs, batch_size=32, verbose=0
            )
        logits = model.predict(Data.images[is_scored], batch_size=BATCH, verbose=0)
        errors += int((logits.argmax(1) != Data.labels[is_scored]).sum())
    return errors


BATCH = 2048  # of 128, 512 and 2,048 the fastest when the model is called as a function; 512 in a pipeline
PIPELINE_BATCH = 512
_asked: dict[tuple[str, str], Any] = {}


def prepare(path: str) -> None:
    """Take the parameters of the model that is asked from an .npz of arrays in its layers' order."""
    model = make_model()
    with np.load(path) as file:
        model.set_weights([file[name] for name in file.files])
    softmax = keras.Sequential([model, layers.Softmax()])
    images, labels = tf.constant(Data.images), tf.constant(Data.labels)

    @tf.function
    def probabilities(first: tf.Tensor) -> tf.Tensor:
        return softmax(images[first : first + BATCH], training=False)

    def pipeline(*arrays: tf.Tensor) -> tf.data.Dataset:
        starts = tf.data.Dataset.range(0, len(images), PIPELINE_BATCH)
        batches = starts.map(lambda first: tuple(array[first : first + PIPELINE_BATCH] for array in arrays))
        return batches.prefetch(4).with_options(_untuned())

    unlabelled, labelled = pipeline(images), pipeline(images, labels)
    starts = range(0, len(images), BATCH)
    model.compile(loss=model.loss, metrics=["accuracy"], jit_compile=False)
    _asked.update(
        {
            ("predict", "model"): lambda: softmax.predict(unlabelled, verbose=0),
            ("predict", "function"): lambda: np.concatenate(
                [probabilities(tf.constant(first)).numpy() for first in starts]
            ),
            ("evaluate", "model"): lambda: model.evaluate(labelled, verbose=0),
            ("evaluate", "arrays"): lambda: model.evaluate(
                Data.images, Data.labels, batch_size=BATCH, verbose=0
            ),
        }
    )


def predict(way: str, path: str | None = None) -> float:
    """Seconds for the probabilities of all images; they are saved to `path` where one is given."""
    started = time.perf_counter()
    probabilities = _asked["predict", way]()
    seconds = time.perf_counter() - started
    if path is not None:
        np.save(path, probabilities)
    return seconds


def evaluate(way: str) -> float:
    """Seconds for accuracy and loss of all images."""
    started = time.perf_counter()
    _asked["evaluate", way]()
    return time.perf_counter() - started


if __name__ == "__main__":
    answers = (load, train, train_afresh, cross_validate, prepare, predict, evaluate)
    serve({function.__name__: function for function in answers})
