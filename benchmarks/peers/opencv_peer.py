"""Images read as in the report: one loop in one thread, OpenCV reading gray and resizing."""

import os
import time
import zipfile

import cv2
import numpy as np

from benchmarks.peers.server import serve

cv2.setNumThreads(1)
# The report leaves OpenCV's default, two pixels a side without antialiasing; area averages, as medjax does.
FILTERS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}
SUFFIXES = (".jpeg", ".jpg")


def load_folder(folder: str, side: int, filter: str) -> dict:
    """Seconds for all images below `folder`, gray and `side` pixels square, and the shape of the result."""
    started = time.perf_counter()
    images = []
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith(SUFFIXES):
                image = cv2.imread(os.path.join(root, name), cv2.IMREAD_GRAYSCALE)
                images.append(cv2.resize(image, (side, side), interpolation=FILTERS[filter]))
    return _answer(started, images)


def load_zip(path: str, side: int, filter: str) -> dict:
    """The same from a zip, its members read in place."""
    started = time.perf_counter()
    images = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(SUFFIXES):
                data = np.frombuffer(archive.read(member), np.uint8)
                image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
                images.append(cv2.resize(image, (side, side), interpolation=FILTERS[filter]))
    return _answer(started, images)


def _answer(started: float, images: list) -> dict:
    shape = list(np.stack(images).shape)
    return {"seconds": time.perf_counter() - started, "shape": shape}


if __name__ == "__main__":
    serve({"load_folder": load_folder, "load_zip": load_zip})
