"""From what was measured, one JSON a benchmark, to RESULTS.md and its figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from benchmarks.plots import PLOTS
from benchmarks.tables import tables_of
from medjax.report.figures.render import save_figure

HERE = Path(__file__).parent
Record = Mapping[str, Any]  # data, command, date, and the benchmark's own JSON as `figures`


class Benchmark(NamedTuple):
    """What a module is about."""

    title: str
    measures: str
    takes_data: bool = True  # otherwise it makes its own


BENCHMARKS = {
    "throughput": Benchmark(
        "Training",
        "Training images a second of the report's network, each step and its augmentation counted, beside the peers doing "
        "the same, and as a share of what f32 matrix products would reach on these cores at all the multiplications of the "
        "network as written. medjax passes that limit because it does fewer.",
    ),
    "inference": Benchmark(
        "Evaluation and prediction",
        "Images a second through the trained network, beside the peers doing the same.",
    ),
    "networks": Benchmark(
        "Networks",
        "Images a second that networks other than the built-in one train on and answer, written in stock Flax, beside the "
        "same layers in PyTorch, channels-last, by the faster way of eager and torch.compile; random images, without dropout. "
        "Random networks are drawn from a seed. MMAC: millions of multiplications that an image costs, forward. "
        "And how long the training program of ResNet-18 takes to compile, with an empty cache (cold) and a filled one. "
        "What was asked for was set before anything was measured.",
        takes_data=False,
    ),
    "folds": Benchmark(
        "Cross-validation",
        "The strategies for k folds: seconds, peak memory, and how far their numbers lie apart; and the report's "
        "cross-validation, 5 folds without augmentation, by the whole command beside Keras's loop of it.",
    ),
    "loading": Benchmark(
        "Loading",
        "Seconds from an archive to arrays of 28 by 28 pixels, decoded (cold) and from the cache, beside a loop of OpenCV "
        "and one over a folder as torchvision has it.",
    ),
    "startup": Benchmark(
        "Start",
        "Seconds from the start of the process to the end of the first training step, compiled anew (cold) and with the "
        "compilation cache.",
    ),
    "scaling": Benchmark(
        "Scaling",
        "How the seconds of an epoch with its scores, and peak memory, grow: the exponent of a power law over the images, "
        "the image size, the batch size and the folds.",
    ),
    "time_to_accuracy": Benchmark(
        "Time to accuracy",
        "Seconds from the archive on the disk to a scored model, with an empty (cold) and a filled (warm) cache of decoded "
        "images, and the errors on the test part, over seeds whose test parts the recipe was not tuned on, although "
        "its forerunners were scored on them. "
        "The report's own Keras job, with OpenCV and ImageDataGenerator, is run once, where the data are files.",
    ),
}


def write_results(records: Mapping[str, Record], commands: Mapping[str, str], folder: Path = HERE) -> None:
    """Write RESULTS.md and figures/ into `folder`, of the records there are; `commands` says how to get the others."""
    pictures = draw_pictures(records, folder)
    peers = (HERE / "peers" / "requirements.txt").read_text(encoding="utf-8")
    text = render(records, commands, pictures, peers)
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")


def draw_pictures(records: Mapping[str, Record], folder: Path) -> dict[str, str]:
    """Draw what there is a plot for; paths from `folder` by benchmark."""
    pictures = {}
    for name, plot in PLOTS.items():
        if name in records:
            pictures[name] = f"figures/{name}.png"
            (folder / "figures").mkdir(exist_ok=True)
            save_figure(plot(records[name]["figures"]), folder / pictures[name])
    return pictures


def render(
    records: Mapping[str, Record], commands: Mapping[str, str], pictures: Mapping[str, str], requirements: str
) -> str:
    """The text of RESULTS.md."""
    loader = jinja2.FileSystemLoader(HERE)
    # No autoescape: the text is Markdown, and all in it is our own.
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    reference = next((record["figures"]["environment"] for record in records.values()), None)
    sections = [
        {
            **benchmark._asdict(),
            "command": commands[name],
            "is_measured": name in records,
            "picture": pictures.get(name),
            **(describe(records[name], reference) if name in records else {}),
        }
        for name, benchmark in BENCHMARKS.items()
    ]
    dates = sorted({record["date"] for record in records.values()})
    return environment.get_template("results.md.jinja").render(
        environment=reference,
        peers=", ".join(line.replace("==", " ") for line in requirements.splitlines() if "==" in line),
        dates=" to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "",
        sections=sections,
    )


def describe(record: Record, reference: Mapping[str, Any]) -> dict[str, Any]:
    """What the section of a measured benchmark says; `reference` is the environment at the top of the page."""
    figures = record["figures"]
    told = {"turns": "{} turns", "n": "{} seeds", "seed": "seed {}", "options": "{}", "data": "data: {}"}
    extent = [words.format(figures[key]) for key, words in told.items() if key in figures]
    return {
        "command": record["command"],
        "date": record["date"],
        "extent": "".join(f"; {part}" for part in extent),
        "differences": differences(figures["environment"], reference),
        "tables": tables_of(figures),
    }


def differences(environment: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """Each value of `environment` that is another than in `reference`."""
    return [
        f"{name} {value}"
        for part in ("machine", "versions")
        for name, value in environment[part].items()
        if value != reference[part].get(name)
    ]


def read_record(path: Path) -> Record | None:
    """What was kept of a benchmark, or None where there is nothing whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
