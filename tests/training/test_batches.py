"""How batches reach the steps: drawn ahead, and several at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax.training._watch as watch
from rnnjax.training._prefetch import prefetched


def test_batches_of_one_shape_are_grouped_and_others_are_not():
    shapes = iter([2, 2, 2, 2, 3, 2, 2, 2, 2])
    batches = (np.zeros(size) for size in shapes)
    groups = list(watch.grouped(batches, 8, 3))
    assert [[len(group) for group in item] for item in groups] == [[3], [1, 1, 1], [1], [1]]
    assert len(next(batches)) == 2  # none was taken too many


def test_batches_too_large_to_copy_are_not_grouped(monkeypatch):
    monkeypatch.setattr(watch, "_LARGE", 2 * 8 * 4 - 1)
    groups = list(watch.grouped(iter([np.zeros(4)] * 4), 4, 2))
    assert [[len(group) for group in item] for item in groups] == [[1, 1], [1, 1]]


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["host", "device"])
def test_batches_come_in_order_and_on_the_device(convert):
    asked = []

    def draw(step):
        asked.append(step)
        return convert(step)

    with prefetched(draw, range(3, 30)) as batches:
        taken = [next(batches) for _ in range(10)]
    assert [int(x) for x in taken] == list(range(3, 13))
    assert all(isinstance(x, jax.Array) for x in taken)
    assert asked == list(range(3, 3 + len(asked)))
    assert len(asked) < 20
    with prefetched(draw, range(0)) as batches:
        assert list(batches) == []
