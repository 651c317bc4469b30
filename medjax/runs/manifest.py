"""The manifest of a checkpoint: the SHA-256 of each of its files, in the format of the `sha256sum` command.

A checkpoint may be a stranger's: its files are looked at before they are opened, and links are not followed.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from medjax.errors import RefusedError, refuse
from medjax.files import open_bounded, read_bounded, require_folder, write_whole

DAMAGED = "restore the file from a copy, or train again"
_MAX_BYTES = 64 * 2**20
_MAX_FILES = 200_000
_MAX_LOOSE_BYTES = 16 * 2**20  # of a file beside the arrays


def manifest_path(directory: Path) -> Path:
    """Where the manifest of a checkpoint is."""
    return directory.with_name(directory.name + ".sha256")


def write_manifest(directory: Path, root: str | Path | None = None) -> None:
    """Write the manifest of a checkpoint that is complete. `root` is that of `write_whole`."""
    names = sorted(list_files(directory))
    lines = [f"{_digest_file(directory / name)}  {directory.name}/{name}\n" for name in names]
    with write_whole(manifest_path(directory), root=root, sync=True) as file:
        file.write("".join(lines).encode())


def read_manifest(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file of a checkpoint, by its name; RefusedError without a manifest."""
    manifest = manifest_path(directory)
    try:
        lines = read_bounded(manifest, _MAX_BYTES).decode().splitlines()
    except RefusedError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(
            str(manifest), "the manifest cannot be read, so nothing vouches for the checkpoint", DAMAGED
        ) from error
    expected = {}
    for line in lines:
        digest, _, name = line.partition(f"  {directory.name}/")
        expected[name] = digest
    return expected


def require_files(
    directory: Path, expected: Mapping[str, str], files: Mapping[str, int], read: Collection[str]
) -> None:
    """RefusedError unless the files are those of the manifest, and those that are `read` have its digests."""
    for name in sorted(expected.keys() | files.keys()):
        path = str(directory / name)
        if name not in files:
            raise refuse(path, "is missing from the checkpoint", DAMAGED)
        if name not in expected:
            raise refuse(path, "is not in the checkpoint's manifest", "move it out of the checkpoint")
        if name in read and _digest_file(directory / name) != expected[name]:
            raise refuse(path, "is damaged: its sha256 differs from the manifest's", DAMAGED)


def list_files(directory: Path, max_bytes: int | None = None) -> dict[str, int]:
    """Sizes of the files of a checkpoint by their names; RefusedError for links and special files.

    One that has more than `max_bytes` altogether, or a long file beside its arrays, is refused too.
    """
    try:
        require_folder(directory)
    except OSError as error:
        raise refuse(str(directory), f"cannot be read ({error.strerror})", DAMAGED) from error
    files: dict[str, int] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(directory / folder) as entries:
            for entry in entries:
                name, status = folder + entry.name, entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(f"{name}/")
                elif not stat.S_ISREG(status.st_mode):
                    raise refuse(directory / name, "is a link or a special file", "remove it")
                else:
                    files[name] = status.st_size
                if len(files) + len(waiting) > _MAX_FILES:
                    raise refuse(str(directory), f"holds more than {_MAX_FILES:,} files", DAMAGED)
    if max_bytes is not None and (found := sum(files.values())) > max_bytes:
        reason = f"holds {found:,} bytes, more than the {max_bytes:,} that this network may need"
        raise refuse(str(directory), reason, DAMAGED)
    for name, size in files.items():
        if "/" not in name and size > _MAX_LOOSE_BYTES:
            raise refuse(directory / name, f"has {size:,} bytes, more than {_MAX_LOOSE_BYTES:,}", DAMAGED)
    return files


def _digest_file(path: Path) -> str:
    try:
        with open_bounded(path, path.lstat().st_size) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refuse(str(path), f"cannot be read ({error.strerror})", DAMAGED) from error
