"""From an archive on disk to arrays: without the cache, with it, and as users load by hand.

    python -m benchmarks.loading --data ZIP [--turns 5] [--no-peers] [--json]

Every case ends with gray images of 28 by 28 in one array. medjax reads the zip and checks and hashes each image
besides; peers read a folder that is unpacked beforehand, outside the time, or the zip member by member. A loop over
the folder in one thread is what the report does. Of a peer's variants the fastest counts for `opencv_seconds` and
`torchvision_seconds`; ratios are over OpenCV's. The files lie in the operating system's memory after the first turn,
which does not count. The last line of stdout is one JSON object.
"""

import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack

import tyro

from benchmarks.measuring import Case, finish, medians, take_turns
from benchmarks.peers.client import Peer
from medjax.config import DataConfig
from medjax.data.load import load

SIDE = 28


def main(data: str, turns: int = 5, peers: bool = True, json: bool = False) -> None:
    """Measure and print.

    Args:
        data: Zip of JPEG images in a folder for each class.
        turns: Turns of each case; the median counts.
        peers: Also measure OpenCV and torchvision, once `make peers` has installed them.
        json: Print the JSON line alone.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ["MEDJAX_CACHE_DIR"] = os.path.join(folder, "cache")
        cases = _cases(data)
        num_images = len(load(data).labels)
        if peers:
            unpacked = os.path.join(folder, "unpacked")
            with zipfile.ZipFile(data) as archive:
                archive.extractall(unpacked)
            opencv, torchvision = (stack.enter_context(Peer(name)) for name in ("opencv", "torchvision"))
            cases |= _peer_cases(opencv, torchvision, data, unpacked, num_images)
        seconds = medians(take_turns(cases, turns))
    figures = {"images": num_images, "turns": turns, **_summarize(seconds)}
    lines = [
        f"{name:24} {each:8.3f} s  {num_images / each:10,.0f} images/s" for name, each in seconds.items()
    ]
    finish("loading", figures, lines, json=json)


def _cases(data: str) -> dict[str, Case]:
    return {
        "cold": lambda: load(data, DataConfig(image_size=SIDE, cache=False, group_duplicates="none")),
        "cached": lambda: load(data, DataConfig(image_size=SIDE, group_duplicates="none")),
    }


def _peer_cases(
    opencv: Peer, torchvision: Peer, data: str, unpacked: str, num_images: int
) -> dict[str, Case]:
    """The same images by other means; each case says itself how long it took."""

    def case(peer: Peer, function: str, **arguments: str) -> Callable[[], float]:
        def turn() -> float:
            answer = peer.call(function, side=SIDE, **arguments)
            assert answer["shape"][0] == num_images, f"{function} read {answer['shape'][0]} images"
            return answer["seconds"]

        return turn

    zip_path = os.path.abspath(data)
    return {
        "opencv_folder_linear": case(opencv, "load_folder", folder=unpacked, filter="linear"),
        "opencv_folder_area": case(opencv, "load_folder", folder=unpacked, filter="area"),
        "opencv_zip_linear": case(opencv, "load_zip", path=zip_path, filter="linear"),
        **{
            variant.replace("load_with", "torchvision"): case(torchvision, variant, folder=unpacked)
            for variant in torchvision.call("variants")
        },
    }


def _summarize(seconds: dict[str, float]) -> dict:
    figures: dict = {"cold_seconds": seconds["cold"], "cached_seconds": seconds["cached"]}
    for peer in ("opencv", "torchvision"):
        variants = {name: each for name, each in seconds.items() if name.startswith(peer)}
        if variants:
            figures[f"{peer}_seconds"] = min(variants.values())
            figures |= {f"{name}_seconds": each for name, each in variants.items()}
    if "opencv_seconds" in figures:
        figures["ratio_cold"] = figures["opencv_seconds"] / figures["cold_seconds"]
        figures["ratio_cached"] = figures["opencv_seconds"] / figures["cached_seconds"]
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    tyro.cli(main)
