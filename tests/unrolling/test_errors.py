"""Every error that a user can meet says what came and what to do."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, sequential, unroll
from rnnjax.cells import LSTMCarry

T, B, D, H = 4, 2, 3, 5
CELL = rnnjax.lstm(H)
PARAMS = CELL.init(jax.random.key(0), D)
XS = jnp.ones((T, B, D))
KEY = jax.random.key(1)


@dataclass(frozen=True)
class ForwardOnly:
    """A user's method that serves autodiff alone."""

    name: str = "forward_only"

    def refusal(self, cell, base, params, sequence):
        return None if base == autodiff() else "it is differentiated by autodiff() alone"

    def bind(self, cell, base, reverse):
        return sequential().bind(cell, base, reverse)


def carry_of(h=(B, H), dtype=jnp.float64):
    return LSTMCarry(jnp.zeros(h, dtype), jnp.zeros((B, H)))


@pytest.mark.parametrize(
    ("xs", "error", "message"),
    [
        (jnp.ones((T, B, D + 1)), ValueError, r"\[\.\.\., 3\].*cell\.init\(key, input_size\)"),
        (jnp.ones((T, B, D), int), TypeError, r"int64.*Embed"),
        (jnp.ones((T, B, D), bool), TypeError, r"bool.*astype\(float\)"),
        (jnp.ones((T, B, D), complex), TypeError, r"complex128.*floating"),
        (jnp.ones(T), ValueError, r"time first.*xs\[:, None\]"),
        (jnp.ones(()), ValueError, "time first"),
        ((), ValueError, "no arrays"),
        ((jnp.ones((T, B, D)), jnp.ones((T + 1, B, D))), ValueError, "differ in their leading"),
        ((jnp.ones((T, B, D)), jnp.ones((T, B + 1, D))), ValueError, "differ in their leading"),
    ],
)
def test_inputs(xs, error, message):
    with pytest.raises(error, match=message):
        unroll(CELL, PARAMS, xs)


def test_lists_are_arrays():
    flags = [[False, True]] + [[False, False]] * (T - 1)
    want = unroll(CELL, PARAMS, XS, lengths=np.array([4, 2]), resets=np.array(flags))
    got = unroll(CELL, PARAMS, XS, lengths=[4, 2], resets=flags)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("key", [0, "key", np.zeros(2), jnp.zeros(3, jnp.uint32)])
def test_what_is_no_key(key):
    with pytest.raises(TypeError, match=r"key must be a PRNG key such as jax\.random\.key\(0\)"):
        unroll(CELL, PARAMS, XS, key=key)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        (jnp.array([4.0, 2.0]), TypeError, "float64.*expected integers"),
        (jnp.array([True, False]), TypeError, "expected integers"),
        (jnp.array([4, 2, 1]), ValueError, r"\(3,\).*batch shape of xs is \(2,\)"),
        (jnp.array(4), ValueError, "one length for each"),
        (jnp.array([5, 2]), ValueError, r"0\.\.4 .*from 2 to 5"),
        (jnp.array([4, -1]), ValueError, r"0\.\.4 .*from -1 to 4"),
    ],
)
def test_lengths(lengths, error, message):
    with pytest.raises(error, match=message):
        unroll(CELL, PARAMS, XS, lengths=lengths)


@pytest.mark.parametrize(
    ("resets", "error", "message"),
    [
        (jnp.zeros((T, B), int), TypeError, "expected booleans"),
        (jnp.zeros((T, B)), TypeError, "float64.*expected booleans"),
        (jnp.zeros((B, T), bool), ValueError, r"\(2, 4\).*expected \(4, 2\)"),
        (jnp.zeros(T, bool), ValueError, r"leading axes of xs"),
    ],
)
def test_resets(resets, error, message):
    with pytest.raises(error, match=message):
        unroll(CELL, PARAMS, XS, resets=resets)


@pytest.mark.parametrize(
    ("carry", "message"),
    [
        (carry_of((B + 1, H)), r"carry\.h is float64\[3, 5\], expected float64\[2, 5\]"),
        (carry_of((H,)), r"carry\.h is float64\[5\]"),
        (carry_of(dtype=jnp.float32), r"float32\[2, 5\], expected float64"),
        (tuple(carry_of()), "structure"),
        (jnp.zeros((B, H)), "structure"),
    ],
)
def test_carry(carry, message):
    with pytest.raises(ValueError, match=message):
        unroll(CELL, PARAMS, XS, carry=carry)


@pytest.mark.parametrize("first", [(B, T), (T, B)])
def test_batch_first_is_said(first):
    xs = jnp.ones((*first, D))
    with pytest.raises(ValueError, match=r"One of them is batch first: both are \[T, B"):
        unroll(CELL, PARAMS, xs, resets=jnp.zeros(first[::-1], bool))


def test_layers_are_called_as_they_were_made():
    layers = rnnjax.recurrent(CELL), rnnjax.serial(CELL), rnnjax.bidirectional(CELL, CELL)
    for layer in layers:
        params = layer.init(KEY, D)
        with pytest.raises(TypeError, match=r"reverse is part of a layer, as in rnnjax\.recurrent"):
            layer.apply(params, XS, reverse=True)
    pair = rnnjax.lstm(H).initial_carry(rnnjax.lstm(H).init(KEY, D), (B,))
    with pytest.raises(TypeError, match=r"carry must be a tuple with one entry.*LSTMCarry"):
        layers[-1].apply(params, XS, carry=pair)


def test_carry_or_key():
    with pytest.raises(ValueError, match=r"not both.*initial_carry\(params, batch_shape, key\)"):
        unroll(CELL, PARAMS, XS, carry=carry_of(), key=KEY)


def test_resets_do_not_go_with_a_carry_that_holds_randomness():
    cell = rnnjax.zoneout(CELL, h=0.1)
    carry = cell.initial_carry(PARAMS, (B,), KEY)
    with pytest.raises(ValueError, match="pass key= too"):
        unroll(cell, PARAMS, XS, carry=carry, resets=jnp.zeros((T, B), bool))
    with pytest.raises(ValueError, match="structure"):
        unroll(cell, PARAMS, XS, carry=carry.cell)


def test_a_users_cell_without_keys_still_says_what_is_wrong_with_a_carry():
    bare = CELL._replace(initial_carry=lambda params, batch: carry_of((*batch, H)))
    with pytest.raises(ValueError, match="structure"):
        unroll(bare, PARAMS, XS, carry=(1.0, 2.0))


def test_gradient_and_method_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"forward_only\(\) cannot run this: .*autodiff\(\) alone"):
        unroll(CELL, PARAMS, XS, method=ForwardOnly(), gradient=bptt())
    got = unroll(CELL, PARAMS, XS, method=ForwardOnly(), gradient=autodiff())[1]
    np.testing.assert_allclose(got, unroll(CELL, PARAMS, XS)[1], rtol=1e-13)


def test_bptt_without_a_rule():
    cell = CELL._replace(rule=None)
    with pytest.raises(ValueError, match=r"rule=None.*autodiff\(\).*gradients\.check"):
        unroll(cell, PARAMS, XS, gradient=bptt())
    unroll(cell, PARAMS, XS)


@pytest.mark.parametrize("unrolled", [0, -1])
def test_sequential_unroll(unrolled):
    with pytest.raises(ValueError, match="unroll must be at least 1"):
        sequential(unroll=unrolled)


FACTORIES = [
    rnnjax.vanilla,
    rnnjax.irnn,
    rnnjax.identity_rnn,
    rnnjax.lstm,
    rnnjax.lstm_1997,
    rnnjax.gru,
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_sizes(factory):
    for wrong, error in ((0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="hidden must be"):
            factory(wrong)
        with pytest.raises(error, match="input_size must be"):
            factory(H).init(KEY, wrong)
    factory(np.int32(3)).init(KEY, np.int64(2))
    with pytest.raises(TypeError, match="floating point"):
        factory(H, dtype=jnp.int32).init(KEY, 2)


def test_choices_name_the_nearest():
    with pytest.raises(ValueError, match=r"'tanh', 'relu'.*did you mean 'sigmoid'\?"):
        rnnjax.vanilla(H, "sigmoidal")
    with pytest.raises(ValueError, match=r"'before', 'after', got 'afer'; did you mean 'after'\?"):
        rnnjax.gru(H, reset="afer")
    with pytest.raises(ValueError, match=r"got 'xyz'$"):
        rnnjax.vanilla(H, "xyz")


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rates(rate):
    for make in (rnnjax.input_dropout, rnnjax.recurrent_dropout):
        with pytest.raises(
            ValueError, match=r"rate (is a probability in \[0, 1\)|must be a real number)"
        ):
            make(CELL, rate)
    with pytest.raises(ValueError, match=r"c (is a probability in \[0, 1\)|must be a real number)"):
        rnnjax.zoneout(CELL, c=rate)


def test_zoneout_fields():
    with pytest.raises(ValueError, match=r"zoneout\(lstm\(8\), h=0\.1\)"):
        rnnjax.zoneout(CELL)
    cell = rnnjax.zoneout(rnnjax.gru(H), c=0.1)
    with pytest.raises(
        ValueError, match=r"rates for c, but the fields of the carry, a GRUCarry, are h"
    ):
        unroll(cell, cell.init(KEY, D), XS)
    with pytest.raises(ValueError, match=r"inside stack\(\).*apply zoneout to the single cells"):
        rnnjax.zoneout(rnnjax.stack(CELL), h=0.1)


@pytest.mark.parametrize(
    "cell", [rnnjax.gru(H), rnnjax.identity_rnn(H), rnnjax.stack(CELL)], ids=["gru", "id", "stack"]
)
def test_recurrent_dropout_needs_an_h_read_through_the_weights(cell):
    with pytest.raises(ValueError, match="use zoneout or input_dropout"):
        unroll(rnnjax.recurrent_dropout(cell, 0.1), cell.init(KEY, D), XS)


def test_residual_needs_equal_sizes():
    cell = rnnjax.residual(CELL)
    for gradient in (autodiff(), bptt()):
        with pytest.raises(ValueError, match=r"as many hidden units.*\(3\)"):
            jax.grad(lambda p, how=gradient: unroll(cell, p, XS, gradient=how)[1].sum())(PARAMS)


def test_layers():
    for make in (rnnjax.stack, rnnjax.serial):
        with pytest.raises(ValueError, match="needs at least one"):
            make()
    layer = rnnjax.serial(CELL, rnnjax.gru(2))
    params = layer.init(KEY, D)
    with pytest.raises(ValueError, match="params has 1 entries, expected 2: one a layer"):
        layer.apply(params[:1], XS)
    with pytest.raises(ValueError, match="carry has 3 entries, expected 2: one a layer"):
        layer.apply(params, XS, carry=(None,) * 3)
    both = rnnjax.bidirectional(CELL, CELL)
    with pytest.raises(ValueError, match=r"cell\.init\(key, input_size\)"):
        both.apply(both.init(KEY, D + 1), XS)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        both.apply(both.init(KEY, D), XS, lengths=jnp.array([1, 9]))


def test_step_alone_checks_features_too():
    carry = CELL.initial_carry(PARAMS, ())
    with pytest.raises(ValueError, match=r"\[\.\.\., 3\]"):
        CELL.step(PARAMS, carry, jnp.ones(D + 2))


def test_traced_lengths_are_taken_on_trust():
    jitted = jax.jit(lambda lengths: unroll(CELL, PARAMS, XS, lengths=lengths)[0].h)
    np.testing.assert_array_equal(jitted(jnp.array([T, T])), jitted(jnp.array([T + 3, T])))
    with pytest.raises(TypeError, match="expected integers"):
        jitted(jnp.array([4.0, 2.0]))
