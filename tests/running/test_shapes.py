"""Which axes are time and batch: pytrees, integers, several feature axes, and carries that fit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import Cell, Structure, unroll
from rnnjax.running import leading_shape

T, B = 4, 3
RNG = np.random.default_rng(0)


def adder(read, size=2, structure=Structure()):  # noqa: B008
    """h_t = h_{t-1} + read(x_t), with h [..., size]."""

    def step(params, h, x_t):
        h = h + params * read(x_t)
        return h, h

    return Cell(
        lambda key, inputs: jnp.ones(()),
        lambda params, batch, key=None: jnp.zeros((*batch, size)),
        step,
        structure=structure,
    )


def observed(x):
    return x["obs"][..., :2] + x["action"][..., None]


def test_leaves_of_different_rank_and_integers():
    xs = {
        "obs": jnp.asarray(RNG.standard_normal((T, B, 2))),
        "action": jnp.asarray(RNG.integers(0, 5, (T, B))),
    }
    cell = adder(observed)
    lengths = jnp.array([4, 2, 0])
    carry, ys = unroll(cell, jnp.ones(()), xs, lengths=lengths)
    for b, n in enumerate(lengths):
        want = np.cumsum(np.asarray(observed(xs))[:n, b], axis=0)
        np.testing.assert_allclose(ys[:n, b], want, rtol=1e-14)
        assert not np.any(ys[n:, b])
        np.testing.assert_allclose(carry[b], want[-1] if n else 0, rtol=1e-14)


def test_float_leaves_of_different_rank():
    xs = (jnp.ones((T, B, 2)), jnp.full((T, B), 0.5))
    cell = adder(lambda x: x[0] * x[1][..., None])
    assert leading_shape(cell, jnp.ones(()), xs) == (T, (B,))
    np.testing.assert_allclose(unroll(cell, jnp.ones(()), xs)[0], T * 0.5)


def test_a_picture_beside_a_vector_of_the_same_size():
    """[T, B, 5] and [T, B, 5, 5] share three axes, of which the step says that two are leading."""
    xs = (jnp.ones((T, B, 5)), jnp.ones((T, B, 5, 5)))
    cell = adder(lambda x: x[0] + jnp.sum(x[1], axis=-1), size=5)
    assert leading_shape(cell, jnp.ones(()), xs) == (T, (B,))
    np.testing.assert_allclose(unroll(cell, jnp.ones(()), xs)[0], np.full((B, 5), 6.0 * T))


def test_tokens_that_a_cell_embeds_itself():
    table = jnp.asarray(RNG.standard_normal((7, 2)))
    cell = adder(lambda ids: table[ids])
    ids = jnp.asarray(RNG.integers(0, 7, (T, B)))
    ys = unroll(cell, jnp.ones(()), ids)[1]
    np.testing.assert_allclose(
        ys, np.cumsum(np.asarray(table)[np.asarray(ids)], axis=0), rtol=1e-14
    )
    embedded = rnnjax.wrap(
        rnnjax.lstm(3), lambda step: lambda params, carry, x: step(params, carry, table[x])
    )
    params = rnnjax.lstm(3).init(jax.random.key(0), 2)
    want = unroll(rnnjax.lstm(3), params, table[ids])[1]
    np.testing.assert_allclose(unroll(embedded, params, ids)[1], want, rtol=1e-12)


class Timed(NamedTuple):
    value: jax.Array
    gap: jax.Array


def test_declared_axes_for_every_leaf():
    structure = Structure(feature_axes=Timed(1, 0))
    cell = adder(lambda x: x.value * x.gap[..., None], structure=structure)
    for batch in ((), (B,), (2, B)):
        xs = Timed(jnp.ones((T, *batch, 2)), jnp.ones((T, *batch)))
        assert leading_shape(cell, jnp.ones(()), xs) == (T, batch)
        assert unroll(cell, jnp.ones(()), xs)[1].shape == (T, *batch, 2)
    with pytest.raises(ValueError, match="differ in their leading"):
        unroll(cell, jnp.ones(()), Timed(jnp.ones((T, B, 2)), jnp.ones((T, 2))))
    with pytest.raises(ValueError, match="structure"):
        unroll(cell, jnp.ones(()), jnp.ones((T, B, 2)))


def test_axes_in_a_dict():
    parts = adder(lambda x: x["image"] * x["action"][..., None])[:3]

    def made(image=1):
        return Cell(*parts, structure=Structure(feature_axes={"image": image, "action": 0}))

    assert hash(made()) == hash(made())
    assert made() == made()
    assert made() != made(2)
    xs = {"image": jnp.ones((T, B, 2)), "action": jnp.full((T, B), 3)}
    want = np.cumsum(np.full((T, B, 2), 3.0), axis=0)
    for gradient in (None, rnnjax.checkpointed(2), rnnjax.online.rtrl()):
        np.testing.assert_array_equal(unroll(made(), jnp.ones(()), xs, gradient=gradient)[1], want)
    x_t = jax.tree.map(lambda x: x[0], xs)
    learn = rnnjax.online.learner(made(), rnnjax.online.rtrl())
    state = learn.init(jnp.ones(()), x_t)
    np.testing.assert_array_equal(learn.step(jnp.ones(()), state, x_t)[1], want[0])
    reset = jnp.zeros(B, bool)
    y_t = rnnjax.step_with_reset(made(), jnp.ones(()), state.carry, x_t, reset)[1]
    np.testing.assert_array_equal(y_t, want[0])


@pytest.mark.parametrize("batch", [(), (B,), (2, B)])
def test_pictures(batch):
    cell = adder(lambda x: x, structure=Structure(feature_axes=3))
    xs = jnp.asarray(RNG.standard_normal((T, *batch, 4, 5, 2)))

    def initial_carry(params, shape, key=None):
        return jnp.zeros((*shape, 4, 5, 2))

    cell = Cell(cell.init, initial_carry, cell.step, structure=cell.structure)
    lengths = jnp.full(batch, 2)
    carry, ys = unroll(cell, jnp.ones(()), xs, lengths=lengths)
    np.testing.assert_allclose(carry, np.sum(xs[:2], axis=0), rtol=1e-13)
    assert not np.any(ys[2:])
    with pytest.raises(ValueError, match=r"\[T, \.\.\., D1, D2, D3\]"):
        unroll(cell, jnp.ones(()), xs[0, ..., 0, 0, 0])


def test_a_step_that_no_axes_fit_is_refused():
    cell = adder(observed)
    cell = cell._replace(step=lambda params, h, x: (jnp.concatenate([h, h], axis=-1), h))
    xs = {"obs": jnp.ones((T, B, 2)), "action": jnp.zeros((T, B), int)}
    with pytest.raises(ValueError, match=r"feature_axes"):
        unroll(cell, jnp.ones(()), xs)


def test_a_carry_without_the_batch_shape_is_refused():
    cell = adder(lambda x: x)
    clock = Cell(
        cell.init,
        lambda params, batch, key=None: {"h": jnp.zeros((*batch, 2)), "t": jnp.zeros((), int)},
        lambda params, carry, x: ({"h": carry["h"] + x, "t": carry["t"] + 1}, carry["h"]),
    )
    with pytest.raises(ValueError, match=r"\['t'\] has shape \(\).*begins with the batch shape"):
        unroll(clock, jnp.ones(()), jnp.ones((T, B, 2)))


def test_a_cell_without_params_keeps_the_dtype_of_its_inputs():
    def step(params, h, x):
        return h + x, h

    cell = Cell(lambda *_: (), lambda p, batch, key=None: jnp.zeros((*batch, 2), "float32"), step)
    assert unroll(cell, (), jnp.ones((T, B, 2), "float32"))[1].dtype == jnp.float32


def test_complex_params_read_real_and_complex_inputs_in_their_precision():
    def step(params, h, x):
        h = params[None] * h + x
        return h, h

    cell = Cell(
        lambda *_: jnp.full((2,), 0.5 + 0.1j, "complex64"),
        lambda p, batch, key=None: jnp.zeros((*batch, 2), p.dtype),
        step,
    )
    params = cell.init()
    for dtype in (jnp.float64, jnp.complex128):
        ys = unroll(cell, params, jnp.ones((T, B, 2), dtype))[1]
        assert ys.dtype == jnp.complex64
        np.testing.assert_allclose(ys[1], 1.5 + 0.1j, rtol=1e-6)


def test_the_hint_of_a_scalar_series_is_for_one_axis_alone():
    cell = rnnjax.conv_lstm(2, (3, 3))
    with pytest.raises(ValueError, match=r"\[T, ..., D1, D2, D3\], time first and features last$"):
        unroll(cell, cell.init(jax.random.key(0), (3, 3, 1)), jnp.ones((T, 3, 3)))
    with pytest.raises(ValueError, match=r"A scalar series needs xs\[:, None\]"):
        unroll(rnnjax.lstm(2), rnnjax.lstm(2).init(jax.random.key(0), 1), jnp.ones(T))
