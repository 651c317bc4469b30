"""Download published data sets and weights: once, of a bounded size, verified by digest, never over another file."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from medjax.errors import RefusedError, refuse
from medjax.files import write_whole


class Published(NamedTuple):
    """A public data set, or weights of a network, in one file."""

    address: str  # https
    md5: str  # 32 hexadecimal digits, as published; "" where `sha256` stands
    file_name: str
    terms: str  # license, and whom to credit
    pixels: (
        int  # of all images, times channels, as published: what the file holds in bytes before compression
    )
    sha256: str = ""  # the first hexadecimal digits, as published

    @property
    def max_bytes(self) -> int:
        """No file of the set is larger: compression makes pixels hardly more, and labels and headers are few."""
        return self.pixels + self.pixels // 10 + 2**20

    def digest_fault(self, digest: Callable[[str], str]) -> str:
        """What is wrong with a file of this digest, which is asked for by the algorithm's name; "" for the right file."""
        name, wanted = ("SHA-256", self.sha256) if self.sha256 else ("MD5", self.md5)
        found = digest(name.lower().replace("-", ""))
        begins = "…" if self.sha256 else ""
        return "" if found.startswith(wanted) else f"its {name} is {found}, not {wanted}{begins}"

    @property
    def digest_text(self) -> str:
        """The digest in words, for who downloads by hand."""
        return f"its SHA-256 begins {self.sha256}" if self.sha256 else f"its MD5 is {self.md5}"


_MEDMNIST = "Yang et al., MedMNIST v2, Scientific Data 2023"
# MD5, license, number of images (https://medmnist.com) and channels.
_MEDMNIST_FILES = {
    "pathmnist": ("a8b06965200029087d5bd730944a56c1", "CC BY 4.0", 107_180, 3),
    "dermamnist": ("0744692d530f8e62ec473284d019b0c7", "CC BY-NC 4.0", 10_015, 3),
    "octmnist": ("c68d92d5b585d8d81f7112f81e2d0842", "CC BY 4.0", 109_309, 1),
    "pneumoniamnist": ("28209eda62fecd6e6a2d98b1501bb15f", "CC BY 4.0", 5_856, 1),
    "retinamnist": ("bd4c0672f1bba3e3a89f0e4e876791e4", "CC BY 4.0", 1_600, 3),
    "breastmnist": ("750601b1f35ba3300ea97c75c52ff8f6", "CC BY 4.0", 780, 1),
    "bloodmnist": ("7053d0359d879ad8a5505303e11de1dc", "CC BY 4.0", 17_092, 3),
    "tissuemnist": ("ebe78ee8b05294063de985d821c1c34b", "CC BY 4.0", 236_386, 1),
    "organamnist": ("68e3f8846a6bd62f0c9bf841c0d9eacc", "CC BY 4.0", 58_850, 1),
    "organcmnist": ("b9ceb9546e10131b32923c5bbeaea2b1", "CC BY 4.0", 23_660, 1),
    "organsmnist": ("9ab87b696fb54e2a387ebe992d6ed5f1", "CC BY 4.0", 25_221, 1),
}
_MEDMNIST_PIXELS = 28 * 28

PUBLISHED = {
    "medical-mnist": Published(
        "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/MedNIST.tar.gz",
        "0bc7306e7427e00ad1c5526a6677552d",
        "MedNIST.tar.gz",
        "CC BY-SA 4.0; Bradley J. Erickson, Mayo Clinic, from TCIA, RSNA Bone Age Challenge, NIH Chest X-ray",
        58_954 * 64 * 64,
    ),
    **{
        name: Published(
            f"https://zenodo.org/records/10519652/files/{name}.npz?download=1",
            md5,
            f"{name}.npz",
            f"{licence}; {_MEDMNIST}",
            images * channels * _MEDMNIST_PIXELS,
        )
        for name, (md5, licence, images, channels) in _MEDMNIST_FILES.items()
    },
}
"""The data sets that `fetch` knows: Medical MNIST (MedNIST), and those of MedMNIST v2 that are 2D, 28 by 28, with one
label per image. Addresses and MD5 are those of MONAI's tutorials and the package medmnist 3.0.2."""

_TIMEOUTS = (15.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""
_CHUNK_BYTES = 2**18
_HEADERS = {
    # Zenodo answers 403 to the default user agent (fatiando/pooch issue 502).
    "User-Agent": "medjax",
    # A .tar.gz that is decompressed in transit has neither the published MD5 nor the announced length.
    "Accept-Encoding": "identity",
}


def fetch(
    name: str, directory: str | Path = "data", *, on_progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Download the published data set `name` into `directory`, unless it is there already; returns its path.

    The directory is created if it is missing. `on_progress(done, total)` is called with bytes now and then; if the server
    does not state the size, `total` is None and `done` up to a chunk too high. Raises RefusedError for a name that is not
    in `PUBLISHED`, for another file of that name in `directory`, and for a failed download, which leaves nothing behind:
    one that is larger than the published file can be is given up as soon as that shows.
    """
    if name not in PUBLISHED:
        raise refuse(name, "is not a data set that medjax can fetch", f"give one of {', '.join(PUBLISHED)}")
    return fetch_file(PUBLISHED[name], directory, on_progress=on_progress)


def fetch_file(
    published: Published,
    directory: str | Path,
    *,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """`fetch` of a file that is no data set."""
    target = Path(directory) / published.file_name
    try:
        if not _is_there(target, published):
            _download(target, published, on_progress)
    except RefusedError:
        raise
    except (OSError, ValueError) as error:
        raise _failed(target, published, error) from error
    return target


def _is_there(target: Path, published: Published) -> bool:
    """Whether the published file is at `target` already; RefusedError if anything else is."""
    if not os.path.lexists(target):
        return False
    # Imported here, because the import takes long and nothing else needs it.
    import pooch  # type: ignore[import-untyped]

    remedy = "move it away or delete it, then fetch again, or give another directory"
    if not target.is_file():
        raise refuse(target, "exists and is not a file", remedy)
    fault = published.digest_fault(lambda algorithm: pooch.file_hash(target, algorithm))
    if fault:
        raise refuse(target, f"is not the published file: {fault}", remedy)
    return True


def _download(
    target: Path, published: Published, on_progress: Callable[[int, int | None], None] | None
) -> None:
    import pooch

    # Not pooch.retrieve, which overwrites existing files and makes new ones readable by their owner only.
    with ExitStack() as stack:
        stack.enter_context(_make_directory(target.parent))
        file = stack.enter_context(write_whole(target))

        bounded = _Bounded(file, target, published)

        def on_response(response: Any, *_: object, **__: object) -> None:
            stack.callback(response.close)  # pooch leaves it open if the download fails
            if response.is_redirect:
                # Its body, which requests would read to the end, is of no use.
                response.raw.close()
                response.raw = io.BytesIO()
            elif (length := response.headers.get("Content-Length", "")).isdecimal():
                bounded.require(int(length))

        get = pooch.HTTPDownloader(
            progressbar=False if on_progress is None else _Bar(on_progress),
            chunk_size=_CHUNK_BYTES,
            timeout=_TIMEOUTS,
            headers=_HEADERS,
            hooks={"response": on_response},
        )
        get(published.address, bounded, None)

        def digest(algorithm: str) -> str:
            file.seek(0)
            return hashlib.file_digest(file, algorithm).hexdigest()

        if fault := published.digest_fault(digest):
            reason = f"not fetched: of the file from {_host(published)} {fault}"
            raise refuse(target, reason, f"try again, or {_by_hand(target, published)}")


class _Bounded:
    """The interface of a file as pooch writes it, which refuses more bytes than the published file can have."""

    def __init__(self, file: io.BufferedRandom, target: Path, published: Published) -> None:
        self._file = file
        self._target = target
        self._published = published
        self._written = 0

    def require(self, size: int) -> None:
        """Raise RefusedError if the file cannot be so large."""
        limit = self._published.max_bytes
        if size > limit:
            reason = (
                f"not fetched: {_host(self._published)} sends more than the {limit:,} bytes that it can have"
            )
            raise refuse(self._target, reason, f"try again, or {_by_hand(self._target, self._published)}")

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self.require(self._written)
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class _Bar:
    """The interface of a pooch progress bar, which calls `on_progress`."""

    total = 0  # bytes; set by pooch, to 0 if the server does not state the size

    def __init__(self, on_progress: Callable[[int, int | None], None]) -> None:
        self._on_progress = on_progress
        self._done = 0

    def update(self, num_bytes: int) -> None:
        # pooch counts the last chunk as a full one, and in the end the whole file again.
        self._done += num_bytes
        self._on_progress(min(self._done, self.total or self._done), self.total or None)

    def reset(self) -> None:
        """Do nothing, so that progress is not lost."""

    def close(self) -> None:
        """Do nothing: the caller owns the display."""


@contextmanager
def _make_directory(directory: Path) -> Iterator[None]:
    """Create a directory and its parents; at the end, new ones that are still empty are removed."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _failed(target: Path, published: Published, error: OSError | ValueError) -> RefusedError:
    """The refusal that says why the download failed, and how to download by hand."""
    import requests

    host, by_hand = _host(published), _by_hand(target, published)
    match error:
        case requests.HTTPError(response=requests.Response(status_code=status)):
            reason = f"{host} answered with HTTP status {status}"
        case requests.ConnectTimeout() | requests.ReadTimeout():
            reason = f"{host} did not answer in time"
        case requests.exceptions.SSLError():
            reason = f"the certificate of {host} cannot be verified"
        case requests.exceptions.ProxyError():
            reason = f"the proxy did not let the connection to {host} through"
        case requests.exceptions.ChunkedEncodingError():
            reason = f"the connection to {host} broke off"
        case requests.ConnectionError():
            reason = f"there is no connection to {host}, or it stalled"
        case requests.RequestException() | ValueError():
            reason = f"{host} sent an invalid answer"
        case _:
            reason = f"it cannot be read or written: {error.strerror or error}"
            by_hand = f"check space and permissions there, give another directory, or {by_hand}"
    return refuse(target, f"not fetched: {reason}", by_hand)


def _host(published: Published) -> str:
    return urlsplit(published.address).netloc


def _by_hand(target: Path, published: Published) -> str:
    path = target.absolute()
    return f"download {published.address} by hand and put it at {path}; {published.digest_text}"
