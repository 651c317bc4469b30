"""Decode a batch of images: plain JPEGs together, all others one by one; DICOM files by a decoder of their own."""

from collections.abc import Sequence

from medjax.config import DataConfig
from medjax.data.decoding.fast_jpeg import decode_plain
from medjax.data.decoding.image import DecodedStack, decode_image
from medjax.data.dicom.decode import decode_dicom
from medjax.data.dicom.signature import is_dicom
from medjax.data.reading.listing import Fault, UnfitError

Result = tuple[Sequence[int], DecodedStack]  # indices in the batch, and their images


def decode_batch(
    images: Sequence[bytes | Fault], config: DataConfig
) -> tuple[list[Result], list[tuple[int, Fault]]]:
    """Decoded images and faults, with their indices in the batch; a fault among `images` is passed on."""
    encoded = [b"" if isinstance(data, Fault) else data for data in images]
    results: list[Result] = [*decode_plain(encoded, config)]
    faults = []
    decoded = {index for indices, _ in results for index in indices}
    for index, data in enumerate(images):
        if isinstance(data, Fault):
            faults.append((index, data))
        elif index not in decoded:
            try:
                decode = decode_dicom if is_dicom(data) else decode_image
                results.append(([index], decode(data, config).stacked()))
            except UnfitError as error:
                faults.append((index, error.fault))
    return results, faults
