"""Equinox, Haiku and Keras: outputs, last states and every gradient, from files and live."""

import contextlib
import importlib.util
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import loop

import rnnjax
from rnnjax import interop

GOLDEN = Path(__file__).parents[1] / "golden"


def script():
    path = GOLDEN / "make_peer_goldens.py"
    spec = importlib.util.spec_from_file_location("peer_goldens", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = script()
CASES = [(framework, name) for framework, cases in MAKE.CASES.items() for name in cases]


def stand_in(kind, weights, **options):
    """An object with what is read of a module, whose class has its name."""
    module = type(kind, (), {})()
    vars(module).update(weights | options)
    return module


def read(framework, name, weights):
    """The cell and params of one case, from weights by the framework's names."""
    if framework == "equinox":
        kind = {"lstm": "LSTMCell", "gru": "GRUCell"}[name]
        return interop.from_equinox(stand_in(kind, weights, use_bias=True))
    size = MAKE.IMAGES if name == "conv" else None
    if framework == "haiku":
        params = {}
        for key, w in weights.items():
            module, leaf = key.rsplit(".", 1)
            params.setdefault(module, {})[leaf] = w
        return interop.from_haiku(params, size=size)
    gates = {"activation": np.tanh, "recurrent_activation": lambda z: 1 / (1 + np.exp(-z))}
    kinds = {
        "simple": ("SimpleRNNCell", {"activation": lambda z: np.maximum(z, 0)}),
        "lstm": ("LSTMCell", gates),
        "gru_after": ("GRUCell", {**gates, "reset_after": True}),
        "gru_before": ("GRUCell", {**gates, "reset_after": False}),
        "conv": ("ConvLSTMCell", {**gates, **CONV}),
    }
    kind, options = kinds[name]
    return interop.from_keras(stand_in(kind, weights, **options), size=size)


CONV = {
    "rank": 2,
    "strides": (1, 1),
    "padding": "same",
    "dilation_rate": (1, 1),
    "data_format": "channels_last",
}


def part(found, what):
    """{"bias": …} of {"weight:bias": …}."""
    return {k.removeprefix(f"{what}:"): v for k, v in found.items() if k.startswith(f"{what}:")}


def as_carry(cell, found, what):
    values = [jnp.asarray(v) for v in part(found, what).values()]
    return type(cell.initial_carry(*found["args"]))(*values)


def assert_same(framework, name, found):
    cell, params = read(framework, name, part(found, "weight"))
    found = found | {"args": (params, (MAKE.B,))}
    carry = as_carry(cell, found, "state")

    def cost(params, carry, xs):
        last, ys = loop(lambda c, x: cell.step(params, c, x), carry, xs)
        values = (ys, *last)
        return sum(jnp.sum(MAKE.weight_of(v, k) * v) for k, v in enumerate(values)), values

    grad = jax.grad(cost, (0, 1, 2), has_aux=True)
    (params_ct, carry_ct, xs_ct), (ys, *last) = grad(params, carry, jnp.asarray(found["xs"]))
    # What is read is affine in the weights: Haiku adds 1.
    weights_ct = part(found, "weight_ct")
    zeros = {key: np.zeros_like(w) for key, w in weights_ct.items()}
    at, at_zero = (read(framework, name, w)[1] for w in (weights_ct, zeros))
    want_ct = jax.tree.map(jnp.subtract, at, at_zero)
    pairs = [(ys, found["ys"]), (xs_ct, found["xs_ct"])]
    pairs += zip(last, part(found, "last").values(), strict=True)
    pairs += zip(carry_ct, part(found, "state_ct").values(), strict=True)
    pairs += zip(jax.tree.leaves(params_ct), jax.tree.leaves(want_ct), strict=True)
    for got, want in pairs:
        assert np.any(np.asarray(want))  # a gradient of zeros shows nothing
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("framework", "name"), CASES, ids=[f"{f}-{n}" for f, n in CASES])
@pytest.mark.usefixtures("eager")
def test_golden_outputs_and_gradients(framework, name):
    with np.load(GOLDEN / f"{framework}.npz") as arrays:
        found = {k.split("|")[1]: arrays[k] for k in arrays if k.startswith(f"{name}|")}
    assert_same(framework, name, found)


@pytest.mark.parametrize(("framework", "name"), CASES, ids=[f"{f}-{n}" for f, n in CASES])
def test_live_outputs_and_gradients_and_back(framework, name):
    with live(framework):
        found = MAKE.make(MAKE.CASES[framework][name], seed=100)
        cell, params = read(framework, name, part(found, "weight"))
        made = getattr(interop, f"to_{framework}")(cell, params)
        options = {"size": MAKE.IMAGES} if name == "conv" else {}
        again, same = getattr(interop, f"from_{framework}")(made, **options)
    assert_same(framework, name, found)
    assert again is cell
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-16), params, same)


@contextlib.contextmanager
def live(framework):
    """The framework, in whose own code ranks are promoted and warnings are given."""
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        yield pytest.importorskip(framework)


def test_live_keras_layers_and_directions():
    with live("keras") as keras:
        options = {"return_sequences": True, "dtype": "float32"}
        model = keras.Sequential(
            [
                keras.Input((None, 3), dtype="float32"),
                keras.layers.Bidirectional(keras.layers.LSTM(4, **options), dtype="float32"),
                keras.layers.Bidirectional(keras.layers.GRU(3, **options), dtype="float32"),
                keras.layers.SimpleRNN(2, **options),
            ]
        )
        xs = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
        for weight in model.trainable_variables:
            weight.assign(np.random.default_rng(1).standard_normal(weight.shape))
        want = np.asarray(model(xs))
        layer, params = interop.from_keras(model)
        ys = layer.apply(params, xs.swapaxes(0, 1))[1]
        np.testing.assert_allclose(ys, want.swapaxes(0, 1), rtol=0, atol=1e-5)
        slopes = [
            jax.grad(lambda xs, run=run: jnp.sum(jnp.sin(run(xs))))(xs)
            for run in (model, lambda xs: layer.apply(params, xs.swapaxes(0, 1))[1])
        ]
        assert np.any(np.asarray(slopes[0]))
        np.testing.assert_allclose(*slopes, rtol=0, atol=1e-5)
        back = interop.to_keras(layer, params)
        np.testing.assert_allclose(np.asarray(back(xs)), want, rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match="merge_mode='sum'"):
            interop.from_keras(keras.layers.Bidirectional(keras.layers.LSTM(2), merge_mode="sum"))
        with pytest.raises(ValueError, match="not built"):
            interop.from_keras(keras.layers.LSTM(2))


def test_live_keras_masks_and_stacked_cells():
    with live("keras") as keras:
        cells = [keras.layers.LSTMCell(4), keras.layers.GRUCell(3)]
        rnn = keras.layers.RNN(cells, return_sequences=True)
        xs = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
        mask = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 0, 0]], bool)
        want = np.asarray(rnn(xs, mask=mask))
        cell, params = interop.from_keras(rnn)
        ys = rnnjax.unroll(cell, params, xs.swapaxes(0, 1), mask=mask.T)[1]
        with pytest.raises(ValueError, match="go_backwards=True and returns its outputs backwards"):
            interop.from_keras(keras.layers.RNN(cells, go_backwards=True))
    np.testing.assert_allclose(ys.swapaxes(0, 1), want, rtol=0, atol=1e-6)


def test_live_equinox_cells_with_a_call_of_their_own_are_refused():
    with live("equinox") as equinox:

        class LSTMCell(equinox.nn.LSTMCell):
            def __call__(self, x, state):
                return super().__call__(2 * x, state)

        with pytest.raises(TypeError, match="LSTMCell has a __call__ of its own"):
            interop.from_equinox(LSTMCell(3, 4, key=jax.random.key(0)))


def test_live_keras_models_are_chains_or_refused():
    with live("keras") as keras:
        options = {"return_sequences": True, "dtype": "float32"}
        one, two = keras.layers.LSTM(3, **options), keras.layers.GRU(3, **options)
        xs = keras.Input((None, 3), dtype="float32")
        chain = keras.Model(xs, keras.Sequential([two])(one(one(xs))))
        numbers = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
        want = np.asarray(chain(numbers))
        cell, params = interop.from_keras(chain)
        states = keras.layers.LSTM(3, return_state=True, **options)(xs)

        class Sum(keras.Model):
            def __init__(self):
                super().__init__()
                self.one, self.two = one, two

        @keras.saving.register_keras_serializable()
        class Twice(keras.layers.LSTM):
            def call(self, xs, **options):
                return super().call(2 * xs, **options)

        for model, message in (
            (keras.Model(xs, keras.layers.add([one(xs), two(xs)])), "has branches"),
            (keras.Model(xs, [one(xs), two(one(xs))]), "several inputs or outputs"),
            (keras.Model(xs, two(one(xs), initial_state=states[1])), "has branches, states"),
            (keras.Model(xs, keras.layers.RepeatVector(2)(states[1])), "has branches, states"),
            (Sum(), "what a Sum does with its layers is known to its call alone: pass them as a"),
        ):
            with pytest.raises(ValueError, match=message):
                interop.from_keras(model)
        for layer in (Twice(3), keras.layers.Bidirectional(Twice(3))):
            with pytest.raises(TypeError, match="Twice has a call of its own"):
                interop.from_keras(layer)
    ys = rnnjax.unroll(cell, params, numbers.swapaxes(0, 1))[1]
    np.testing.assert_allclose(ys.swapaxes(0, 1), want, rtol=0, atol=1e-6)
    assert [layer.structure.form for layer in cell.structure.layers] == ["lstm", "lstm", (
        "gru", "after")]  # fmt: skip


@pytest.mark.parametrize("name", ["equinox", "keras", "torch"])
@pytest.mark.usefixtures("eager")
def test_a_framework_that_is_missing_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    cell = rnnjax.lstm(2)
    params = rnnjax.LSTMParams(np.zeros((1, 8)), np.zeros((2, 8)), np.zeros(8))
    instead = ", or pass state_dict=True" if name == "torch" else "$"
    with pytest.raises(ImportError, match=f"{name} is not installed: pip install {name}{instead}"):
        getattr(interop, f"to_{name}")(cell, params)
