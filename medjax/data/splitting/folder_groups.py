"""Groups from the folders inside class folders: class/patient/image."""

import numpy as np

from medjax.records import Names


def inner_folders(ids: Names, *, has_parts: bool) -> Names | None:
    """The group of each image by the folder that it is in inside its class folder; None where no image is in one.

    A folder of the same name in two classes or parts is one group, as it may be one patient. An image beside such folders
    is alone. Folders further inside belong to the first.
    """
    depth = 3 if has_parts else 2
    split = [id.split("/") for id in ids.tolist()]
    if not any(len(components) > depth for components in split):
        return None
    return np.array(
        [components[depth - 1] if len(components) > depth else "/".join(components) for components in split]
    )
