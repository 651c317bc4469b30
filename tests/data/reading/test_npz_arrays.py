"""Arrays of an .npz, read piece by piece; what is refused is in test_hostile.py."""

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.reading import npz_arrays
from medjax.data.reading.npz_arrays import parts_of, read_chunks, read_headers
from medjax.data.reading.zip import open_archive
from tests.sample_files import medmnist_arrays, write_npz


@pytest.mark.parametrize("chunk", [1, 333, 2**22])
def test_pieces_make_up_the_array(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(npz_arrays, "_CHUNK_BYTES", chunk)
    arrays = {name: array for name, array in medmnist_arrays(7).items() if not name.startswith("val")}
    path = write_npz(tmp_path / "set.npz", {**arrays, "more": np.zeros(3)})
    with open_archive(path) as archive:
        found, others = read_headers(archive, path, DataConfig())
        assert (found.keys(), others, parts_of(found)) == (arrays.keys(), 1, ["test", "train"])
        for name, array in found.items():
            assert (array.shape, array.dtype) == (arrays[name].shape, arrays[name].dtype)
            np.testing.assert_array_equal(np.concatenate([*read_chunks(archive, array)]), arrays[name])
