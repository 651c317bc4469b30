"""An audit as a person reads it in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.errors import listed, printable
from medjax.report.wording import counted

_PARTS = ("train", "val", "test")
_HEAD = (
    ["", "images", "", "", "redundant", "", "largest", "test images with a twin in train", ""],
    ["class", *_PARTS, "identical", "nearly", "group", "identical", "nearly"],
)
CONFLICTS_SHOWN = 10


def audit_lines(found: Mapping[str, Any]) -> list[str]:
    """What `medjax.jobs.audit` found: a table with a row for each class, then a line for each thing to know."""
    names = list(found["near_duplicates"]["by_class"])
    lines = _table([*(_row(found, name) for name in names), _row(found, None)])
    lines += _duplicate_lines(found)
    leakage = found["leakage"]
    if "refused" in leakage:
        return [printable(line) for line in [*lines, *(f"no split: {why}" for why in leakage["refused"])]]
    lines.append(f"parts: {found['data']['parts']}. {leakage['statement']}")
    across = leakage["groups_across_parts"]
    if across["n"]:
        named = [f"{name} ({', '.join(parts)})" for name, parts in across["named"].items()]
        lines.append(
            f"warning: {counted(across['n'], 'group')} in more than one part: {_some(named, across['n'])}"
        )
    return [printable(line) for line in lines]


def _duplicate_lines(found: Mapping[str, Any]) -> list[str]:
    exact, near = found["exact_duplicates"], found["near_duplicates"]
    sizes = ", ".join(f"{count:,} of {size}" for size, count in near["sizes"].items() if count)
    lines = [
        f"identical, pixel by pixel at full size: {counted(exact['redundant'], 'redundant image')} in "
        f"{counted(exact['groups'], 'group')}; {counted(exact['conflicting'], 'image')} under two labels",
        f"nearly identical, or linked by such pairs (of a class, at most {near['threshold']:g} grey levels apart in "
        f"root mean square): {counted(near['redundant'], 'redundant image')} in {counted(near['groups'], 'group')}"
        + (f", by number of images: {sizes}" if sizes else ""),
    ]
    conflicts = found["conflicts"]
    lines += [f"under two labels: {' = '.join(ids)}" for ids in conflicts[:CONFLICTS_SHOWN]]
    if len(conflicts) > CONFLICTS_SHOWN:
        lines.append(f"… and {len(conflicts) - CONFLICTS_SHOWN} more groups under two labels")
    for name in near["chained"]:
        block = near["by_class"][name]
        lines.append(
            f"warning: the largest group of {name} is a chain: {block['largest']:,} of {block['n']:,} images, as far as "
            f"{block['span']:g} grey levels apart; look at them (--out), or lower --near-threshold"
        )
    return lines


def _row(found: Mapping[str, Any], name: str | None) -> list[str]:
    """The cells of a class, or without a name those of all."""
    near, test, counts = found["near_duplicates"], found["leakage"].get("test"), found["data"]["counts"]
    if name is None:
        sizes = [sum(counts.get(part, {}).values()) for part in _PARTS]
        exact, group = found["exact_duplicates"]["redundant"], near
    else:
        sizes = [counts.get(part, {}).get(name, 0) for part in _PARTS]
        exact, group = found["exact_by_class"][name], near["by_class"][name]
        test = test and test["by_class"][name]
    twins = [_share(test[kind], test["n"]) if test else "-" for kind in ("exact", "near")]
    return [name or "all", *(f"{n:,}" for n in (*sizes, exact, group["redundant"], group["largest"])), *twins]


def _share(count: int, n: int) -> str:
    return f"{count:,} ({count / max(n, 1):.1%})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their cells and their lower head; the upper head stands over several of them."""
    upper, lower = _HEAD
    widths = [max(len(cell) for cell in column) for column in zip(lower, *rows, strict=True)]
    starts = [sum(widths[:place]) + 2 * place for place in range(len(widths))]
    head = ""
    for start, width, text, below in zip(starts, widths, upper, lower, strict=True):
        if text:
            head = head.ljust(start + width - len(below)) + text + "  "
    lines = [head.rstrip()]
    for first, *others in (lower, *rows):
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
    return lines


def _some(named: Sequence[str], count: int) -> str:
    """A few of `count` names."""
    shown = listed(named, len(named))
    return shown if len(named) == count else f"{shown} and {count - len(named)} more"
