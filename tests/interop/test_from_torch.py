"""PyTorch's modules by their weights: outputs and every gradient, from files and live."""

import importlib.util
import warnings
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt
from rnnjax.interop import from_torch

GOLDEN = Path(__file__).parents[1] / "golden"
MODES = {"rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU", "lstm": "LSTM", "gru": "GRU"}
GRADIENTS = [autodiff(), bptt()]


class Weight:
    """What `from_torch` asks of a torch parameter."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.array


def stand_in(mode, weights, **changes):
    """An object with what `from_torch` reads of a module."""
    named = {name: Weight(array) for name, array in weights.items()}
    options = {"num_layers": 1, "bidirectional": False, "proj_size": 0} | changes
    return SimpleNamespace(
        mode=mode,
        bias=any(name.startswith("bias") for name in named),
        named_parameters=lambda recurse: named.items(),
        **named,
        **options,
    )


def golden(name):
    with np.load(GOLDEN / f"torch_{name}.npz") as arrays:
        return dict(arrays)


def weights_of(found, prefix="weight:"):
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def assert_same_gradients(mode, got, want):
    """`got` in rnnjax's layout, `want` PyTorch's gradients by its parameters' names."""

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1.0, np.abs(b).max()))

    close(got.w_x, want["weight_ih_l0"].T)
    close(got.w_h, want["weight_hh_l0"].T)
    if "bias_ih_l0" not in want:
        return
    close(got.b, want["bias_ih_l0"])
    if mode == "GRU":
        hidden = got.b_hn.shape[0]
        close(got.b[: 2 * hidden], want["bias_hh_l0"][: 2 * hidden])
        close(got.b_hn, want["bias_hh_l0"][2 * hidden :])
    else:
        close(got.b, want["bias_hh_l0"])


def assert_same(mode, module, found, gradient):
    cell, params = from_torch(module)
    state = {"h": jnp.asarray(found["h0"][0])}
    if mode == "LSTM":
        state["c"] = jnp.asarray(found["c0"][0])
    carry = cell.initial_carry(params, (found["xs"].shape[1],))._replace(**state)

    def cost(params, xs, carry):
        last, ys = rnnjax.unroll(cell, params, xs, carry=carry, gradient=gradient)
        total = 0.0
        for index, value in enumerate((ys, *last)):
            weights = np.cos(np.arange(value.size) + 1.3 * index).reshape(value.shape)
            total += jnp.sum(weights * value)
        return total, (last, ys)

    run = jax.jit(jax.grad(cost, (0, 1, 2), has_aux=True))
    (params_ct, xs_ct, carry_ct), (last, ys) = run(params, jnp.asarray(found["xs"]), carry)
    close = {"rtol": 0, "atol": 1e-12}
    np.testing.assert_allclose(ys, found["ys"], **close)
    np.testing.assert_allclose(xs_ct, found["grad_xs"], **close)
    for field in state:
        np.testing.assert_allclose(getattr(last, field), found[field][0], **close)
        np.testing.assert_allclose(getattr(carry_ct, field), found[f"grad_{field}0"][0], **close)
    assert_same_gradients(mode, params_ct, weights_of(found, "weight_grad:"))


@pytest.mark.parametrize("gradient", GRADIENTS, ids=["autodiff", "bptt"])
@pytest.mark.parametrize("name", MODES)
@pytest.mark.usefixtures("eager")
def test_golden_outputs_and_gradients(name, gradient):
    found = golden(name)
    assert_same(MODES[name], stand_in(MODES[name], weights_of(found)), found, gradient)


@pytest.mark.parametrize("gradient", GRADIENTS, ids=["autodiff", "bptt"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", MODES)
def test_live_outputs_and_gradients(name, bias, gradient):
    torch, make = live()
    kind, options = make.CASES[name]
    found = make.make(kind, options, seed=100 + bias, bias=bias)
    module = getattr(torch.nn, kind)(3, 4, bias=bias, **options).double()
    weights = {k: torch.tensor(v) for k, v in weights_of(found).items()}
    module.load_state_dict(weights)
    assert_same(MODES[name], module, found, gradient)


def test_live_modules_that_are_not_taken():
    torch, _ = live()
    with pytest.raises(TypeError, match=r"torch\.nn\.RNN, LSTM or GRU.*Linear: .*prefix="):
        from_torch(torch.nn.Linear(2, 3))


def test_live_modules_with_a_forward_of_their_own_are_refused():
    torch, _ = live()

    class Twice(torch.nn.GRU):
        def forward(self, xs, h=None):
            return super().forward(2 * xs, h)

    class Named(torch.nn.GRU):
        pass

    with pytest.raises(TypeError, match=r"Twice has a forward of its own.*module\.state_dict\(\)"):
        from_torch(Twice(3, 4))
    for source in (Twice(3, 4).state_dict(), Named(3, 4)):
        assert repr(from_torch(source)[0]) == "gru(4, dtype='float32')"


def live():
    """torch, and the script that made the golden files; skips where torch is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it is imported
        torch = pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("goldens", GOLDEN / "make_torch_goldens.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    return torch, make


@pytest.mark.parametrize("name", MODES)
def test_without_biases_they_are_zeros(name):
    found = weights_of(golden(name))
    bare = {k: v for k, v in found.items() if not k.startswith("bias")}
    _, params = from_torch(stand_in(MODES[name], bare))
    zeroed = found | {k: np.zeros_like(v) for k, v in found.items() if k.startswith("bias")}
    _, want = from_torch(stand_in(MODES[name], zeroed))
    for a, b in zip(params, want, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.any(params.b)


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["f32", "f16"])
def test_dtype_stays(dtype):
    weights = {k: v.astype(dtype) for k, v in weights_of(golden("lstm")).items()}
    cell, params = from_torch(stand_in("LSTM", weights))
    drawn = jax.eval_shape(lambda key: cell.init(key, 3), jax.random.key(0))
    assert {leaf.dtype for leaf in (*params, *drawn)} == {jnp.dtype(dtype)}
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)


def test_weights_are_copied():
    weights = weights_of(golden("rnn_tanh"))
    _, params = from_torch(stand_in("RNN_TANH", weights))
    before = np.array(params.w_x)
    weights["weight_ih_l0"] *= 0
    np.testing.assert_array_equal(params.w_x, before)


def test_float64_needs_x64():
    module = stand_in("GRU", weights_of(golden("gru")))
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"jax_enable_x64.*module\.float"):
        from_torch(module)


def test_other_objects_are_refused():
    for other in (object(), stand_in("CONV", {}), SimpleNamespace(mode="fan_in")):
        with pytest.raises(TypeError, match=r"torch\.nn\.RNN, LSTM or GRU"):
            from_torch(other)
    with pytest.raises(TypeError, match="weight_ih_l0 must be a floating-point array"):
        from_torch({"weight_ih_l0": np.ones((4, 1), int), "weight_hh_l0": np.ones((4, 1))})


@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0"])
def test_a_weight_that_a_hook_computes_is_refused_by_name(name):
    """What pruning leaves: the parameter under another name, its product a plain attribute."""
    weights = weights_of(golden("lstm"))
    module = stand_in("LSTM", {**weights, f"{name}_orig": weights[name]})
    own = {key: value for key, value in vars(module).items() if key in weights and key != name}
    module.named_parameters = lambda recurse: own.items() | {(f"{name}_orig", module.bias)}
    with pytest.raises(ValueError, match=rf"{name} .* computed from {name}_orig by a hook.*remove"):
        from_torch(module)


def test_a_module_without_parameters_is_refused():
    module = stand_in("LSTM", weights_of(golden("lstm")))
    module.named_parameters = lambda recurse: []
    with pytest.raises(ValueError, match="no parameters of its own, as a quantized module"):
        from_torch(module)


def test_parametrized_weights_are_those_that_the_module_computes_with():
    torch = pytest.importorskip("torch")
    prune = pytest.importorskip("torch.nn.utils.prune")
    module = torch.nn.LSTM(3, 4).double()
    torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original0.mul_(1.5)
    xs = np.random.default_rng(0).standard_normal((5, 2, 3))
    cell, params = from_torch(module)
    want = module(torch.asarray(xs))[0].detach().numpy()
    np.testing.assert_allclose(rnnjax.unroll(cell, params, xs)[1], want, rtol=1e-10)
    pruned = torch.nn.LSTM(3, 4)
    prune.l1_unstructured(pruned, "bias_ih_l0", amount=0.5)
    with pytest.raises(ValueError, match=r"bias_ih_l0 .* computed from bias_ih_l0_orig by a hook"):
        from_torch(pruned)
    prune.remove(pruned, "bias_ih_l0")
    from_torch(pruned)
