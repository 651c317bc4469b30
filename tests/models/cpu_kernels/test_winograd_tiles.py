"""Plans cover all images and keep blocks small."""

import pytest

from medjax.models.cpu_kernels.winograd_tiles import make_plan

NO_PADDING = ((0, 0), (0, 0))


@pytest.mark.parametrize("outputs", [(1, 1), (4, 4), (7, 7), (28, 28), (3, 50), (112, 112)])
@pytest.mark.parametrize("num_images", [1, 5, 64])
@pytest.mark.parametrize("channels", [16, 64, 512])
def test_a_block_has_images_or_rows_of_one(outputs, num_images, channels):
    plan = make_plan(num_images, channels, outputs, NO_PADDING, 4, 2**19)
    down, right = plan.sides
    assert (down, right) == tuple((side + 1) // 2 for side in outputs)
    assert 1 <= plan.rows <= down
    assert 1 <= plan.images <= plan.group_size
    assert plan.images == 1 or plan.rows == down
    assert plan.group_size * plan.num_image_groups >= num_images
    assert plan.num_tiles <= max(200, 2 * right)


def test_memory_is_never_a_power_of_two_apart():
    plan = make_plan(64, 64, (28, 28), NO_PADDING, 16, 2**19)
    assert plan.row_length % 64 in (8, 16)
    assert plan.shape(plan.row_length)[2] % 2 == 1
