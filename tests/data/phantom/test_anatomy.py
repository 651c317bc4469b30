import pytest

from medjax.data.phantom import anatomy
from medjax.data.phantom.anatomy import Organ

BODIES = {
    name: value
    for name, value in vars(anatomy).items()
    if isinstance(value, tuple) and all(isinstance(each, Organ) for each in value)
}


@pytest.mark.parametrize("name", BODIES)
def test_organs_have_possible_levels_sizes_and_chances(name):
    assert len(BODIES) >= 8
    for organ in BODIES[name]:
        assert 0 <= organ.level <= 1
        assert organ.width > 0
        assert organ.height > 0
        assert 0 < organ.chance <= 1


def test_a_pair_is_symmetric():
    left, right = anatomy._pair(Organ(0.5, -0.3, 0.1, 0.2, 0.1, 0.4))
    assert (right.x, right.tilt) == (0.3, -0.4)
    assert left._replace(x=0, tilt=0) == right._replace(x=0, tilt=0)
