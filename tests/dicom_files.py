"""DICOM files made on the spot, and those in pydicom's wheel."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"


def wheel_file(name: str) -> bytes:
    return (WHEEL / name).read_bytes()


def make_dataset(
    pixels: np.ndarray, modality: str = "MR", *, bits: int | None = None, **tags: Any
) -> Dataset:
    """A data set of one image, gray (height, width) or RGB (height, width, 3); `tags` are added, or removed where None."""
    itemsize = pixels.dtype.itemsize
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.PatientID, dataset.StudyInstanceUID = "P1", generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    is_color = pixels.ndim == 3
    dataset.SamplesPerPixel = 3 if is_color else 1
    dataset.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
    if is_color:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * itemsize
    dataset.BitsStored = bits or 8 * itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OB" if itemsize == 1 else "OW"
    if modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    with warnings.catch_warnings(action="ignore"):  # of wrong values, which are meant
        for name, value in {"Modality": modality, **tags}.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
    return dataset


def encode_dicom(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    file = FileDataset(buffer, dataset, file_meta=meta, preamble=bytes(128))
    with warnings.catch_warnings(action="ignore"):
        file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels: np.ndarray, modality: str = "MR", **tags: Any) -> bytes:
    """The bytes of such a file, uncompressed."""
    return encode_dicom(make_dataset(pixels, modality, **tags))


def compressed(pixels: np.ndarray, frame: bytes, syntax: str, **tags: Any) -> bytes:
    """A file that claims to be of `pixels`, with this compressed frame."""
    dataset = make_dataset(pixels, **tags)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return encode_dicom(dataset, syntax)


def ramp(bits: int = 12, shape: tuple[int, int] = (16, 16)) -> np.ndarray:
    """Values from 0 to the largest of so many bits, in even steps."""
    return np.linspace(0, 2**bits - 1, shape[0] * shape[1]).astype(np.uint16).reshape(shape)
