"""Groups from folders inside class folders."""

import numpy as np

from medjax.data.splitting.folder_groups import inner_folders


def test_images_of_one_inner_folder_are_one_group():
    groups = inner_folders(
        np.array(["cat/p1/1.png", "cat/p1/deep/2.png", "cat/p2/1.png", "dog/p3/1.png", "dog/0.png"]),
        has_parts=False,
    )
    assert groups.tolist() == ["p1", "p1", "p2", "p3", "dog/0.png"]
    parted = np.array(["train/cat/p1/1.png", "test/dog/p1/2.png", "test/dog/3.png"])
    assert inner_folders(parted, has_parts=True).tolist() == ["p1", "p1", "test/dog/3.png"]
    assert inner_folders(np.array(["cat/1.png", "dog/1.png"]), has_parts=False) is None
