"""Tensors of another framework in the place of arrays: refused with how they become arrays."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import rnnjax

T, B, D, H = 4, 2, 3, 5
CELL = rnnjax.lstm(H)
PARAMS = CELL.init(jax.random.key(0), D)


def tensor(*shape):
    """What any framework's tensor has; its dtype is neither NumPy's nor JAX's."""
    return SimpleNamespace(shape=shape, dtype=object())


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("xs", tensor(T, B, D)),
        ("lengths", tensor(B)),
        ("mask", tensor(T, B)),
        ("resets", tensor(T, B)),
        ("carry", rnnjax.LSTMCarry(*[tensor(B, H)] * 2)),
        ("params", PARAMS._replace(w_x=tensor(D, 4 * H))),
    ],
)
def test_tensors_are_named(name, given):
    options = {"params": PARAMS, "xs": np.ones((T, B, D))} | {name: given}
    with pytest.raises(
        (TypeError, ValueError), match=rf"{name}.* a types SimpleNamespace \[.*numpy\(\)"
    ):
        rnnjax.unroll(CELL, **options)
