"""Cells as modules of Flax NNX, Linen and Equinox: they compute and train as plain rnnjax."""

import importlib
import io
import sys

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from op_by_op import op_by_op

import rnnjax
from rnnjax.gradients import clip_by_value
from rnnjax.interop import linen
from rnnjax.interop.linen import params_of
from rnnjax.interop.nnx import Recurrent

T, B, D, H = 4, 3, 2, 2
CELL = rnnjax.stack(rnnjax.lstm(3), rnnjax.gru(H))
RNG = np.random.default_rng(0)
SHAPES = jax.eval_shape(lambda key: CELL.init(key, D), jax.random.key(0))
PARAMS = jax.tree.map(lambda leaf: RNG.standard_normal(leaf.shape), SHAPES)
CARRY = jax.tree.map(
    lambda leaf: RNG.standard_normal(leaf.shape),
    jax.eval_shape(lambda params: CELL.initial_carry(params, (B,)), PARAMS),
)
XS = RNG.standard_normal((B, T, D))
LENGTHS = np.array([T, 2, 3])
RESETS, MASK = (np.random.default_rng(seed).random((B, T)) > 0.4 for seed in (1, 2))
RANDOM = rnnjax.input_dropout(rnnjax.vanilla(2), 0.5)


def assert_same(got, want):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def named(tree):
    """Params as Linen has them."""
    if hasattr(tree, "_fields"):
        return {name: leaf for name, leaf in tree._asdict().items() if leaf is not None}
    return {str(i): named(part) for i, part in enumerate(tree)}


def of_nnx(cell, params, **options):
    module = Recurrent(cell, params=params, **options)
    return module, lambda module, *args, **call: module(*args, **call)


def of_linen(cell, params, **options):
    module = linen.Recurrent(cell, **options)
    return {"params": {"cell": named(params)}}, module.apply


def of_equinox(cell, params, **options):
    pytest.importorskip("equinox")
    module = rnnjax.interop.equinox.Recurrent(
        cell, params=params, **{"time_major": False, "keep_order": False, **options}
    )
    return module, lambda module, *args, **call: module(*args, **call)


MODULES = {"nnx": of_nnx, "linen": of_linen, "equinox": of_equinox}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_module_is_unroll(make, eager):
    flags = {"resets": RESETS.T, "mask": MASK.T}
    xs, options = XS.swapaxes(0, 1), {"carry": CARRY, "lengths": LENGTHS, **flags}
    carry, ys = rnnjax.unroll(CELL, PARAMS, xs, **options)
    module, call = make(CELL, PARAMS, return_carry=True, method=rnnjax.sequential())
    given = {"initial_carry": CARRY, "seq_lengths": LENGTHS, "resets": RESETS, "mask": MASK}
    got = call(module, XS, **given)
    assert_same(got, (carry, ys.swapaxes(0, 1)))
    module, call = make(CELL, PARAMS, time_major=True, gradient=rnnjax.autodiff())
    assert_same(call(module, xs, **(given | flags)), ys)
    module, call = make(CELL, PARAMS, reverse=True, keep_order=True)
    back = rnnjax.unroll(CELL, PARAMS, xs, reverse=True, lengths=LENGTHS)[1]
    assert_same(call(module, XS, seq_lengths=LENGTHS), back.swapaxes(0, 1))


class InFlax(nnx.RNNCellBase):
    """A cell of rnnjax that Flax's own `nnx.RNN` runs."""

    num_feature_axes = 1

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        return CELL.initial_carry(PARAMS, input_shape[:-1])

    def __call__(self, carry, inputs):
        return CELL.step(PARAMS, carry, inputs)


@pytest.mark.parametrize("reverse", [False, True])
def test_arguments_mean_what_they_mean_in_flax(reverse):
    theirs = nnx.RNN(InFlax(), reverse=reverse)
    ours = Recurrent(CELL, params=PARAMS, reverse=reverse)
    valid, carry = np.arange(T) < LENGTHS[:, None], jax.tree.map(jnp.asarray, CARRY)
    for options in (
        {},
        {"seq_lengths": LENGTHS, "return_carry": True, "initial_carry": carry},
        {"seq_lengths": LENGTHS, "keep_order": True},
        {"keep_order": True, "time_major": True},
    ):
        xs = XS.swapaxes(0, 1) if "time_major" in options else XS
        with op_by_op():
            got = ours(xs, **options)
        with jax.disable_jit():
            want = theirs(jnp.asarray(xs), **options)
        if "return_carry" in options:
            assert_same(got[0], want[0])
            got, want = got[1], want[1]
        if "seq_lengths" in options:  # Flax leaves what it computed in the padding
            want = want * valid[..., None]
        assert_same(got, want)


def trained_plainly():
    tx = optax.sgd(0.1, momentum=0.9)
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(2):
        down = jax.grad(lambda p: cost(rnnjax.unroll(CELL, p, XS.swapaxes(0, 1))[1]))(params)
        updates, state = tx.update(down, state)
        params = optax.apply_updates(params, updates)
    return params


def cost(ys):
    return jnp.mean((ys - 1) ** 2)


def test_nnx_trains_to_the_same_params():
    model = Recurrent(CELL, params=PARAMS)
    optimizer = nnx.Optimizer(model, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)

    def step(model, optimizer):
        down = nnx.grad(lambda model: cost(model(XS)))(model)
        optimizer.update(model, down)

    nnx.jit(step).lower(model, optimizer)  # XLA need not compile it: no step of ours is left
    with op_by_op():
        step(model, optimizer)
        step(model, optimizer)
        want = trained_plainly()
    assert_same(model.cell_params, want)
    assert "cell=stack(lstm(3), gru(2))," in repr(model)
    structure, state = nnx.split(model)
    assert_same(nnx.merge(structure, state).cell_params, want)
    pure = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert sorted(pure["weights"][0]) == ["b", "w_h", "w_x"]
    new = Recurrent(CELL, D, rngs=nnx.Rngs(0))
    nnx.update(new, nnx.state(model))
    assert_same(new.cell_params, want)


@pytest.mark.parametrize("make", [of_linen, of_equinox], ids=["linen", "equinox"])
def test_modules_train_to_the_same_params(make, eager):
    module, call = make(CELL, PARAMS)
    tx = optax.sgd(0.1, momentum=0.9)
    leaves, tree = jax.tree.flatten(module)
    inexact = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]

    def join(arrays):
        arrays = iter(arrays)
        return jax.tree.unflatten(
            tree, [next(arrays) if own else leaf for own, leaf in zip(inexact, leaves, strict=True)]
        )

    arrays = [leaf for own, leaf in zip(inexact, leaves, strict=True) if own]
    state = tx.init(arrays)
    for _ in range(2):
        down = jax.grad(lambda arrays: cost(call(join(arrays), XS)))(arrays)
        updates, state = tx.update(down, state)
        arrays = optax.apply_updates(arrays, updates)
    trained = join(arrays)
    if make is of_linen:
        own = params_of(trained["params"]["cell"], SHAPES)
        written = flax.serialization.to_bytes(trained)
        again = flax.serialization.from_bytes(module, written)
        assert_same(again, trained)
    else:
        own, file = trained.params, io.BytesIO()
        equinox = importlib.import_module("equinox")
        equinox.tree_serialise_leaves(file, trained)
        file.seek(0)
        assert_same(equinox.tree_deserialise_leaves(file, module), trained)
    assert_same(own, trained_plainly())


def test_linen_draws_what_the_cell_draws_inside_a_model(eager):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, xs):
            return nn.Dense(1, param_dtype=float)(linen.Recurrent(CELL, name="rnn")(xs))

    shapes = jax.eval_shape(Model().init, jax.random.key(0), XS)["params"]
    assert params_of(shapes["rnn"]["cell"], SHAPES) == SHAPES
    dense = {"kernel": RNG.standard_normal((H, 1)), "bias": np.zeros(1)}
    variables = {"params": {"rnn": {"cell": named(PARAMS)}, "Dense_0": dense}}
    ys = rnnjax.unroll(CELL, PARAMS, XS.swapaxes(0, 1))[1]
    assert_same(Model().apply(variables, XS), ys.swapaxes(0, 1) @ dense["kernel"])
    with pytest.raises(ValueError, match=r"no 1/w_x under params/cell, but b"):
        params_of({**named(PARAMS), "1": {"b": 3}}, SHAPES)


def test_dropout_is_on_in_training_alone():
    params = RANDOM.init(jax.random.key(0), D)
    model = Recurrent(RANDOM, params=params, rngs=nnx.Rngs(0))
    off = rnnjax.unroll(RANDOM, params, XS.swapaxes(0, 1))[1].swapaxes(0, 1)
    first, second = model(XS), model(XS)
    assert np.any(first != second)
    model.eval()
    assert_same(model(XS), off)
    assert np.any(model(XS, deterministic=False, rngs=jax.random.key(0)) != off)
    assert not jax.tree.leaves(
        nnx.state(Recurrent(CELL, params=PARAMS, rngs=nnx.Rngs(0)), nnx.RngState)
    )

    variables, apply = of_linen(RANDOM, params)
    rngs = {"dropout": jax.random.key(1)}
    assert_same(apply(variables, XS), off)
    assert np.any(apply(variables, XS, rngs=rngs) != off)
    assert_same(apply(variables, XS, rngs=rngs, deterministic=True), off)


def test_axis_names_become_metadata():
    names = {"w_x": (None, "model"), "1.w_h": ("model", None)}
    with jax.set_mesh(jax.make_mesh((1,), ("model",), (jax.sharding.AxisType.Auto,))):
        model = Recurrent(CELL, params=PARAMS, sharding=names)
        specs = nnx.get_partition_spec(nnx.state(model))["weights"]
        module = linen.Recurrent(CELL, sharding=names)
        shapes = jax.eval_shape(module.init, jax.random.key(0), XS)
    P = jax.sharding.PartitionSpec
    in_linen = nn.get_partition_spec(shapes)["params"]["cell"]
    for i in range(2):
        assert specs[i]["w_x"].get_value() == P(None, "model") == in_linen[str(i)]["w_x"]
        assert in_linen[str(i)]["w_h"] == (P("model", None) if i else P())
    with pytest.raises(ValueError, match=r"sharding names w, and the arrays of params are 0\.w_x"):
        Recurrent(CELL, params=PARAMS, sharding={"w": ("model",)})


def test_layers_are_modules_too(eager):
    layer = rnnjax.bidirectional(rnnjax.vanilla(2), RANDOM)
    params = layer.init(jax.random.key(0), D)
    ys = layer.apply(params, XS.swapaxes(0, 1), lengths=LENGTHS)[1].swapaxes(0, 1)
    for make in (of_nnx, of_linen):
        module, call = make(layer, params)
        assert_same(call(module, XS, seq_lengths=LENGTHS), ys)
    with pytest.raises(ValueError, match=r"is a layer: make it of cells that run backwards"):
        of_nnx(layer, params)[0](XS, reverse=True)


def test_flaxs_own_bidirectional_runs_them(eager):
    xs, options = XS.swapaxes(0, 1), {"seq_lengths": LENGTHS, "return_carry": True}
    want = rnnjax.bidirectional(CELL, CELL).apply((PARAMS, PARAMS), xs, lengths=LENGTHS)
    want = (want[0], want[1].swapaxes(0, 1))
    forward, backward = (Recurrent(CELL, params=PARAMS) for _ in range(2))
    assert_same(nnx.Bidirectional(forward, backward)(XS, **options), want)
    both = nn.Bidirectional(linen.Recurrent(CELL), linen.Recurrent(CELL))
    names = ("forward_rnn", "backward_rnn")
    variables = {"params": {name: {"cell": named(PARAMS)} for name in names}}
    assert_same(both.apply(variables, XS, init_key=jax.random.key(0), **options), want)


def test_several_feature_axes():
    make = linen.Recurrent(rnnjax.conv_lstm(1, (2, 3))).init_with_output
    inputs = jax.ShapeDtypeStruct((B, T, 2, 3, 4), float)
    assert jax.eval_shape(make, jax.random.key(0), inputs)[0].shape == (B, T, 2, 3, 1)


def test_equinox_takes_no_params_of_another_layer():
    make = pytest.importorskip("rnnjax.interop.equinox", exc_type=ImportError).Recurrent
    with pytest.raises(TypeError, match=r"params must be LSTMParams.* got GRUParams"):
        make(rnnjax.bidirectional(*CELL.structure.layers), params=PARAMS[::-1])


@pytest.mark.parametrize("make", [of_nnx, of_equinox], ids=["nnx", "equinox"])
def test_a_clip_whose_limit_is_an_array_is_held_as_its_number(make):
    gradient = rnnjax.bptt(clip=clip_by_value(jnp.float64(0.5)))
    held = make(CELL, PARAMS, gradient=gradient)[0].gradient
    assert jax.tree.leaves(held) == []
    assert held == rnnjax.bptt(clip=clip_by_value(0.5))


def test_errors_say_what_is_wrong(monkeypatch):
    for cell, error, message in (
        (rnnjax.lstm, TypeError, r"expected a Cell such as rnnjax\.lstm\(128\), got function"),
        (CELL, TypeError, "pass input_size and rngs"),
    ):
        with pytest.raises(error, match=message):
            Recurrent(cell)
    with pytest.raises(TypeError, match="method must be a method"):
        Recurrent(CELL, params=PARAMS, method="native")
    with pytest.raises(TypeError, match="time_major must be True or False"):
        Recurrent(CELL, params=PARAMS, time_major="no")
    with pytest.raises(ValueError, match=r"params\[0\]\.b has shape"):
        Recurrent(CELL, params=(PARAMS[0]._replace(b=np.zeros(2)), PARAMS[1]))
    model = Recurrent(CELL, params=PARAMS)
    with pytest.raises(ValueError, match=r"shapes \(2,\): expected \[\.\.\., T, \*features\]"):
        model(XS[0, 0])
    with pytest.raises(ValueError, match=r"lengths has shape \(2,\)"):
        model(XS, seq_lengths=LENGTHS[:2])
    for name, flags in (("resets", RESETS), ("mask", MASK)):
        with pytest.raises(ValueError, match=rf"{name} has shape \(4, 3\): expected \(3, 4\)"):
            model(XS, **{name: flags.T})
    with pytest.raises(TypeError, match=r"rngs must be an nnx\.Rngs, .*, got 0"):
        Recurrent(CELL, D, rngs=0)
    with pytest.raises(TypeError, match="deterministic must be True or False"):
        Recurrent(CELL, params=PARAMS, deterministic="no")
    with pytest.raises(TypeError, match=r"expected a Cell .*, got Recurrent"):
        rnnjax.save("model", model, PARAMS)  # pyright: ignore
    both = rnnjax.bidirectional(*CELL.structure.layers)
    with pytest.raises(ValueError, match="params has 1 entries, expected 2"):
        Recurrent(both, params=PARAMS[:1])
    monkeypatch.setitem(sys.modules, "equinox", None)
    monkeypatch.delitem(sys.modules, "rnnjax.interop.equinox", raising=False)
    with pytest.raises(ImportError, match=r"equinox is not installed: pip install equinox"):
        importlib.import_module("rnnjax.interop.equinox")
