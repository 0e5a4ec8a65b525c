"""The parts of the error of an LSTM and a GRU: their sum, closed forms, and paths cut by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated
from flow_problems import drawn, normal

import rnnjax
from rnnjax.flow import gates, paths, record

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 6, 2, 2, 3
CELLS = {
    "lstm": rnnjax.lstm(H),
    "gru": rnnjax.gru(H),
    "gru, reset before": rnnjax.gru(H, reset="before"),
}


def cost(carry, ys):
    return jnp.sum(carry.h**3) + jnp.sum(jnp.sin(ys))


@pytest.mark.parametrize("options", ["none", "last", "lengths and resets"])
@pytest.mark.parametrize("name", CELLS)
def test_the_parts_sum_to_the_whole(name, options):
    cell = CELLS[name]
    params, xs = drawn(cell, D), normal(1, T, B, D)
    given = {"last": options == "last"}
    if options == "lengths and resets":
        given = {"lengths": jnp.array([4, 6]), "resets": jnp.zeros((T, B), bool).at[2, 1].set(True)}
    found = paths(cell, params, xs, cost, **given)
    want = record(cell, params, xs, cost, **given).carry_ct
    for k, leaf in enumerate(want):
        parts = [part.carry_ct[k] for part in found.parts.values()]
        np.testing.assert_allclose(sum(parts), leaf, rtol=1e-12, atol=1e-15)
        assert all(np.any(part) for part in parts[1:])  # none is vacuous
    if options == "lengths and resets":
        assert not any(np.any(part.carry_ct.h[4:, 0]) for part in found.parts.values())
        # Before a reset nothing but the costs of the outputs until there.
        early = paths(cell, params, xs[:2, 1], lambda carry, ys: jnp.sum(jnp.sin(ys)))
        for mine, alone in zip(found.parts.values(), early.parts.values(), strict=True):
            np.testing.assert_allclose(mine.carry_ct.h[:2, 1], alone.carry_ct.h, atol=1e-15)


def test_the_carousel_is_the_product_of_forget_gates():
    cell = CELLS["lstm"]
    params, xs = drawn(cell, D), normal(1, T, D)
    found = paths(cell, params, xs, lambda carry, ys: carry.c.sum())
    carry, f = cell.initial_carry(params, ()), []
    for x_t in xs:
        z = x_t @ params.w_x + carry.h @ params.w_h + params.b
        f.append(jax.nn.sigmoid(z[H : 2 * H]))
        carry = cell.step(params, carry, x_t)[0]
    want = [np.prod(np.asarray(f)[t:], axis=0) for t in range(1, T + 1)]
    np.testing.assert_allclose(found.parts["carousel"].carry_ct.c, want, rtol=1e-12)
    assert not np.any(found.parts["carousel"].carry_ct.h)


def masked_lstm(params, carry, x_t):
    """An LSTM whose gates read h, or a constant where the mask over i, f, g, o is zero."""
    x, open_ = x_t
    held = jax.lax.stop_gradient(carry.h)
    pre = []
    for k in range(4):
        h = jnp.where(open_[k], carry.h, held)
        block = slice(k * H, (k + 1) * H)
        pre.append(x @ params.w_x[:, block] + h @ params.w_h[:, block] + params.b[block])
    c = jax.nn.sigmoid(pre[1]) * carry.c + jax.nn.sigmoid(pre[0]) * jnp.tanh(pre[2])
    h = jax.nn.sigmoid(pre[3]) * jnp.tanh(c)
    return rnnjax.LSTMCarry(h, c), h


def test_a_part_is_what_leaves_by_its_gate_first():
    """Against runs in which all other gates are cut until the step at which the error leaves."""
    cell = CELLS["lstm"]
    params, xs = drawn(cell, D), normal(1, 4, D)
    found = paths(cell, params, xs, lambda carry, ys: jnp.sum(jnp.sin(ys)))

    @evaluated
    def by_c1(masks):
        def outputs(c):
            carry = cell.step(params, cell.initial_carry(params, ()), xs[0])[0]._replace(c=c)
            h = jax.nn.sigmoid((xs[0] @ params.w_x + params.b)[3 * H :]) * jnp.tanh(c)
            carry, total = rnnjax.LSTMCarry(h, c), jnp.sum(jnp.sin(h))
            for x_t, mask in zip(xs[1:], masks, strict=True):
                carry, y_t = masked_lstm(params, carry, (x_t, mask))
                total += jnp.sum(jnp.sin(y_t))
            return total

        z = xs[0] @ params.w_x + params.b
        c = jax.nn.sigmoid(z[:H]) * jnp.tanh(z[2 * H : 3 * H])
        return jax.grad(outputs)(c)

    none, every = np.zeros(4, bool), np.ones(4, bool)
    np.testing.assert_allclose(
        found.parts["carousel"].carry_ct.c[0], by_c1(np.array([none] * 3)), rtol=1e-12
    )
    for k, gate in enumerate("ifgo"):
        alone = none.copy()
        alone[k] = True
        want = sum(
            by_c1(np.array([none] * s + [alone] + [every] * (2 - s)))
            - by_c1(np.array([none] * s + [none] + [every] * (2 - s)))
            for s in range(3)
        )
        np.testing.assert_allclose(found.parts[gate].carry_ct.c[0], want, rtol=1e-10, atol=1e-15)


def test_other_cells_are_refused():
    cell = rnnjax.vanilla(2)
    with pytest.raises(ValueError, match=r"paths knows the gates of rnnjax.lstm and rnnjax.gru"):
        paths(cell, drawn(cell, 1), jnp.ones((3, 1)), cost)


@pytest.mark.parametrize("name", CELLS)
def test_parts_keep_their_order_in_programs_and_without_x64(name):
    cell = CELLS[name]
    params, xs = drawn(cell, D), normal(1, 2, D)
    found = paths(cell, params, xs, cost)
    assert [*found.parts] == [*gates(cell)]
    moved = jax.tree.map(lambda leaf: leaf + 1, found)
    assert ([*moved.parts], moved.memory) == ([*gates(cell)], found.memory)
    for gate, part in found.parts.items():
        np.testing.assert_allclose(moved.parts[gate].carry_ct.h, part.carry_ct.h + 1)
    with jax.enable_x64(False):
        assert [*paths(cell, params, xs, cost).parts] == [*gates(cell)]
