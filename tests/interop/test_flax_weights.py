"""Flax's cells, nnx and linen: outputs, gradients and last carries, in and out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from op_by_op import op_by_op
from random_weights import assert_same_arrays, loop, randomised, xs

import rnnjax
from rnnjax.interop import from_linen, from_nnx, to_linen, to_nnx

F64 = {"dtype": jnp.float64, "param_dtype": jnp.float64}
ZEROS = jax.nn.initializers.zeros  # drawn anew below, and compiled in no time
UNDRAWN = {**F64, "kernel_init": ZEROS, "recurrent_kernel_init": ZEROS}
NNX = {
    "lstm": lambda d, h: nnx.LSTMCell(d, h, rngs=nnx.Rngs(0), **UNDRAWN),
    "optimized": lambda d, h: nnx.OptimizedLSTMCell(d, h, rngs=nnx.Rngs(0), **UNDRAWN),
    "gru": lambda d, h: nnx.GRUCell(d, h, rngs=nnx.Rngs(0), **UNDRAWN),
    "simple": lambda d, h: nnx.SimpleCell(d, h, rngs=nnx.Rngs(0), **UNDRAWN),
    "relu": lambda d, h: nnx.SimpleCell(d, h, activation_fn=nnx.relu, rngs=nnx.Rngs(0), **UNDRAWN),
}
LINEN = {
    "lstm": nn.LSTMCell(4, **F64),
    "optimized": nn.OptimizedLSTMCell(4, **F64),
    "gru": nn.GRUCell(4, **F64),
    "mgu": nn.MGUCell(4, **F64),
    "mgu_no_reset": nn.MGUCell(4, reset_gate=False, **F64),
    "simple": nn.SimpleCell(4, **F64),
    "sigmoid": nn.SimpleCell(4, activation_fn=nn.sigmoid, **F64),
}


def carry_of(peer):
    """Flax's (c, h) or h as a carry's leaves in rnnjax's order."""
    return peer[::-1] if isinstance(peer, tuple) else (peer,)


def assert_same(peer_step, peer_params, peer_carry, cell, params, read):
    """One cost of outputs and last carry: its value and its gradients by every weight and h0."""
    inputs = xs(2, 2, 3)

    def peer_cost(weights, carry):
        carry, ys = loop(lambda c, x: peer_step(weights, c, x), carry, inputs)
        return cost(ys, carry_of(carry))

    def own_cost(params, carry):
        carry, ys = loop(lambda c, x: cell.step(params, c, x), carry, inputs)
        return cost(ys, carry)

    carry = type(cell.initial_carry(params, (2,)))(*carry_of(peer_carry))
    want, (weights_ct, want_carry_ct) = jax.value_and_grad(peer_cost, (0, 1))(
        peer_params, peer_carry
    )
    got, (params_ct, carry_ct) = jax.value_and_grad(own_cost, (0, 1))(params, carry)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert_same_arrays(carry_ct, carry_of(want_carry_ct))
    want_ct = read(weights_ct)
    if isinstance(peer_params, nnx.State) and hasattr(params_ct, "b_hn"):  # nnx has none
        params_ct, want_ct = params_ct._replace(b_hn=None), want_ct._replace(b_hn=None)
    assert_same_arrays(params_ct, want_ct)


def cost(ys, carry):
    leaves = [ys, *jax.tree.leaves(carry)]
    return sum(
        jnp.sum(jnp.cos(jnp.arange(v.size) + k).reshape(v.shape) * v) for k, v in enumerate(leaves)
    )


@pytest.mark.parametrize("name", NNX)
def test_nnx_cells(name):
    module = NNX[name](3, 4)
    graph, state = nnx.split(module)
    state = randomised(state)
    nnx.update(module, state)
    carry = (
        tuple(xs(2, 4, seed=s) for s in (1, 2))
        if "lstm" in name or name == "optimized"
        else xs(2, 4)
    )

    def step(state, carry, x):
        return nnx.merge(graph, state)(carry, x)

    cell, params = from_nnx(module)

    def read(state):
        return from_nnx(nnx.merge(graph, state))[1]

    with op_by_op():  # nnx makes its modules without
        assert_same(step, state, carry, cell, params, read)
    back = to_nnx(cell, params)
    again, same = from_nnx(back)
    assert again is cell
    jax.tree.map(np.testing.assert_array_equal, same, params)
    np.testing.assert_allclose(back(carry, xs(2, 3))[1], module(carry, xs(2, 3))[1], rtol=1e-12)


@pytest.mark.parametrize("name", LINEN)
@pytest.mark.usefixtures("eager")
def test_linen_cells(name):
    module = LINEN[name]
    carry = (
        tuple(xs(2, 4, seed=s) for s in (1, 2))
        if "lstm" in name or name == "optimized"
        else xs(2, 4)
    )
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), carry, xs(2, 3)))
    cell, params = from_linen(module, variables)
    assert_same(module.apply, variables, carry, cell, params, lambda v: from_linen(module, v)[1])
    back, written = to_linen(cell, params)
    again, same = from_linen(back, written)
    assert again is cell
    jax.tree.map(np.testing.assert_array_equal, same, params)
    want = module.apply(variables, carry, xs(2, 3))[1]
    np.testing.assert_allclose(back.apply(written, carry, xs(2, 3))[1], want, rtol=1e-12)


def test_linen_images():
    module = nn.ConvLSTMCell(2, (3, 2), **F64)
    carry = (xs(2, 3, 4, 2, seed=1), xs(2, 3, 4, 2, seed=2))
    x = xs(2, 3, 4, 3)
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), carry, x))
    cell, params = from_linen(module, variables, size=(3, 4))
    want = module.apply(variables, carry, x)[1]
    got = cell.step(params, rnnjax.ConvLSTMCarry(*carry[::-1]), x)[1]
    np.testing.assert_allclose(got, want, rtol=1e-12)
    with pytest.raises(ValueError, match=r"pass size=\(height, width\), got size=None"):
        from_linen(module, variables)


def deep():
    both = rnnjax.bidirectional(rnnjax.lstm(4), rnnjax.lstm(4))
    backwards = rnnjax.recurrent(rnnjax.vanilla(3), reverse=True)
    layer = rnnjax.serial(both, rnnjax.gru(2), backwards)
    params = randomised(jax.eval_shape(lambda key: layer.init(key, 3), jax.random.key(0)))
    return layer, (params[0], params[1]._replace(b_hn=jnp.zeros(2)), params[2])


@pytest.mark.parametrize("name", ["nnx", "linen"])
def test_layers_and_directions(name):
    layer, params = deep()
    inputs = xs(2, 3, 3)  # batch first, as Flax reads
    if name == "nnx":
        model = to_nnx(layer, params)
        again, same = from_nnx(model)
    else:
        module, variables = to_linen(layer, params)
        again, same = from_linen(module, variables)
    assert repr(again).startswith("serial(bidirectional(lstm(4, dtype='float64'), lstm(4, ")
    jax.tree.map(np.testing.assert_array_equal, same, params)

    def own(inputs):
        return layer.apply(params, inputs.swapaxes(0, 1))[1].swapaxes(0, 1)

    def sines(ys):
        return jnp.sum(jnp.sin(ys)), ys

    if name == "nnx":
        pytest.importorskip("equinox")  # where the other frameworks are: nnx's loops take long
        run = nnx.grad(lambda net, x: sines(net(x, rngs=nnx.Rngs(0))), argnums=1, has_aux=True)
        got = run(model, inputs)
    with op_by_op():
        want = jax.grad(lambda x: sines(own(x)), has_aux=True)(inputs)
        if name == "linen":
            got = jax.grad(lambda x: sines(module.apply(variables, x)), has_aux=True)(inputs)
    for a, b in zip(got, want, strict=True):
        assert np.any(np.asarray(b))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_half_precision_stays():
    cell = rnnjax.lstm(4, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(lambda key: cell.init(key, 3), jax.random.key(0))
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), randomised(shapes))
    for again, same in (from_nnx(to_nnx(cell, params)), from_linen(*to_linen(cell, params))):
        assert again is cell
        jax.tree.map(np.testing.assert_array_equal, same, params)


def test_directions_that_flax_does_not_concatenate_or_turn():
    def rnn(**options):
        return nn.RNN(nn.GRUCell(2), **options)

    params = to_linen(*bidirectional())[1]
    for module, message in (
        (nn.Bidirectional(rnn(), rnn(), merge_fn=lambda a, b: a + b), "merge_fn is the function"),
        (rnn(reverse=True), "keep_order=False returns its outputs backwards"),
    ):
        with pytest.raises(ValueError, match=message):
            from_linen(module, params if "merge" in message else params["params"]["forward_rnn"])


@pytest.mark.parametrize("options", [{"reverse": True}, {"reverse": True, "keep_order": True}])
def test_a_bidirectional_says_itself_which_of_its_parts_runs_backwards(options):
    """Flax passes reverse and keep_order to both, over what they say of themselves."""
    layer, params = bidirectional()
    variables = to_linen(layer, params)[1]
    inputs = xs(2, 3, 3)
    for forward in ({}, options):
        rnns = [nn.RNN(nn.GRUCell(2), **each) for each in (forward, options)]
        module = nn.Bidirectional(*rnns)
        again, same = from_linen(module, variables)
        assert repr(again).count("gru(2, dtype='float64')") == 2
        jax.tree.map(np.testing.assert_array_equal, same, params)
        with op_by_op():
            want = layer.apply(params, inputs.swapaxes(0, 1))[1].swapaxes(0, 1)
            np.testing.assert_allclose(module.apply(variables, inputs), want, rtol=1e-12)
    plain = tuple(p._replace(b_hn=jnp.zeros(2)) for p in params)
    module = to_nnx(layer, plain)
    module.backward_rnn.reverse, module.backward_rnn.keep_order = True, "keep_order" in options
    jax.tree.map(np.testing.assert_array_equal, from_nnx(module)[1], plain)
    with pytest.raises(TypeError, match="a Bidirectional of two RNNs is expected, got"):
        from_nnx(nnx.Bidirectional(module, module.forward_rnn))


class TwiceInNNX(nnx.GRUCell):
    def __call__(self, carry, x):
        return super().__call__(2 * carry, x)


class TwiceInLinen(nn.SimpleCell):
    @nn.compact
    def __call__(self, carry, x):
        return super().__call__(2 * carry, x)


class NamedInNNX(nnx.GRUCell):
    """What nnx.GRUCell is, by another name."""


def test_classes_with_a_call_of_their_own_are_refused():
    message = r"Twice\w+ is an \w+Cell with a __call__ of its own"
    options = {"rngs": nnx.Rngs(0), **UNDRAWN}
    with pytest.raises(TypeError, match=message):
        from_nnx(nnx.RNN(TwiceInNNX(3, 4, **options)))
    with pytest.raises(TypeError, match=message):
        from_linen(nn.RNN(TwiceInLinen(4)), {"cell": {}})
    layers = nnx.List([NamedInNNX(3, 4, **options), NamedInNNX(4, 2, **options)])
    forms = [layer.structure.form for layer in from_nnx(layers)[0].structure.layers]
    assert forms == [("gru", "after")] * 2


def test_a_carry_that_does_not_begin_with_zeros_is_refused():
    cell = rnnjax.vanilla(2)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    params = randomised(shapes)
    of_nnx, (of_linen, variables) = to_nnx(cell, params), to_linen(cell, params)
    of_nnx.carry_init = nn.initializers.ones
    for convert in (
        lambda: from_nnx(nnx.RNN(of_nnx)),
        lambda: from_linen(of_linen.copy(carry_init=nn.initializers.ones), variables),
    ):
        with pytest.raises(ValueError, match=r"Cell has a carry_init other than zeros.*lost"):
            convert()


def bidirectional():
    layer = rnnjax.bidirectional(rnnjax.gru(2), rnnjax.gru(2))
    return layer, randomised(jax.eval_shape(lambda key: layer.init(key, 3), jax.random.key(0)))
