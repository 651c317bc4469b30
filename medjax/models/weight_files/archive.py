"""The members of a zip archive that is in memory already, each of a size that is known before it is read."""

import io
import stat
import zipfile

from medjax.files import ZIP_DAMAGE
from medjax.models.weight_files.tensors import MAX_BYTES, UnfitError

_MAX_MEMBERS = 20_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DEFLATED_AT_MOST = 1100  # times smaller; the format itself ends at 1032


class Archive:
    """A zip archive; UnfitError where its members cannot all be sound."""

    def __init__(self, content: bytes) -> None:
        # Each member has this signature in the directory; `zipfile` makes an object of each before anyone can count them.
        if content.count(b"PK\x01\x02") > _MAX_MEMBERS:
            raise UnfitError(f"is an archive of more than {_MAX_MEMBERS:,} members")
        try:
            self._file = zipfile.ZipFile(io.BytesIO(content))
        except ZIP_DAMAGE as error:
            raise UnfitError(f"is not a zip archive that can be read: {error}") from None
        self.members: dict[str, zipfile.ZipInfo] = {}
        for member in self._file.infolist():
            if member.filename in self.members:
                raise UnfitError("is an archive with two members of one name")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UnfitError("is an archive with a link in it")
            self.members[member.filename] = member
        if sum(member.compress_size for member in self.members.values()) > len(content):
            raise UnfitError("is an archive whose members claim more bytes than it has")

    def read(self, name: str) -> bytes:
        """The content of a member; UnfitError where it is damaged, encrypted, or unpacks to more than it can."""
        member = self.members[name]
        limit = min(MAX_BYTES, member.compress_size * _DEFLATED_AT_MOST)
        if member.compress_type not in _METHODS or member.file_size > limit:
            raise UnfitError("is an archive whose members claim to unpack to more than they can")
        try:
            return self._file.read(member)
        except ZIP_DAMAGE as error:
            raise UnfitError(f"is an archive that is damaged: {error}") from None

    def is_stored(self, name: str) -> bool:
        """Whether a member is not compressed."""
        member = self.members[name]
        return member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
