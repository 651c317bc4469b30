"""The JSON of any benchmark as tables for people: what belongs together in one row, numbers as one reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Figures = Mapping[str, Any]

# What keys mean where their own words do not say it.
WORDS = {
    "b32": "batch 32",
    "b128": "batch 128",
    "b32_aug": "batch 32, augmented",
    "b128_aug": "batch 128, augmented",
    "ratio": "times the best peer",
    "fraction_of_limit": "share of the nominal limit",
    "matmul_gflops": "the limit: f32 matrix product, GFLOP/s",
    "times_stock_jax": "times stock JAX, cold",
    "ratio_cold": "times the peer's speed, cold",
    "ratio_cached": "times the peer's speed, cached",
    "ratio_warm": "times the peer's speed, warm",
    "cold_ended_seconds": "cold seconds, with the page",
    "warm_ended_seconds": "warm seconds, with the page",
    "keras_scored": "Keras test images",
    "peak_mebibytes": "peak MiB",
    "images_per_second": "images/s",
    "n_exponent": "exponent of seconds over images",
    "n_last_exponent": "exponent of seconds over the two largest numbers of images",
    "n_memory_exponent": "exponent of peak memory over images",
    "n_kibibytes_an_image": "peak memory an image, KiB",
    "size_exponent": "exponent of seconds over side in pixels",
    "size_memory_exponent": "exponent of peak memory over side in pixels",
    "batch_exponent": "exponent of seconds over batch size",
    "batch_memory_exponent": "exponent of peak memory over batch size",
    "k_exponent": "exponent of seconds over k − 1",
    "k_memory_exponent": "exponent of peak memory over k − 1",
}
NAMES = {"pytorch": "PyTorch", "keras": "Keras", "opencv": "OpenCV"}
ABOUT = ("benchmark", "environment", "data", "turns", "n", "seed", "options")  # told in words, not in tables
HIDDEN = ("work",)  # what a slope is fitted against, where it is a column of its own already


class Table(NamedTuple):
    """Texts, ready to print."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Pivot(NamedTuple):
    """Figures of cases: rows are cases, columns what was measured of each."""

    cases: Sequence[str]
    columns: Mapping[str, Mapping[str, float]]  # by name, by case; the first is medjax
    used: frozenset[str]  # keys of the figures that stand in it


def tables_of(figures: Figures) -> list[Table]:
    """Tables of everything in `figures`: first by case, then single figures, then dictionaries and lists of rows."""
    pivot = pivot_cases(figures)
    rest = {key: value for key, value in figures.items() if key not in pivot.used and key not in ABOUT}
    tables = [_case_table(pivot)] if pivot.cases else []
    singles = {key: value for key, value in rest.items() if not isinstance(value, list | dict)}
    if singles:
        tables.append(_single_table("", singles))
    for key, value in rest.items():
        tables += _nested_tables(key, value)
    return tables


def pivot_cases(figures: Figures) -> Pivot:
    """The figures that are of cases: a case is a key such as `b32` beside which `keras_b32`, say, stands too.

    A dictionary whose keys are cases, such as `fraction_of_limit`, is a column as well.
    """
    numbers = {
        key: value for key, value in figures.items() if isinstance(value, int | float) and key not in ABOUT
    }
    nested = {
        key: value
        for key, value in figures.items()
        if isinstance(value, dict) and value and value.keys() <= numbers.keys()
    }
    cases = [
        case
        for case in numbers
        if any(case in value for value in nested.values()) or any(key.endswith(f"_{case}") for key in numbers)
    ]
    columns: dict[str, dict[str, float]] = {"medjax": {case: numbers[case] for case in cases}}
    used = {*cases, *nested}
    for key, value in numbers.items():
        ends = [case for case in cases if key.endswith(f"_{case}")]
        if ends and key not in cases:
            case = max(ends, key=len)
            columns.setdefault(key.removesuffix(f"_{case}"), {})[case] = value
            used.add(key)
    return Pivot(cases, {**columns, **nested}, frozenset(used))


def row_table(title: str, rows: Sequence[Figures]) -> Table:
    """Rows with the same keys as a table."""
    keys = [key for key in rows[0] if key not in HIDDEN]
    return Table(
        title, [in_words(key) for key in keys], [[as_text(row.get(key)) for key in keys] for row in rows]
    )


def join_deviations(figures: Figures) -> dict[str, str]:
    """Texts by key: `x` or `x_mean` with its `x_sd` is one text, `mean ± sd`."""
    texts = {}
    for key, value in figures.items():
        name = key.removesuffix("_mean")
        deviation = figures.get(f"{name}_sd")
        if key.endswith("_sd") and {key.removesuffix("_sd"), f"{key.removesuffix('_sd')}_mean"} & set(
            figures
        ):
            continue
        texts[name] = as_text(value) if deviation is None else f"{as_text(value)} ± {as_text(deviation)}"
    return texts


def in_words(key: str) -> str:
    """A key as people read it."""
    return WORDS.get(key) or " ".join(NAMES.get(word, word) for word in key.split("_"))


def as_text(value: Any) -> str:
    """A number with three digits that count, or all of an integer's; a dash for what is undefined."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    text = f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−", 1) if value < 0 else text


def _case_table(pivot: Pivot) -> Table:
    rows = [
        [in_words(case), *(as_text(values.get(case)) for values in pivot.columns.values())]
        for case in pivot.cases
    ]
    return Table("", ["", *(in_words(name) for name in pivot.columns)], rows)


def _single_table(title: str, figures: Figures) -> Table:
    texts = join_deviations(figures)
    return Table(title, ["figure", "value"], [[in_words(key), text] for key, text in texts.items()])


def _nested_tables(key: str, value: Any) -> list[Table]:
    """A list of rows is a table; a dictionary is one of its single figures, and those that lie in it."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [row_table(in_words(key), value)]
    if not isinstance(value, dict):
        return []
    singles = {name: each for name, each in value.items() if not isinstance(each, list | dict)}
    tables = [_single_table(in_words(key), singles)] if singles else []
    for name, each in value.items():
        tables += _nested_tables(name, each)
    return tables
