"""Groups from the names of images: a regular expression finds the patient in a path."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from medjax.errors import counted, listed, refuse
from medjax.records import Names

MAX_SECONDS = 20.0
"""A pattern that takes longer is refused: some need years for one name. A million names take a second."""
MAX_CHARACTERS = 1_000
KNOWN_PATTERNS = {
    "Kaggle's chest X-rays": r"(person\d+)_",
    "OCT2017": r"(?:CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+",
    "BreakHis": r"SOB_[BM]_[A-Z]+-(\d+-\d+[A-Z]*)-",
    "CheXpert and MURA": r"(patient\d+)/study\d+",
    "IDC": r"(\d+)_idx\d+_x\d+_y\d+_class",
}
"""Of sets whose names hold the patient."""
_MOST, _SAMPLE = 0.5, 1_000
# Python's own engine has no time limit, and may take exponential time: a process of its own can be ended.
_PROGRAM = """
import json, re, sys
pattern, names = json.load(sys.stdin)
try:
    expression = re.compile(pattern)
except Exception as error:
    sys.exit(f"is no regular expression: {error}")
found = map(expression.search, names)
json.dump([match and match.group(int(expression.groups > 0)) for match in found], sys.stdout)
"""


def pattern_groups(ids: Names, pattern: str) -> Names:
    """The group of each image: what the first parentheses of `pattern`, or all of it, match in the id.

    An image whose id it does not match is alone. RefusedError for a pattern that is none, that matches no id, or that takes
    longer than MAX_SECONDS.
    """
    found = _search(pattern, ids.tolist())
    if not any(found):
        remedy = f"write one that does, such as {KNOWN_PATTERNS['CheXpert and MURA']!r}"
        raise refuse(
            "--group-pattern", f"finds nothing in the names, such as {listed(ids.tolist(), 2)}", remedy
        )
    return np.array([group or id for group, id in zip(found, ids.tolist(), strict=True)])


def suggest_pattern(ids: Names) -> str | None:
    """A known pattern that finds a patient in most of the ids, some of them in several; None if there is none."""
    names = ids.tolist()
    some = names[:: max(1, len(names) // _SAMPLE)]
    for pattern in KNOWN_PATTERNS.values():
        search = re.compile(pattern).search
        if sum(search(name) is not None for name in some) >= _MOST * len(some):
            found = [match.group(1) for name in names if (match := search(name)) is not None]
            if len({*found}) < len(found):
                return pattern
    return None


def _search(pattern: str, names: Sequence[str]) -> list[str | None]:
    if len(pattern) > MAX_CHARACTERS:
        raise refuse(
            "--group-pattern", f"has {counted(len(pattern), 'character')}", f"at most {MAX_CHARACTERS:,}"
        )
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps([pattern, names]),
            capture_output=True,
            check=False,
            timeout=MAX_SECONDS,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired:
        remedy = "write a simpler one: no repetition of what is repeated"
        raise refuse("--group-pattern", f"{pattern} takes more than {MAX_SECONDS:g} s", remedy) from None
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        remedy = "write a regular expression of Python, such as '(patient[0-9]+)/'"
        raise refuse("--group-pattern", f"{pattern} {reason}", remedy)
    return json.loads(done.stdout)
