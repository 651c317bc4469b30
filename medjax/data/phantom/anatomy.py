"""The bodies that the phantom draws: lists of ellipses, painted in this order, and of fingers.

Lengths are in body units: the image spans -1 to 1 along both axes, x to the right, y down. Gray levels run from 0
(air, black) to 1 (bone, white). Rotations are given as the tangent of half the clockwise angle.
"""

from typing import NamedTuple


class Organ(NamedTuple):
    """An ellipse, painted over the organs before it."""

    level: float  # gray level, 0 to 1
    x: float  # center
    y: float
    width: float  # half axis along x, before the tilt
    height: float  # half axis along y, before the tilt
    tilt: float = 0.0  # tangent of half the angle
    chance: float = 1.0  # probability that it is drawn
    contrast: float = 0.08  # largest random change of the level, up or down


def _pair(organ: Organ) -> tuple[Organ, Organ]:
    """An organ and its mirror image."""
    return organ, organ._replace(x=-organ.x, tilt=-organ.tilt)


def _ribs(width: float, height: float) -> tuple[Organ, ...]:
    """Cross sections of ribs on an oval with these half axes; t is the tangent of half the angle from the front."""
    return tuple(
        Organ(0.9, width * 2 * t / (1 + t * t), -height * (1 - t * t) / (1 + t * t), 0.09, 0.035, t, 0.7)
        for t in (-2.4, -1.5, -1.0, -0.6, -0.25, 0.25, 0.6, 1.0, 1.5, 2.4)
    )


SPINE = (
    Organ(0.92, 0.00, 0.29, 0.14, 0.11),  # vertebral body
    Organ(0.88, 0.00, 0.46, 0.04, 0.14),  # spinous process
    *_pair(Organ(0.86, -0.11, 0.44, 0.12, 0.03, -0.2)),  # transverse processes
    Organ(0.45, 0.00, 0.42, 0.05, 0.04),  # canal
)
ABDOMEN = (  # axial slice, patient on the back, the right side on the left
    Organ(0.30, 0.00, 0.00, 0.88, 0.64),  # skin and fat
    Organ(0.48, 0.00, 0.00, 0.78, 0.54),  # muscle
    Organ(0.28, 0.10, -0.05, 0.58, 0.38, contrast=0.1),  # fat around the bowel
    Organ(0.62, -0.38, -0.08, 0.34, 0.36, 0.1),  # liver
    Organ(0.58, -0.05, -0.24, 0.36, 0.16, -0.1, 0.7),  # left lobe of the liver
    Organ(0.60, 0.56, 0.08, 0.14, 0.24, 0.15, 0.8),  # spleen
    Organ(0.55, 0.34, -0.20, 0.22, 0.15, 0.2),  # stomach
    Organ(0.04, 0.34, -0.24, 0.15, 0.08, 0.1, 0.7, 0.04),  # gas in the stomach
    Organ(0.04, -0.15, -0.36, 0.10, 0.05, 0.0, 0.5, 0.04),  # gas in the colon
    Organ(0.55, 0.26, 0.02, 0.10, 0.07, 0.1, 0.8),  # loop of bowel
    *_pair(Organ(0.72, -0.36, 0.24, 0.12, 0.15, 0.15, 0.8, 0.15)),  # kidneys
    *_pair(Organ(0.40, -0.30, 0.23, 0.04, 0.06, 0.0, 0.7)),  # renal pelves
    Organ(0.70, 0.04, 0.13, 0.06, 0.06, 0.0, 1.0, 0.15),  # aorta
    *_pair(Organ(0.06, -0.52, 0.24, 0.12, 0.17, 0.3, 0.2)),  # lowest parts of the lungs: as in a chest
    *_pair(Organ(0.50, -0.20, 0.42, 0.14, 0.12)),  # muscles of the back
    *SPINE,
    *_ribs(0.78, 0.54),
)
CHEST = (  # axial slice, patient on the back, the right side on the left
    Organ(0.30, 0.00, 0.00, 0.92, 0.62),  # skin and fat
    Organ(0.50, 0.00, 0.00, 0.84, 0.54),  # muscle
    *_pair(Organ(0.08, -0.42, 0.00, 0.31, 0.42, 0.08, 1.0, 0.06)),  # lungs
    Organ(0.60, 0.02, -0.12, 0.19, 0.26),  # mediastinum
    Organ(0.62, 0.14, -0.08, 0.27, 0.23, 0.2, 0.6),  # heart
    Organ(0.72, 0.00, -0.18, 0.09, 0.08, 0.0, 0.7, 0.15),  # great vessels
    Organ(0.04, 0.00, 0.04, 0.04, 0.04, 0.0, 0.7, 0.04),  # windpipe
    Organ(0.70, 0.12, 0.20, 0.07, 0.07, 0.0, 1.0, 0.15),  # aorta
    Organ(0.60, -0.46, 0.06, 0.20, 0.26, 0.0, 0.25),  # domes of liver and spleen: as in an abdomen
    Organ(0.60, 0.52, 0.06, 0.18, 0.22, 0.0, 0.15),
    *_pair(Organ(0.40, -0.32, -0.02, 0.05, 0.03, 0.2)),  # vessels of the lungs
    *SPINE,
    *_ribs(0.84, 0.54),
)
HEAD = (  # axial slice, nose up
    Organ(0.42, 0.00, 0.00, 0.68, 0.86),  # scalp
    Organ(1.00, 0.00, 0.00, 0.63, 0.81, contrast=0.0),  # skull
    Organ(0.46, 0.00, 0.01, 0.55, 0.72),  # brain
    Organ(0.64, 0.00, 0.00, 0.02, 0.50),  # falx
    *_pair(Organ(0.52, -0.20, 0.12, 0.12, 0.16, 0.1, 0.7)),  # basal ganglia
    *_pair(Organ(0.24, -0.10, -0.20, 0.05, 0.22, -0.15, 0.8)),  # ventricles: front horns
    *_pair(Organ(0.24, -0.17, 0.28, 0.05, 0.20, 0.2, 0.8)),  # back horns
    Organ(0.95, 0.00, 0.20, 0.03, 0.03, 0.0, 0.3),  # calcified pineal gland
)
SKULL_BASE = (  # added in a lower slice through the head
    *_pair(Organ(0.95, -0.32, 0.10, 0.26, 0.07, 0.25)),  # petrous bones
    *_pair(Organ(0.05, -0.26, -0.48, 0.14, 0.16)),  # orbits and sinuses
    Organ(0.90, 0.00, -0.45, 0.05, 0.28),  # nasal septum
)
FAT, GLAND = 0.85, 0.45  # T1-weighted; fat suppression makes the gland the brighter one
BREASTS = (  # axial slice, patient prone, shown with the breasts up
    *_pair(Organ(FAT, -0.40, 0.18, 0.39, 0.42, -0.05)),  # breasts
    Organ(FAT, 0.00, 0.82, 1.00, 0.62),  # chest wall
    *_pair(Organ(GLAND, -0.42, 0.00, 0.16, 0.20, -0.15, 0.9, 0.15)),  # glandular tissue
    *_pair(Organ(GLAND, -0.38, 0.16, 0.22, 0.12, 0.1, 0.7, 0.15)),
    Organ(0.28, 0.00, 0.84, 0.92, 0.52),  # muscle
    *_pair(Organ(0.06, -0.46, 0.86, 0.34, 0.34)),  # lungs
    Organ(0.50, 0.08, 0.72, 0.26, 0.20, 0.1, 0.7, 0.2),  # heart
    Organ(0.10, 0.00, 0.42, 0.08, 0.04),  # breastbone
)
FILM = (  # chest from the front, below the shadows of the ribs
    Organ(0.62, 0.00, 0.85, 1.00, 1.40),  # trunk
    Organ(0.60, 0.00, -0.95, 0.28, 0.55),  # neck
    *_pair(Organ(0.62, -0.66, -0.36, 0.52, 0.26, -0.2)),  # shoulders
    *_pair(Organ(0.62, -1.02, 0.30, 0.18, 0.80, 0.0, 0.6)),  # arms
    *_pair(Organ(0.16, -0.42, -0.06, 0.31, 0.62, 0.07, 1.0, 0.1)),  # lungs
    *_pair(Organ(0.50, -0.44, 0.02, 0.20, 0.18, 0.0, 0.2, 0.15)),  # opacities
)
DENSE_FILM = (  # above the ribs, hiding them
    Organ(0.80, 0.00, 0.30, 0.13, 1.20),  # spine and mediastinum
    Organ(0.80, 0.16, 0.28, 0.32, 0.28, 0.2),  # heart
    *_pair(Organ(0.60, -0.21, 0.00, 0.06, 0.14, 0.1)),  # vessels at the roots of the lungs
    *_pair(Organ(0.88, -0.50, 0.88, 0.54, 0.40, 0.05)),  # diaphragm
    Organ(0.88, 0.00, 1.10, 0.95, 0.50),  # abdomen
    Organ(0.35, 0.46, 0.78, 0.13, 0.08, 0.0, 0.3, 0.15),  # gas in the stomach
    *_pair(Organ(0.76, -0.44, -0.56, 0.40, 0.035, 0.1)),  # collar bones
    Organ(0.50, 0.00, -0.76, 0.05, 0.30),  # windpipe
)
PALM = (  # fingers up, thumb on the left
    Organ(0.34, 0.02, 0.20, 0.30, 0.34),
    Organ(0.34, 0.02, 1.00, 0.22, 0.62),  # forearm
)
WRIST = (
    Organ(0.75, -0.12, 0.42, 0.08, 0.07),  # carpal bones
    Organ(0.75, 0.02, 0.40, 0.08, 0.07),
    Organ(0.75, 0.13, 0.43, 0.07, 0.07),
    *_pair(Organ(0.75, -0.08, 0.54, 0.08, 0.06)),
    Organ(0.80, -0.08, 1.02, 0.09, 0.42),  # radius
    Organ(0.78, 0.13, 1.06, 0.06, 0.42),  # ulna
)
FINGERS = (  # x, y at the wrist; x, y of the tip; number of bones with the metacarpal
    (-0.14, 0.38, -0.66, -0.06, 3),
    (-0.10, 0.34, -0.32, -0.68, 4),
    (-0.02, 0.34, -0.05, -0.80, 4),
    (0.06, 0.35, 0.20, -0.72, 4),
    (0.14, 0.38, 0.42, -0.50, 4),
)
