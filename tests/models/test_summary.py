import pytest

from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.summary import summarize_network


@pytest.fixture(scope="module")
def rows():
    return summarize_network(as_network(CNN(6)), (28, 28, 1))


def test_layers_come_in_order_with_shapes_and_parameters(rows):
    assert [(row.layer, row.output_shape, row.parameters) for row in rows] == [
        ("features/block_0", (13, 13, 32), 320),
        ("features/block_1", (5, 5, 64), 18_496),
        ("head/hidden", (128,), 204_928),
        ("head/dropout", (128,), 0),
        ("head/logits", (6,), 774),
    ]


def test_parts_that_only_hold_layers_are_left_out(rows):
    assert not {"", "features", "head"} & {row.layer for row in rows}


def test_image_shape_matters():
    assert summarize_network(as_network(CNN(2)), (32, 32, 3))[0].parameters == 3 * 3 * 3 * 32 + 32
