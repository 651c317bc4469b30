"""Images a second: medjax's ways beside PyTorch's, in turns."""

import functools
import gc
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from benchmarks.gpu_network import Case, GpuNetwork
from benchmarks.gpu_peer_side import GpuPeer
from benchmarks.gpu_profile import count_operations, profile
from benchmarks.measuring import medians, take_turns

Row = dict[str, Any]
START_SECONDS = 90.0  # within which PyTorch starts, and a case is made
COMPILE_SECONDS = 120.0  # within which it compiles


class Sizes(NamedTuple):
    """How much is measured."""

    sides: tuple[int, int] = (28, 64)
    batches: tuple[int, ...] = (512, 2048, 64)  # the most important first
    resnet: tuple[int, tuple[int, ...]] = (64, (2, 2, 2, 2))  # its width, and blocks of each stage
    num_images: int = 16_384
    asked_images: int = 32_768
    report_batch: int = 32  # of the published cross-validation
    product_side: int = 8192
    copied_bytes: int = 2**30
    turn_seconds: float = 0.2
    turns: int = 5
    profiled_steps: int = 16
    seeds: int = 5
    epochs: int | None = None  # to accuracy; None for the recipe's

    @classmethod
    def small(cls) -> "Sizes":
        """For a CPU, to see that all of it runs."""
        return cls(
            sides=(12, 16),
            batches=(4, 8),
            resnet=(4, (1, 1)),
            num_images=32,
            asked_images=64,
            report_batch=4,
            product_side=128,
            copied_bytes=2**16,
            turn_seconds=0.01,
            turns=1,
            profiled_steps=2,
            seeds=2,
            epochs=1,
        )


class Tools(NamedTuple):
    """What every measurement may use."""

    sizes: Sizes
    data: str
    peer: GpuPeer | None
    left: Callable[[], float]  # seconds until the time is over
    figures: dict[str, Any]  # measured so far, by table
    kept: dict[
        tuple[Case, str], tuple[GpuNetwork, str]
    ]  # networks that are compiled, and their programs' text


def measure_training(case: Case, ways: tuple[str, ...], tools: Tools) -> Iterator[tuple[str, Row]]:
    """Every way of both; PyTorch compiles on other cores while medjax's own way is compiled."""
    row = _start_row(case)
    is_asked = _ask_to_compile(case, "training", tools, row)
    runs: dict[str, Callable[[int], float]] = {}
    most: dict[str, int] = {}
    for way in ways if jax.default_backend() == "gpu" else ways[:1]:  # the options are a GPU's
        with _Recording(row, way):
            network = GpuNetwork(case, tools.sizes.num_images, way=way)
            row["compile_seconds"][way], text = network.compile()
            tools.kept[case, way] = network, text
            runs[way], most[way] = network.train, network.max_steps
        if is_asked:  # before ways that time algorithms, as the two would disturb each other
            is_asked = False
            runs |= _prepare_peer(case, "training", tools, row)
    row["images_a_second"] = _measure_rates(runs, most, case.batch_size, tools.sizes, row)
    row |= _compare(row["images_a_second"], case.step_flop, _limit(tools, case))
    if not (case.batch_size == tools.sizes.batches[0] and len(ways) > 2):  # those that are profiled
        for way in ways:
            tools.kept.pop((case, way), None)
    del runs
    gc.collect()
    yield "training", row


def measure_inference(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """Probabilities on the host: by `medjax.predict`, whose batch is its own, and by PyTorch."""
    row = _start_row(case)
    is_asked = _ask_to_compile(case, "inference", tools, row)
    count = tools.sizes.asked_images
    runs: dict[str, Callable[[int], float]] = {}
    with _Recording(row, "medjax"):
        network = GpuNetwork(case, tools.sizes.num_images)
        row["compile_seconds"]["medjax"] = network.predict(count)
        runs["medjax"] = lambda steps: network.predict(steps * case.batch_size)
    if is_asked:
        runs |= _prepare_peer(case, "inference", tools, row)
    steps = -(-count // case.batch_size)
    seconds = medians(
        take_turns({way: functools.partial(run, steps) for way, run in runs.items()}, tools.sizes.turns)
    )
    row["images_a_second"] = {way: round(steps * case.batch_size / each) for way, each in seconds.items()}
    row |= _compare(row["images_a_second"], case.forward_flop, _limit(tools, case))
    yield "inference", row


def measure_max_autotune(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """Training by PyTorch with the algorithms of its own compiler timed too, which can take minutes to compile."""
    if tools.peer is None:
        return
    row = _start_row(case)
    tools.peer.build(case, tools.sizes.num_images, START_SECONDS)
    runs = _prepare_peer(case, "training", tools, row, ways=("max-autotune",), is_compiled=False)
    row["images_a_second"] = _measure_rates(runs, {}, case.batch_size, tools.sizes, row)
    yield "max_autotune", row
    for known in tools.figures.get("training", []):  # the faster of PyTorch's ways counts
        if all(known[name] == row[name] for name in ("network", "batch", "arithmetic")):
            known["images_a_second"] |= row["images_a_second"]
            known |= _compare(known["images_a_second"], case.step_flop, _limit(tools, case))


def measure_folds(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """Five folds, one after the other and stacked, and how long the published cross-validation would take."""
    row = {"folds": 5, **_start_row(case)}
    runs, most = {}, {}
    for strategy in ("loop", "vmap"):
        with _Recording(row, strategy):
            network = GpuNetwork(case, tools.sizes.num_images, num_folds=row["folds"], strategy=strategy)
            row["compile_seconds"][strategy], _ = network.compile()
            runs[strategy], most[strategy] = network.train, network.max_steps
    rates = _measure_rates(runs, most, row["folds"] * case.batch_size, tools.sizes, row)
    row["images_a_second"] = rates
    # Ten epochs of four fifths of the 58,954 images, for each of the five folds.
    images = 5 * 10 * 47_163
    row["seconds_of_the_published"] = {name: round(images / rate, 1) for name, rate in rates.items()}
    yield "folds", row


def measure_profile(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """What takes the time of a training step, in each way that was compiled for it, and by PyTorch."""
    steps = tools.sizes.profiled_steps
    for way in [way for known, way in tools.kept if known == case] or ["medjax"]:
        if (case, way) not in tools.kept:
            network = GpuNetwork(case, tools.sizes.num_images, way=way)
            tools.kept[case, way] = network, network.compile()[1]
        network, text = tools.kept.pop((case, way))
        network.train(steps)
        found = profile(functools.partial(network.train, steps), steps)
        yield "profile", {"case": case.title, "way": way, "program": count_operations(text), **found}
    if tools.peer is not None:
        row = _start_row(case)
        tools.peer.build(case, tools.sizes.num_images, START_SECONDS)
        for way in _prepare_peer(case, "training", tools, row, ways=("compiled",), is_compiled=False):
            way = way.removeprefix("pytorch ")
            found = tools.peer.call("profile_steps", START_SECONDS, way=way, steps=steps)
            yield "profile", {"case": case.title, "way": f"pytorch {way}", **found}


class _Recording:
    """Keeps a failure as the row's, by way, so that the other ways are measured."""

    def __init__(self, row: Row, way: str) -> None:
        self._row, self._way = row, way

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Keep an error; Ctrl-C goes on."""
        if not isinstance(error, Exception):
            return False
        lines = str(error).strip().splitlines() or [""]
        self._row.setdefault("failures", {})[self._way] = f"{type(error).__name__}: {lines[0][:300]}"
        return True


def _start_row(case: Case) -> Row:
    about = {"network": case.name, "batch": case.batch_size, "arithmetic": case.mode}
    return {**about, "compile_seconds": {}}


def _ask_to_compile(case: Case, task: str, tools: Tools, row: Row) -> bool:
    """Have PyTorch begin to compile; whether it does."""
    if tools.peer is None:
        return False
    with _Recording(row, "pytorch"):
        tools.peer.build(case, tools.sizes.num_images, START_SECONDS)
        tools.peer.ask("compile_case", task=task, way="compiled")
        return True
    return False


def _prepare_peer(
    case: Case,
    task: str,
    tools: Tools,
    row: Row,
    *,
    ways: tuple[str, ...] = ("compiled", "eager"),
    is_compiled: bool = True,
) -> dict[str, Callable[[int], float]]:
    """PyTorch's ways to run so many steps; with `is_compiled` the first of `ways` was asked to compile already."""
    peer = tools.peer
    assert peer is not None
    runs: dict[str, Callable[[int], float]] = {}
    for number, way in enumerate(ways):
        name = f"pytorch {way}"
        with _Recording(row, name):
            if not (is_compiled and number == 0):
                if not peer.is_running:
                    peer.build(case, tools.sizes.num_images, START_SECONDS)
                    runs.clear()
                peer.ask("compile_case", task=task, way=way)
            row["compile_seconds"][name] = peer.wait(min(COMPILE_SECONDS, tools.left()))
            peer.call("prepare", START_SECONDS, task=task, way=way)
            runs[name] = functools.partial(_run_peer, peer, task, way)
    if not peer.is_running:
        runs.clear()
    return runs


def _run_peer(peer: GpuPeer, task: str, way: str, steps: int) -> float:
    return peer.call("run", START_SECONDS, task=task, way=way, steps=steps)


def _measure_rates(
    runs: Mapping[str, Callable[[int], float]], most: Mapping[str, int], images: int, sizes: Sizes, row: Row
) -> dict[str, int]:
    """Images a second of each way, of so many images a step."""
    steps = {}
    for way, run in runs.items():
        with _Recording(row, way):
            steps[way] = _choose_steps(run, sizes.turn_seconds, most.get(way))
    cases = {way: functools.partial(runs[way], count) for way, count in steps.items()}
    seconds = take_turns(cases, sizes.turns)
    row["microseconds_a_step"] = {
        way: round(statistics.median(each) / steps[way] * 1e6, 1) for way, each in seconds.items()
    }
    row["spread"] = {  # of the turns, as a fraction of the median
        way: round((max(each) - min(each)) / statistics.median(each), 3) for way, each in seconds.items()
    }
    row["compile_seconds"] = {way: round(each, 1) for way, each in row["compile_seconds"].items()}
    return {way: round(steps[way] * images / statistics.median(each)) for way, each in seconds.items()}


def _choose_steps(run: Callable[[int], float], seconds: float, most: int | None) -> int:
    """As many steps as take about a turn; the first call, which may compile, does not count."""
    run(1)
    each = run(1)
    if each < seconds / 4:  # the call itself counts for much of that
        each = min(each, run(20) / 20)
    count = max(1, round(seconds / each))
    return count if most is None else min(count, most)


def _limit(tools: Tools, case: Case) -> float | None:
    """FLOP/s of the card's matrix products in the case's arithmetic."""
    limits = tools.figures.get("limits")
    return limits[0]["tflops"][case.mode] * 1e12 if limits else None


def _compare(rates: Mapping[str, int], flop: int, limit: float | None) -> Row:
    """medjax over the fastest of PyTorch's ways, and shares of the limit."""
    found: Row = {}
    peers = {way: rate for way, rate in rates.items() if way.startswith("pytorch")}
    ours = {way: rate for way, rate in rates.items() if way not in peers}
    if peers and ours:
        fastest = max(peers, key=lambda way: peers[way])
        found["over"] = fastest
        found["ratio"] = {way: round(rate / peers[fastest], 3) for way, rate in ours.items()}
    if limit is not None:
        found["share_of_limit"] = {way: round(rate * flop / limit, 4) for way, rate in rates.items()}
    return found
