"""NumPy arrays as files hold them: of the other byte order, or of more than 64 bits."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import flow, saving, scenarios
from rnnjax.cells import VanillaCarry

CELL = rnnjax.vanilla(2)
PARAMS = CELL.init(jax.random.key(0), 3)
RNG = np.random.default_rng(0)
XS, CARRY = RNG.standard_normal((4, 2, 3)), VanillaCarry(RNG.standard_normal((2, 2)))
SUM = SimpleNamespace(init=lambda key, x: None, apply=lambda params, x: jnp.sum(x, -1))
LENGTHS, RESETS = np.array([4, 2]), np.zeros((4, 2), bool)


def swapped(tree):
    def leaf(x):
        x = np.asarray(x)
        return x.astype(x.dtype.newbyteorder())

    return jax.tree.map(leaf, tree)


def test_a_run_reads_either_byte_order():
    def run(params, xs, carry, lengths):
        options = {"carry": carry, "lengths": lengths, "resets": RESETS, "initial_carry": carry}
        return rnnjax.unroll(CELL, params, xs, **options)

    given = PARAMS, XS, CARRY, LENGTHS
    assert swapped(XS).dtype.byteorder == ">"
    jax.tree.map(np.testing.assert_array_equal, run(*swapped(given)), run(*given))
    # of the other precision too
    ys = rnnjax.unroll(CELL, PARAMS, XS.astype(">f4"))[1]
    np.testing.assert_array_equal(ys, rnnjax.unroll(CELL, PARAMS, XS.astype("f4"))[1])


def test_steps_losses_and_measures_read_either_byte_order():
    want = CELL.step(PARAMS, CARRY, XS[0])
    got = CELL.step(swapped(PARAMS), CARRY, swapped(XS[0]))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert rnnjax.num_params(swapped(PARAMS)) == rnnjax.num_params(PARAMS)

    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    losses = [
        (scenarios.cross_entropy, XS, labels),
        (scenarios.squared_error, XS, XS[::-1].copy()),
    ]
    for loss, outputs, targets in losses:
        assert loss(*swapped((outputs, targets))) == loss(outputs, targets)
    head = scenarios.one_to_one(SUM)
    np.testing.assert_array_equal(head.apply(None, swapped(XS)), XS.sum(-1))
    measured = [flow.sensitivity(CELL, PARAMS, each(XS)) for each in (np.asarray, swapped)]
    np.testing.assert_array_equal(*measured)


def test_weights_of_the_other_byte_order_are_saved(tmp_path):
    saving.save(tmp_path / "weights.safetensors", CELL, swapped(PARAMS))
    _, loaded = saving.load(tmp_path / "weights.safetensors")
    jax.tree.map(np.testing.assert_array_equal, loaded, PARAMS)


@pytest.mark.parametrize(("dtype", "to"), [(np.longdouble, "float"), (np.clongdouble, "complex")])
def test_more_than_64_bits_are_refused_by_name(dtype, to):
    if np.dtype(dtype).itemsize == np.dtype(to).itemsize:
        pytest.skip("long double is float64 here")
    wide = np.dtype(dtype).name
    calls = {
        "[4, 2, 3]": lambda: rnnjax.unroll(CELL, PARAMS, XS.astype(dtype)),
        "[2, 3]": lambda: CELL.step(PARAMS, CARRY, XS[0].astype(dtype)),
        "[3, 2]": lambda: rnnjax.unroll(
            CELL, jax.tree.map(lambda w: np.asarray(w).astype(dtype), PARAMS), XS
        ),
        "[4]": lambda: scenarios.cross_entropy(XS[:, 0], np.zeros(4, dtype)),
    }
    for shape, call in calls.items():
        with pytest.raises(TypeError) as error:
            call()
        assert f"got {wide}{shape}" in str(error.value)
        assert f"astype({to})" in str(error.value)
