"""All benchmarks, one after the other, and the page of their results.

    python -m benchmarks [--data ZIP] [--only throughput …]        (or `make bench`)

What a benchmark found is kept in runs/bench/, so that a bench that was interrupted goes on where it was; what is kept is
not measured again, unless --only names it or the data differ. The page is benchmarks/RESULTS.md, its figures lie beside it.
"""

import json
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.results import BENCHMARKS, HERE, read_record, write_results
from medjax.runs.directory import write_json

KEPT = HERE.parent / "runs" / "bench"
Module = Literal[tuple(BENCHMARKS)]  # type: ignore[valid-type]


def main(data: str = "phantom", only: tuple[Module, ...] = ()) -> None:
    """Measure what is missing, and write the page.

    Args:
        data: Folder or archive to measure with, or the word phantom.
        only: Measure these again and no others.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in only or BENCHMARKS if name in only or not _is_kept(name, data)]
    failed = []
    try:
        for number, name in enumerate(wanted, start=1):
            print(f"{number}/{len(wanted)} {name}", file=sys.stderr, flush=True)
            if not measure(name, data):
                failed.append(name)
    finally:  # of an interrupted bench as well
        records = {name: read_record(KEPT / f"{name}.json") for name in BENCHMARKS}
        commands = {name: shlex.join(["python", *options_of(name, Path(data).name)]) for name in BENCHMARKS}
        write_results({name: record for name, record in records.items() if record is not None}, commands)
    print(f"next: open {HERE / 'RESULTS.md'}", file=sys.stderr)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; measure again with --only")


def options_of(name: str, data: str) -> list[str]:
    """What to give Python to run a benchmark by itself."""
    options = ["-m", f"benchmarks.{name}"]
    if data == "phantom" or not BENCHMARKS[name].takes_data:
        return [*options, "--json"]
    # The Keras jobs are the report's, on its data.
    keras = ["--keras"] if name in ("time_to_accuracy", "folds") else []
    return [*options, "--data", data, *keras, "--json"]


def measure(name: str, data: str) -> bool:
    """Run a benchmark and keep what it found, its log beside it; whether it ended well."""
    started = time.perf_counter()
    log = KEPT / f"{name}.log"
    with log.open("w") as words:
        line = [sys.executable, *options_of(name, data)]
        ended = subprocess.run(line, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=words, text=True)
    if ended.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        print(f"  status {ended.returncode}; the end of {log}:", *last, sep="\n  ", file=sys.stderr)
        return False
    record = {
        "data": data,
        "command": shlex.join(["python", *options_of(name, Path(data).name)]),  # as others can give it
        "date": datetime.now(UTC).date().isoformat(),
        "figures": json.loads(ended.stdout.splitlines()[-1]),
    }
    write_json(KEPT / f"{name}.json", record)
    print(f"  {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return True


def _is_kept(name: str, data: str) -> bool:
    record = read_record(KEPT / f"{name}.json")
    if record is None or (BENCHMARKS[name].takes_data and record["data"] != data):
        return False
    print(f"{name}: kept from {record['date']}", file=sys.stderr)
    return True


if __name__ == "__main__":
    tyro.cli(main)
