"""Names in the place of ids, which may be paths with names of patients: hashes under a key that never leaves a private folder of the user.

Without the key nobody can find out a name by hashing all that it may be, as with a plain hash. The same name is the same
hash in all data sets of one user.
"""

import hashlib
import hmac
import os
import secrets
import stat
from functools import lru_cache
from pathlib import Path

from medjax.errors import refuse
from medjax.files import open_regular

_KEY_BYTES = 32
_NAME_DIGITS = 16
_FILE = "private-ids.key"
_REMEDY = "set MEDJAX_KEY_DIR to a folder of your own"


def private_name_of(id: str) -> str:
    """The name that stands for an id, which may be a path that is no Unicode: 16 hexadecimal digits.

    RefusedError as `private_key`.
    """
    value = id.encode("utf-8", "surrogatepass")
    return hmac.new(private_key(), value, hashlib.sha256).hexdigest()[:_NAME_DIGITS]


def private_key() -> bytes:
    """The user's key, made when it is first needed; RefusedError where it cannot be kept, or others can read it."""
    return _read_key(_key_folder() / _FILE)


def _key_folder() -> Path:
    """The folder of the key: MEDJAX_KEY_DIR if it is set, else in the user's folder for data of programs."""
    if named := os.environ.get("MEDJAX_KEY_DIR"):
        return Path(named)
    import platformdirs  # which a minimal installation may lack

    return Path(platformdirs.user_data_dir("medjax"))


@lru_cache(maxsize=4)
def _read_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _make_key(path)
        with open_regular(path) as handle:
            status = os.fstat(handle.fileno())
            key = handle.read(_KEY_BYTES + 1)
    except OSError as error:
        raise refuse(path, f"cannot be kept: {error.strerror or error}", _REMEDY) from None
    if os.name == "posix" and (status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077):
        raise refuse(
            path, "can be read by others, who could find out patients by it", f"chmod 600 it, or {_REMEDY}"
        )
    if len(key) != _KEY_BYTES:
        raise refuse(path, "is no key of medjax", f"remove it, so that a new one is made, or {_REMEDY}")
    return key


def _make_key(path: Path) -> None:
    """Write a new key, whole, unless another process does so at the same time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode=0o600)) as handle:
            handle.write(secrets.token_bytes(_KEY_BYTES))
        os.link(temporary, path)  # fails where another one is there, which a rename would replace
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
