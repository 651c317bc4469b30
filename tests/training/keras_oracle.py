"""Ask Keras what its callbacks decide, and write the answers into keras_decisions.json beside this file.

Not a test, and Keras is no dependency: run it in an environment of its own when the cases change.

    pip install keras==3.15.1 jax
    KERAS_BACKEND=jax python tests/keras_oracle.py

Each callback is Keras's own, on a model whose only weight is set to the number of the epoch (from 0). Metrics
are float32 values handed over as Python floats, as `fit` does. In the JSON every group is one setting of one
callback with its runs; a run names its sequence of metrics and holds what Keras decided. NaN and infinity are
strings, and metrics are written as briefly as float32 allows.
"""

import itertools
import json
import tempfile
from pathlib import Path

import keras
import numpy as np

EPOCHS = 20
STEP = 1 / 16  # a power of two, so that a change by exactly min_delta is exact in float32 and float64
DECISIONS = Path(__file__).parent / "keras_decisions.json"


def make_sequences():
    """Metrics of the epochs by name: those made for one purpose, and those drawn at random."""
    epochs = np.arange(EPOCHS)
    generator = np.random.default_rng(20240229)
    stairs = 1 - STEP * (epochs // 4)
    valley = np.abs(epochs - 8) * STEP
    bumpy = 1 - epochs / 32 + np.where(epochs % 3 == 2, 0.25, 0)
    made = {
        "falling": 1 - epochs * STEP / 2,
        "rising": epochs * STEP / 2,
        "falling by ties": 1 - epochs * STEP,
        "rising by ties": epochs * STEP,
        "flat": np.full(EPOCHS, 0.5),
        "stairs": stairs,
        "stairs upwards": 1 - stairs,
        "valley": valley,
        "hill": 1 - valley,
        "bumpy": bumpy,
        "late": np.where(epochs < 12, 0.5, 0.5 - (epochs - 12) / 8),
        "below and above zero": np.where(epochs % 2, 1, -1) * epochs / 8,
        "NaN first": np.where(epochs == 0, np.nan, stairs),
        "NaN second": np.where(epochs == 1, np.nan, stairs),
        "NaN now and then": np.where(epochs % 5 == 3, np.nan, bumpy),
        "NaN from the middle": np.where(epochs >= 7, np.nan, 1 - epochs * STEP),
        "NaN only": np.full(EPOCHS, np.nan),
        "infinite first": np.where(epochs < 3, np.inf, stairs),
        "infinite below": np.where(epochs < 2, -np.inf, bumpy),
    }
    for number in range(30):
        made[f"random ties {number}"] = np.cumsum(generator.integers(-2, 3, EPOCHS)) * STEP / 2
    for number in range(90):
        made[f"random walk {number}"] = 1 + np.cumsum(generator.normal(-0.02, 0.1, EPOCHS))
        made[f"random decay {number}"] = np.exp(-epochs / 6) + generator.normal(0, 0.05, EPOCHS)
        made[f"random noise {number}"] = generator.random(EPOCHS)
    return {name: values.astype(np.float32) for name, values in made.items()}


def stopping_settings():
    baselines = {
        "min": [None, 0.9, 0.5, -9.0],  # soon beaten, a tie for many a sequence, never beaten
        "max": [None, 0.1, 0.5, 99.0],
    }
    for mode in ("min", "max"):
        for patience in range(6):
            pairs = itertools.product((0.0, STEP), baselines[mode])
            # Every pair with one patience at least, and not with all of them, to keep the file small.
            yield from (
                {"mode": mode, "patience": patience, "min_delta": min_delta, "baseline": baseline}
                for index, (min_delta, baseline) in enumerate(pairs)
                if (index + patience) % 2 == 0
            )


def plateau_settings():
    rates = [
        {"learning_rate": 0.01, "factor": 0.5, "min_lr": 0.0},
        {"learning_rate": 0.1, "factor": 0.3, "min_lr": 0.02},  # the last reduction is cut short
        {"learning_rate": 0.001, "factor": 0.1, "min_lr": 1e-5},  # two reductions; rounding makes them three
        {"learning_rate": 0.001, "factor": 0.2, "min_lr": 0.0},
        {"learning_rate": 0.001, "factor": 0.5, "min_lr": 0.001},  # nothing to reduce
        {"learning_rate": 0.01, "factor": 0.1, "min_lr": 1e-4},  # two reductions, and no more
        {"learning_rate": 0.001, "factor": 0.9, "min_lr": 5e-4},
    ]
    number = 0
    for mode in ("min", "max"):
        for patience in range(6):
            for cooldown in range(patience % 2, 4, 2):
                rate = rates[number % len(rates)]
                min_delta = (0.0, STEP, 1e-4)[number % 3]
                yield {
                    "mode": mode,
                    "patience": patience,
                    "min_delta": min_delta,
                    "cooldown": cooldown,
                    **rate,
                }
                number += 1


def make_model(learning_rate=0.01):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), loss="mse")
    model.stop_training = False
    return model


def run_epochs(callback, model, values):
    """Go through the epochs as `fit` would, and yield the number of each one that has ended."""
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.set_weights([np.full((1, 1), epoch, np.float32)])
        callback.on_epoch_end(epoch, {"metric": float(value)})
        yield epoch
        if model.stop_training:
            break
    callback.on_train_end()


def ask_early_stopping(settings, values):
    model = make_model()
    callback = keras.callbacks.EarlyStopping("metric", restore_best_weights=True, **settings)
    epoch, waits, bests = 0, [], []
    for epoch in run_epochs(callback, model, values):
        waits.append(callback.wait)
        if callback.best_epoch == epoch:
            bests.append(epoch)
    return {
        "stopped": epoch if model.stop_training else None,
        "restored": int(model.get_weights()[0][0, 0]),
        "bests": bests,
        "waits": waits,
    }


def ask_reduce_on_plateau(settings, values):
    settings = dict(settings)
    model = make_model(settings.pop("learning_rate"))
    callback = keras.callbacks.ReduceLROnPlateau("metric", **settings)
    changes, waits, cooldowns = [], [], []  # changes: [epoch, the learning rate from its end on]
    rate = np.float32(model.optimizer.learning_rate)
    for epoch in run_epochs(callback, model, values):
        previous, rate = rate, np.float32(model.optimizer.learning_rate)
        if rate != previous:
            changes.append([epoch, float(str(rate))])
        waits.append(callback.wait)
        cooldowns.append(callback.cooldown_counter)
    return {"changes": changes, "waits": waits, "cooldowns": cooldowns}


def ask_best_so_far(settings, values):
    with tempfile.TemporaryDirectory() as folder:
        callback = keras.callbacks.ModelCheckpoint(
            f"{folder}/{{epoch}}.weights.h5",
            "metric",
            save_best_only=True,
            save_weights_only=True,
            **settings,
        )
        list(run_epochs(callback, make_model(), values))
        # Keras counts epochs from 1 in the names of files.
        return {"saved": sorted(int(path.name.split(".")[0]) - 1 for path in Path(folder).iterdir())}


ASK = {
    "early_stopping": ask_early_stopping,
    "reduce_on_plateau": ask_reduce_on_plateau,
    "best_so_far": ask_best_so_far,
}


def ask(callback, settings, sequences):
    return {
        "callback": callback,
        "settings": settings,
        "runs": [{"sequence": name, **ASK[callback](settings, values)} for name, values in sequences.items()],
    }


def main():
    sequences = make_sequences()
    drawn = [name for name in sequences if name.startswith("random")]
    made = [name for name in sequences if name not in drawn]
    groups = []
    for callback, every_setting in (
        ("early_stopping", list(stopping_settings())),
        ("reduce_on_plateau", list(plateau_settings())),
    ):
        # Sequences made for a purpose meet every setting, random ones one setting of each callback.
        for index, settings in enumerate(every_setting):
            names = made + drawn[index :: len(every_setting)]
            groups.append(ask(callback, settings, {name: sequences[name] for name in names}))
    groups += [ask("best_so_far", {"mode": mode}, sequences) for mode in ("min", "max")]

    brief_sequences = {name: [brief(value) for value in values] for name, values in sequences.items()}
    # A line for each sequence and each run, so that a difference can be read.
    lines = [
        f'{{"keras":"{keras.__version__}"',
        '"sequences":' + dump(brief_sequences).replace('],"', '],\n"'),
        '"groups":' + dump(groups).replace("},{", "},\n{") + "}",
    ]
    DECISIONS.write_text(",\n".join(lines) + "\n", encoding="utf-8")
    assert json.loads(DECISIONS.read_text(encoding="utf-8"))["groups"] == groups


def brief(value):
    return float(str(value)) if np.isfinite(value) else str(value)


def dump(part):
    return json.dumps(part, separators=(",", ":"), allow_nan=False)


if __name__ == "__main__":
    main()
