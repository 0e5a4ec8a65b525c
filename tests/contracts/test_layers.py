"""Layers are unrolls: both directions, serial and stack, from the same params."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated
from cells_table import ROWS, B, T
from problems import RAGGED, Point, assert_close, cost, noisy, problem

import rnnjax
from rnnjax import autodiff, bptt, unroll


def flipped(xs, lengths):
    """Each sequence's valid part backwards, its padding where it was."""

    def flip(leaf):
        leaf, turned = np.asarray(leaf), np.array(leaf)
        for b, n in enumerate(lengths):
            turned[:n, b] = leaf[:n, b][::-1]
        return jnp.asarray(turned)

    return jax.tree.map(flip, xs)


@pytest.mark.parametrize("name", ROWS)
def test_bidirectional_is_two_unrolls(name):
    cell, params, xs, carry, _ = problem(name)
    other = jax.tree.map(lambda leaf: 0.7 * np.asarray(leaf), params)
    layer = rnnjax.bidirectional(cell, cell)
    both = evaluated(layer.apply)
    one = evaluated(
        lambda params, xs, lengths: unroll(cell, params, xs, lengths=lengths, carry=carry)
    )
    for lengths in (RAGGED, jnp.full(B, T)):
        carries, ys = both((params, other), xs, carry=(carry, carry), lengths=lengths)
        ahead, ys_ahead = one(params, xs, lengths)
        back, ys_back = one(other, flipped(xs, lengths), lengths)
        assert_close(carries, (ahead, back))
        assert_close(ys, np.concatenate([ys_ahead, flipped(ys_back, lengths)], -1))


def pairs():
    """Cells to put into a stack and into a serial."""
    cells = {
        "lstm, gru": (rnnjax.lstm(4), rnnjax.gru(3)),
        "three": (rnnjax.vanilla(3), rnnjax.residual(rnnjax.lstm_1997(3)), rnnjax.gru(2)),
        "no rule": (ROWS["users_own"].cell, rnnjax.lstm(3)),
    }
    return [pytest.param(chosen, id=name) for name, chosen in cells.items()]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cells", pairs())
def test_serial_is_stack(cells, reverse):
    stack = rnnjax.stack(*cells)
    layer = rnnjax.serial(*(rnnjax.recurrent(cell, reverse=reverse) for cell in cells))
    key = jax.random.key(5)
    drawn, same = stack.init(key, 3), layer.init(key, 3)
    assert jax.tree.structure(drawn) == jax.tree.structure(same)
    assert_close(same, drawn, 0.0)
    point = Point(noisy(1, drawn), noisy(2, np.zeros((T, B, 3))), None)
    point = point._replace(carry=noisy(3, stack.initial_carry(point.params, (B,))))

    def by_stack(point):
        return unroll(
            stack, point.params, point.xs, carry=point.carry, lengths=RAGGED, reverse=reverse
        )

    def by_serial(point):
        return layer.apply(point.params, point.xs, carry=point.carry, lengths=RAGGED)

    results = []
    for run in (by_stack, by_serial):

        def value(point, run=run):
            carry, ys = run(point)
            return cost(carry, ys), (carry, ys)

        results.append(evaluated(jax.grad(value, has_aux=True))(point))
    assert_close(results[1], results[0])


def test_serial_trains_and_stack_decodes():
    cells = (rnnjax.gru(4), rnnjax.lstm(3))
    layer, stack = rnnjax.serial(*cells), rnnjax.stack(*cells)
    params = layer.init(jax.random.key(0), 2)
    xs = noisy(1, np.zeros((6, 2, 2)), 1.0)
    carry, ys = layer.apply(params, xs)
    now, decoded = stack.initial_carry(params, (2,)), []
    for x_t in xs:
        now, y_t = stack.step(params, now, x_t)
        decoded.append(y_t)
    assert_close((now, jnp.stack(decoded)), (carry, ys))


def test_layers_nest_and_pass_options_on():
    inner = rnnjax.bidirectional(rnnjax.gru(2), rnnjax.lstm(3))
    layer = rnnjax.serial(inner, rnnjax.vanilla(4), rnnjax.recurrent(rnnjax.gru(2), reverse=True))
    params = layer.init(jax.random.key(1), 3)
    xs = noisy(2, np.zeros((T, B, 3)), 1.0)
    (first, second, third), ys = layer.apply(params, xs, lengths=RAGGED, gradient=bptt())
    both, hidden = inner.apply(params[0], xs, lengths=RAGGED)
    middle, hidden = unroll(rnnjax.vanilla(4), params[1], hidden, lengths=RAGGED)
    last, want = unroll(rnnjax.gru(2), params[2], hidden, lengths=RAGGED, reverse=True)
    assert_close((first, second, third, ys), (both, middle, last, want), 1e-13)
    by_autodiff = layer.apply(params, xs, lengths=RAGGED, gradient=autodiff())[1]
    assert_close(ys, by_autodiff, 1e-13)


def test_keys_of_layers_are_those_of_the_stack():
    cells = [rnnjax.input_dropout(rnnjax.lstm(3), 0.5), rnnjax.zoneout(rnnjax.gru(2), h=0.5)]
    layer, stack = rnnjax.serial(*cells), rnnjax.stack(*cells)
    params = layer.init(jax.random.key(0), 2)
    xs, key = jnp.ones((T, B, 2)), jax.random.key(4)
    assert_close(layer.apply(params, xs, key=key)[1], unroll(stack, params, xs, key=key)[1])


def own_cell_of_numbers_and_an_index():
    return rnnjax.Cell(
        lambda key, inputs: {
            "rows": jax.random.normal(key, (3, 2)),
            "w": jnp.ones((inputs["seen"], 2)),
        },
        lambda params, batch_shape: jnp.zeros((*batch_shape, 2)),
        lambda params, h, x: (h + params["rows"][x["action"]] + x["seen"] @ params["w"],) * 2,
        None,
        rnnjax.Structure(feature_axes={"seen": 1, "action": 0}),
    )


@pytest.mark.parametrize(
    ("cells", "inputs"),
    [
        ((rnnjax.conv_lstm(2, (4, 4)),) * 2, (4, 4, 1)),
        ((rnnjax.ctrnn(2), rnnjax.lstm(2)), (3, ())),
        ((own_cell_of_numbers_and_an_index(), rnnjax.gru(2)), {"seen": 3, "action": ()}),
    ],
    ids=["images", "a pair", "an index"],
)
def test_serial_begins_with_the_params_of_the_stack_for_all_inputs(cells, inputs):
    made = [
        model(*cells).init(jax.random.key(0), inputs) for model in (rnnjax.serial, rnnjax.stack)
    ]
    assert_close(made[0], made[1], 0.0)
    assert len(made[0]) == 2
