"""What `benchmarks.gpu` measures, the most important first."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.gpu_fits import measure_accuracy, measure_epoch
from benchmarks.gpu_limits import measure_copies, measure_loops, measure_products
from benchmarks.gpu_network import FREE, Case, make_report_case, make_resnet_case
from benchmarks.gpu_rates import (
    measure_folds,
    measure_inference,
    measure_max_autotune,
    measure_profile,
    measure_training,
)
from benchmarks.gpu_tools import Row, Sizes, Tools
from medjax.config import ComputeName

ALL_WAYS = ("medjax", "medjax autotuned", FREE)
SMALL_SECONDS = 6.0  # of any item, where all is tiny


class Item(NamedTuple):
    """A measurement."""

    name: str
    kind: str  # items of a kind take about as long
    seconds: float  # likely, compilation included
    measure: Callable[[Tools], Iterator[tuple[str, Row]]]


def list_items(tools: Tools) -> list[Item]:
    """All of them."""
    cnn, resnet = _Cases(tools, is_resnet=False), _Cases(tools, is_resnet=True)
    first, second, *_ = tools.sizes.batches
    small, large = tools.sizes.sides
    is_small = tools.sizes == Sizes.small()
    main = [cnn.make(small, first, "f32"), cnn.make(small, second, "f32")]
    wide = [resnet.make(side, first, "bf16") for side in (small, large)]
    others = [cnn.make(small, batch, mode) for mode in ("tf32", "bf16") for batch in (first, second)]
    profiled = [main[0], wide[0]]
    items = [
        Item("limits", "limits", 20, measure_limits),
        *(_train(case, ALL_WAYS, keeps=case in profiled) for case in main),
        Item("accuracy", "accuracy", 35, measure_accuracy),
        _folds(tools, tools.sizes.report_batch),
        _profile(main[0]),
        Item("profile of an epoch", "epoch", 20, functools.partial(measure_epoch, main[0])),
        _train(wide[0], ALL_WAYS[:2], keeps=True),
        _profile(wide[0]),
        _train(wide[1], ALL_WAYS[:2]),
        _folds(tools, first),
        *(_train(case, ALL_WAYS[:2]) for case in others),
        *(_ask(case) for case in (main[1], *wide)),
        _folds(tools, tools.sizes.report_batch, "tf32"),
        *(_autotune(case) for case in main),
    ]
    every = [
        cases.make(side, batch, mode)
        for batch in (tools.sizes.batches[:1] if is_small else tools.sizes.batches)
        for mode in ("bf16", "tf32", "f32")
        for side in (small, large)
        for cases in (cnn, resnet)
    ]
    items += [
        *(_train(case, ALL_WAYS[:1]) for case in every),
        *(_autotune(case) for case in wide),
        *map(_ask, every),
    ]
    if is_small:
        items = [item._replace(seconds=SMALL_SECONDS) for item in items]
    unique: dict[str, Item] = {}
    for item in items:
        unique.setdefault(item.name, item)
    return list(unique.values())


class _Cases:
    def __init__(self, tools: Tools, *, is_resnet: bool) -> None:
        self._resnet = tools.sizes.resnet if is_resnet else None

    def make(self, side: int, batch_size: int, mode: Any) -> Case:
        if self._resnet is None:
            return make_report_case(side, batch_size, mode)
        return make_resnet_case(*self._resnet, side, batch_size, mode)


def _kind(task: str, case: Case) -> str:
    return f"{task} {case.name.split('-')[0]}"


def _train(case: Case, ways: tuple[str, ...], *, keeps: bool = False) -> Item:
    seconds = 60 if case.name.startswith("resnet") else 30
    run = functools.partial(measure_training, case, ways, keeps=keeps)
    return Item(f"training {case.title}", f"{_kind('training', case)} {len(ways)}", seconds, run)


def _ask(case: Case) -> Item:
    return Item(
        f"inference {case.title}", _kind("inference", case), 20, functools.partial(measure_inference, case)
    )


def _autotune(case: Case) -> Item:
    run = functools.partial(measure_max_autotune, case)
    return Item(f"max-autotune {case.title}", _kind("max-autotune", case), 60, run)


def _profile(case: Case) -> Item:
    return Item(f"profile {case.title}", "profile", 20, functools.partial(measure_profile, case))


def _folds(tools: Tools, batch_size: int, mode: ComputeName = "f32") -> Item:
    case = make_report_case(tools.sizes.sides[0], batch_size, mode)
    return Item(f"folds b{batch_size} {mode}", "folds", 30, functools.partial(measure_folds, case))


def measure_limits(tools: Tools) -> Iterator[tuple[str, Row]]:
    """TFLOP/s, GB/s, and microseconds of a step that computes nothing."""
    yield "limits", {"tflops": measure_products(tools.sizes.product_side)}
    yield "limits", {"copy_gigabytes_a_second": measure_copies(tools.sizes.copied_bytes)}
    yield "limits", {"microseconds_a_step": measure_loops()}
