"""Silence on stderr, and the end of it."""

import os
import threading

import pytest

from medjax.config import DataConfig
from medjax.data.decoding.image import decode_image
from medjax.data.decoding.silence import silent_stderr
from medjax.data.reading.listing import UnfitError
from tests.sample_files import random_pixels, raw_tiff


def test_what_a_library_writes_is_discarded_and_nothing_after(capfd):
    def whisper():
        for _ in range(50):
            with silent_stderr():
                os.write(2, b"hidden")

    threads = [threading.Thread(target=whisper) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(
        UnfitError, match="is damaged or truncated"
    ):  # libtiff would say that data are missing
        decode_image(raw_tiff(random_pixels(0, (16, 16)), {259: 5, 257: 4000, 278: 4000}), DataConfig())
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"
