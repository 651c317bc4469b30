"""Run directories as a stranger might hand them over: changed at random, with checksums made anew to match."""

import copy
import csv
import hashlib
import io
import json
import os
import random
import shutil
import socket

from medjax.jobs.resume import unchanging_facts

NASTY = [
    *(None, True, False, -1, 0, 1, 2, 7, 1000, 9999, 30_000, 2**31, 2**63, 10**9, 10**12, 10**30),
    *(0.5, -0.0, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")),
    *("", "x", "x" * 100_000, "\0", "\n\r\x1b[2J", "\ud800", "../../..", "/", "/etc/shadow", "/dev/zero"),
    *("phantom", "python", "cnn", "os:system", "done", "diverged", "crossval", "train", "=1+1", "é", "한글"),
    *([], {}, [[]], [{}], {"a": {}}, [0] * 1000, ["a", "a"], [1, 2, 3], [28, 28, 1], [10**9, 28, 1]),
]
SPARSE = 20 * 2**30


def mutate_json(value, generator):
    """A copy of a JSON value in which something was replaced, removed, added, swapped, scaled or nested."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return generator.choice(NASTY)
    holder, key = generator.choice(places)
    kind = generator.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[generator.choice(["", "x", "__class__", "data", f"{key} "])] = holder[key]
    elif kind == 2 and isinstance(holder[key], list):
        holder[key] = generator.choice(
            [holder[key][::-1], holder[key] * 2, holder[key] * 3000, holder[key][:-1], [*holder[key], 0]]
        )
    elif kind == 3 and type(holder[key]) in (int, float):
        holder[key] = generator.choice(
            [holder[key] + 1, -holder[key], holder[key] * 1000, float(holder[key]), str(holder[key])]
        )
    elif kind == 4:
        other, name = generator.choice(places)
        holder[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(holder[key])
    elif kind == 5:
        for _ in range(generator.choice([1, 2, 50, 200])):
            holder[key] = [holder[key]]
    else:
        holder[key] = copy.deepcopy(generator.choice(NASTY))
    return value


def _places(value):
    """Every place in a JSON value where something can be put: (its list or object, index or name)."""
    names = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        yield value, name
        yield from _places(value[name])


def mutate_text(content, generator):
    """Bytes of which some were changed, cut off, repeated or put in."""
    content = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(content) + 1)
        kind = generator.randrange(5)
        if kind == 0:
            content[at : at + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            del content[at : at + generator.choice([1, 10, 10**9])]
        elif kind == 2:
            content[at:at] = content[at : at + 200] * generator.choice([1, 50])
        elif kind == 3:
            content[at:at] = generator.choice(
                [b"\0", b"\r", b"\n", b'"', b",", b"[" * 2000, b"\xff\xfe", b"9" * 5000]
            )
        else:
            content[at : at + 1] = generator.choice([b"0", b"-", b"}", b"]", b":", b"NaN"])
    return bytes(content)


def mutate_csv(content, generator):
    """A table of which one cell, row or column was changed."""
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    row = generator.choice(rows)
    kind = generator.randrange(4)
    if kind == 0:
        row[generator.randrange(len(row))] = str(generator.choice(NASTY)).encode("utf-8", "replace").decode()
    elif kind == 1:
        rows.remove(row)
    elif kind == 2:
        rows.append(row)
    else:
        for each in rows:
            del each[-1]
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode("utf-8", "replace")


def mutate_record(directory, seed):
    """Change run.json one to three times; for an even seed make the facts and the checksums anew."""
    generator = random.Random(seed)
    path = directory / "run.json"
    if generator.random() < 0.2:
        path.write_bytes(mutate_text(path.read_bytes(), generator))
        return
    record = json.loads(path.read_text())
    for _ in range(generator.choice([1, 1, 2, 3])):
        record = mutate_json(record, generator)
    path.write_text(json.dumps(record))
    if seed % 2 == 0:
        renew_facts(directory, record)
        renew_manifests(directory)


def interrupt(directory):
    """Let a run that is done look as if it had been interrupted."""
    path = directory / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "interrupted"}))


def mutate_directory(directory, seed):
    """Change a run directory one to three times; mostly make the checksums anew. Returns what was done, to be told."""
    generator = random.Random(seed)
    told = []
    for _ in range(generator.choice([1, 1, 2, 3])):
        everything = sorted(directory.rglob("*"))
        # The files that are read first are few beside those of an optimizer's arrays.
        near = [path for path in everything if len(path.relative_to(directory).parts) <= 4]
        path = generator.choice(near if generator.random() < 0.6 else everything)
        change = generator.choice(_CHANGES_OF_FOLDERS if path.is_dir() else _CHANGES_OF_FILES)
        change(path, generator)
        told.append(f"{change.__name__.strip('_')} {path.relative_to(directory)}")
    if generator.random() < 0.7:
        renew_manifests(directory)
        told.append("checksums anew")
    return ", ".join(told)


def renew_facts(directory, record):
    """Let the checkpoints say what run.json says, as far as that has the fields."""
    try:
        facts = json.dumps(unchanging_facts(record))
    except (KeyError, TypeError, AttributeError):
        return
    for path in directory.glob("checkpoints/fold_*/epoch_*/facts.json"):
        path.write_text(facts)


def renew_manifests(directory):
    """Checksums of all that is there, as far as they can be made in a moment."""
    for manifest in directory.glob("checkpoints/fold_*/epoch_*.sha256"):
        checkpoint = manifest.with_suffix("")
        if not manifest.is_file() or manifest.is_symlink():
            continue
        files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and not path.is_symlink()]
        lines = [
            f"{_digest(path)}  {checkpoint.name}/{path.relative_to(checkpoint).as_posix()}\n"
            for path in files
        ]
        manifest.write_text("".join(lines), encoding="utf-8", errors="replace")


def _digest(path):
    if path.stat().st_size > 2**28:
        return "0" * 64
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remove(path, generator):
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _rename(path, generator):
    path.rename(
        path.with_name(generator.choice(["x", path.name + "0", path.name.upper() + "_", "epoch_0009"]))
    )


def _link_elsewhere(path, generator):
    _remove(path, generator)
    path.symlink_to(
        generator.choice(["/dev/zero", "/etc/passwd", "/", "/nowhere", ".", path.name, "/proc/self/mem"])
    )


def _link_to_its_copy(path, generator):
    outside = path.with_name(f"{path.name}.copy")
    path.rename(outside)
    path.symlink_to(outside)


def _pipe(path, generator):
    _remove(path, generator)
    os.mkfifo(path)


def _socket(path, generator):
    _remove(path, generator)
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.getcwd()
        os.chdir(path.parent)  # addresses are short
        listener.bind(path.name)
        os.chdir(folder)


def _folder(path, generator):
    _remove(path, generator)
    path.mkdir()


def _sparse(path, generator):
    with path.open("r+b") as file:
        file.truncate(generator.choice([SPARSE, SPARSE, 200 * 2**20, 2**20]))


def _truncate(path, generator):
    with path.open("r+b") as file:
        file.truncate(generator.randrange(path.stat().st_size + 1))


def _extend(path, generator):
    with path.open("ab") as file:
        file.write(generator.choice([b"\0", b"{}", b"x" * 10_000, generator.randbytes(1000)]))


def _replace(path, generator):
    path.write_bytes(
        generator.choice([b"", b"{}", b"[]", b"null", b"\x93NUMPY", b"[" * 10**5, generator.randbytes(500)])
    )


def _change(path, generator):
    """As what it is: JSON as JSON, a table as a table, a NumPy file in its header."""
    content = path.read_bytes()
    try:
        if path.suffix == ".npy":
            shape = generator.choice(
                [b"(5000000000000, 32)", b"(1, 32)", b"(84, 31)", b"(-1, 32)", b"((((", b"84"]
            )
            start = content.index(b"'shape': ") + 9
            path.write_bytes(
                content[:start]
                + (shape + b", }").ljust(118 + 10 - start - 1)[: 127 - start]
                + b"\n"
                + content[128:]
            )
        elif path.suffix == ".csv":
            path.write_bytes(mutate_csv(content, generator))
        else:
            path.write_text(json.dumps(mutate_json(json.loads(content), generator)))
    except ValueError:
        path.write_bytes(mutate_text(content, generator))


def _mutate(path, generator):
    path.write_bytes(mutate_text(path.read_bytes(), generator))


def _swap(path, generator):
    others = [each for each in path.parent.rglob("*") if each.is_file() and not each.is_symlink()]
    other = generator.choice([each for each in others if each.stat().st_size < 2**28] or [path])
    mine, its = path.read_bytes() if path.stat().st_size < 2**28 else b"", other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)


def _add(path, generator):
    name = generator.choice(
        ["manifest.ocdbt", ".zarray", "zarr.json", "_sharding", "x", "d", "epoch_0009.sha256", "run.json"]
    )
    (path / name).write_bytes(generator.choice([b"", b"{}", generator.randbytes(200)]))


def _add_many(path, generator):
    for number in range(3000):
        (path / f"x{number}").touch()


def _file(path, generator):
    shutil.rmtree(path)
    path.write_bytes(b"x")


_CHANGES_OF_FILES = [
    *(
        _change,
        _change,
        _change,
        _mutate,
        _mutate,
        _sparse,
        _pipe,
        _socket,
        _link_elsewhere,
        _link_to_its_copy,
    ),
    *(_remove, _rename, _folder, _truncate, _extend, _replace, _swap),
]
_CHANGES_OF_FOLDERS = [_remove, _rename, _link_elsewhere, _link_to_its_copy, _pipe, _add, _add_many, _file]
