"""Reading forwards, packed or not, and the limit on what comes out."""

import gzip
import io
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data.reading.listing import UnfitError
from medjax.data.reading.streams import Reader, decompress

DATA = bytes(range(256)) * 5000


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_what_was_packed_comes_out(pack):
    assert b"".join(decompress(io.BytesIO(pack(DATA)))) == DATA


@pytest.mark.parametrize("packed", [gzip.compress(DATA), lzma.compress(DATA)], ids=["gzip", "xz"])
@given(data=st.data())
def test_a_truncated_stream_is_found(packed, data):
    size = data.draw(st.integers(6, len(packed) - 1))
    with pytest.raises(UnfitError):
        list(decompress(io.BytesIO(packed[:size])))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_bomb_comes_out_in_small_pieces(pack):
    assert max(map(len, decompress(io.BytesIO(pack(bytes(2**24)))))) <= 2**18


@given(st.binary(max_size=300), st.integers(1, 40), st.lists(st.integers(0, 50), max_size=20))
def test_a_reader_reads_forwards(data, piece, sizes):
    reader = Reader(iter([data[i : i + piece] for i in range(0, len(data), piece)]), 10**6)
    plain = io.BytesIO(data)
    for size in sizes:
        assert reader.read(size) == plain.read(size)
        assert reader.position == plain.tell()


def test_a_reader_stops_at_its_limit():
    reader = Reader(iter([bytes(100)] * 10), 250)
    reader.skip(250)
    with pytest.raises(UnfitError, match="unpacks to more than"):
        reader.read(1)
