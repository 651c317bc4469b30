"""Images a second: medjax's ways beside PyTorch's, in turns."""

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping

import jax

from benchmarks.gpu_network import Case, GpuNetwork
from benchmarks.gpu_peer_side import GpuPeer
from benchmarks.gpu_profile import count_operations, profile
from benchmarks.gpu_tools import Recording, Row, Sizes, Tools, start_row
from benchmarks.measuring import medians, take_turns
from medjax.training.strategies import StrategyName

START_SECONDS = 90.0  # within which PyTorch starts, and a case is made
COMPILE_SECONDS = 120.0  # within which it compiles


def measure_training(
    case: Case, ways: tuple[str, ...], tools: Tools, *, keeps: bool = False
) -> Iterator[tuple[str, Row]]:
    """Every way of both; PyTorch compiles on other cores while medjax's own way is compiled.

    With `keeps` the compiled networks are kept for the profile.
    """
    row = start_row(case)
    is_asked = _ask_to_compile(case, "training", tools, row)
    runs: dict[str, Callable[[int], float]] = {}
    most: dict[str, int] = {}
    for way in ways if jax.default_backend() == "gpu" else ways[:1]:  # the options are a GPU's
        with Recording(row, way):
            network = GpuNetwork(case, tools.sizes.num_images, way=way)
            seconds, text = network.compile()
            row["compile_seconds"][way] = round(seconds, 1)
            if keeps:
                tools.kept[case, way] = network, text
            runs[way], most[way] = network.train, network.max_steps
        if is_asked:  # before ways that time algorithms, as the two would disturb each other
            is_asked = False
            runs |= _prepare_peer(case, "training", tools, row)
    row["images_a_second"] = _measure_rates(runs, most, case.batch_size, tools.sizes, row)
    row |= _compare(row["images_a_second"], case.step_flop, _limit(tools, case))
    yield "training", row


def measure_inference(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """Probabilities on the host: by `medjax.predict`, whose batch is its own, by larger batches, and by PyTorch."""
    row = start_row(case)
    is_asked = _ask_to_compile(case, "inference", tools, row)
    count = tools.sizes.asked_images
    runs: dict[str, Callable[[int], float]] = {}
    for way in ("medjax", "medjax large") if jax.default_backend() == "gpu" else ("medjax",):
        with Recording(row, way):
            network = GpuNetwork(case, tools.sizes.num_images, way=way)
            row["compile_seconds"][way] = round(network.predict(count), 1)
            runs[way] = functools.partial(_ask, network, case.batch_size)
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
    row = start_row(case)
    tools.peer.build(case, tools.sizes.num_images, START_SECONDS)
    runs = _prepare_peer(case, "training", tools, row, ways=("max-autotune",), is_compiled=False)
    row["images_a_second"] = _measure_rates(runs, {}, case.batch_size, tools.sizes, row)
    yield "max_autotune", row
    for known in tools.figures.get("training", []):  # the faster of PyTorch's ways counts
        if all(known[name] == row[name] for name in ("network", "batch", "arithmetic")):
            known["images_a_second"] |= row["images_a_second"]
            known |= _compare(known["images_a_second"], case.step_flop, _limit(tools, case))


def measure_folds(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """Five folds one after the other and stacked, and how long the published cross-validation would take.

    Stacked convolutions are grouped ones by `vmap`; by products they are batched products of matrices.
    """
    row = {"folds": 5, **start_row(case)}
    runs, most = {}, {}
    strategies: dict[str, StrategyName] = {"loop": "loop", "vmap": "vmap", "vmap by products": "vmap"}
    for way, strategy in strategies.items():
        with Recording(row, way):
            network = GpuNetwork(
                case, tools.sizes.num_images, way=way, num_folds=row["folds"], strategy=strategy
            )
            row["compile_seconds"][way] = round(network.compile()[0], 1)
            runs[way], most[way] = network.train, network.max_steps
    rates = _measure_rates(runs, most, row["folds"] * case.batch_size, tools.sizes, row)
    row["images_a_second"] = rates
    # Ten epochs of four fifths of the 58,954 images, for each of the five folds.
    images = 5 * 10 * 47_163
    row["seconds_of_the_published"] = {name: round(images / rate, 1) for name, rate in rates.items()}
    yield "folds", row


def _ask(network: GpuNetwork, batch_size: int, steps: int) -> float:
    return network.predict(steps * batch_size)


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
        row = start_row(case)
        tools.peer.build(case, tools.sizes.num_images, START_SECONDS)
        for way in _prepare_peer(case, "training", tools, row, ways=("compiled",), is_compiled=False):
            way = way.removeprefix("pytorch ")
            found = tools.peer.call("profile_steps", START_SECONDS, way=way, steps=steps)
            yield "profile", {"case": case.title, "way": f"pytorch {way}", **found}


def _ask_to_compile(case: Case, task: str, tools: Tools, row: Row) -> bool:
    """Have PyTorch begin to compile; whether it does."""
    if tools.peer is None:
        return False
    with Recording(row, "pytorch"):
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
        with Recording(row, name):
            if not (is_compiled and number == 0):
                if not peer.is_running:
                    peer.build(case, tools.sizes.num_images, START_SECONDS)
                    runs.clear()
                peer.ask("compile_case", task=task, way=way)
            row["compile_seconds"][name] = round(peer.wait(min(COMPILE_SECONDS, tools.left())), 1)
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
        with Recording(row, way):
            steps[way] = _choose_steps(run, sizes.turn_seconds, most.get(way))
    cases = {way: functools.partial(runs[way], count) for way, count in steps.items()}
    seconds = take_turns(cases, sizes.turns)
    row["microseconds_a_step"] = {
        way: round(statistics.median(each) / steps[way] * 1e6, 1) for way, each in seconds.items()
    }
    row["spread"] = {  # of the turns, as a fraction of the median
        way: round((max(each) - min(each)) / statistics.median(each), 3) for way, each in seconds.items()
    }
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
    found = [row["tflops"] for row in tools.figures.get("limits", []) if "tflops" in row]
    return found[0][case.mode] * 1e12 if found else None


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
