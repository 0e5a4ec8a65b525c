"""Several layers, both directions, projections, state_dicts and dtypes: from PyTorch and back."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_from_torch import golden, live, stand_in, weights_of

import rnnjax
from rnnjax.interop import from_torch, to_torch


def carries(model, params, found):
    """h0 and c0, [layers * directions, B, H], as the carry of a cell, stack or layer."""
    last = jax.eval_shape(lambda p, xs: run(model, p, xs), params, found["xs"])[0]
    at = iter(range(len(found["h0"])))

    def carry(cell):
        k = next(at)
        return cell._replace(**{f: jnp.asarray(found[f"{f}0"][k]) for f in cell._fields})

    return jax.tree.map(carry, last, is_leaf=lambda node: hasattr(node, "_fields"))


def run(model, params, xs, **options):
    if isinstance(model, rnnjax.Layer):
        return model.apply(params, xs, **options)
    return rnnjax.unroll(model, params, xs, **options)


def assert_same(module, found, nonlinearity=None):
    """Outputs, last states and every gradient, whose names are those of `to_torch`."""
    model, params = from_torch(module, nonlinearity=nonlinearity)
    carry = carries(model, params, found)

    def cost(params, xs, carry):
        last, ys = run(model, params, xs, carry=carry)
        cells = jax.tree.leaves(last, is_leaf=lambda node: hasattr(node, "_fields"))
        values = [ys, *(jnp.stack(each) for each in zip(*cells, strict=True))]
        total = 0.0
        for index, value in enumerate(values):
            weights = np.cos(np.arange(value.size) + 1.3 * index).reshape(value.shape)
            total += jnp.sum(weights * value)
        return total, values

    gradients, values = jax.jit(jax.grad(cost, (0, 1), has_aux=True))(params, found["xs"], carry)
    names = ["ys", "h", "c"][: len(values)]
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(value, found[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradients[1], found["grad_xs"], rtol=0, atol=1e-11)
    want = weights_of(found, "weight_grad:")
    for name, got in to_torch(model, gradients[0], state_dict=True).items():
        if name in want:
            if name.startswith("bias_hh"):  # the gradient of a sum is that of bias_ih
                got = np.where(got == 0, want[name], got)
            np.testing.assert_allclose(got, want[name], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["deep_lstm", "deep_gru"])
@pytest.mark.usefixtures("eager")
def test_golden_layers_and_directions(name):
    found = golden(name)
    assert_same({f"model.{k}": v for k, v in weights_of(found).items()}, found)


KINDS = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "projected": ("LSTM", {"proj_size": 2}),
    "gru": ("GRU", {}),
}


@pytest.mark.parametrize(("layers", "directions"), [(2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_live_layers_and_directions(kind, layers, directions):
    torch, make = live()
    name, options = KINDS[kind]
    options = options | {"num_layers": layers, "bidirectional": directions == 2}
    bias = layers != 2
    found = make.make(name, options, seed=layers, bias=bias)
    module = getattr(torch.nn, name)(3, 4, bias=bias, **options).double()
    module.load_state_dict({k: torch.tensor(v) for k, v in weights_of(found).items()})
    assert_same(module, found)
    back = to_torch(*from_torch(module))
    with torch.no_grad():
        again = back(torch.tensor(found["xs"]))[0].numpy()
        want = module(torch.tensor(found["xs"]))[0].numpy()
    np.testing.assert_allclose(again, want, rtol=0, atol=1e-12)


def test_live_lengths():
    """Packed sequences, whose last states are each sequence's own, backwards too."""
    torch, _ = live()
    module = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True).double()
    xs, lengths = np.random.default_rng(0).standard_normal((6, 3, 3)), np.array([2, 6, 4])
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(torch.tensor(xs), lengths, enforce_sorted=False)
    with torch.no_grad():
        ys, (h, c) = module(packed)
    want = rnn.pad_packed_sequence(ys)[0].numpy()
    layer, params = from_torch(module)
    carry, ys = layer.apply(params, xs, lengths=lengths)
    np.testing.assert_allclose(ys, want, rtol=0, atol=1e-12)
    last = [one for pair in carry for one in pair]
    np.testing.assert_allclose(np.stack([one.h for one in last]), h.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.stack([one.c for one in last]), c.numpy(), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("eager")
def test_compiled_modules_are_those_inside():
    """torch.compile(module) holds the module as _orig_mod, and so do the names of its weights."""
    weights = weights_of(golden("rnn_relu"))
    module = stand_in("RNN_RELU", weights)
    compiled = SimpleNamespace(_orig_mod=module, mode="RNN_RELU", named_parameters=dict)
    names = {"": "_orig_mod.", "0": "_orig_mod.0."}
    sources = [(compiled, {})]
    for prefix, at in names.items():
        state = {at + name: w for name, w in weights.items()}
        sources.append((state, {"prefix": prefix, "nonlinearity": "relu"}))
    cell, params = from_torch(module)
    for source, options in sources:
        again, same = from_torch(source, **options)
        assert again is cell
        jax.tree.map(np.testing.assert_array_equal, same, params)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_live_cells(kind):
    torch, _ = live()
    module = getattr(torch.nn, kind)(3, 4).double()
    x = np.random.default_rng(0).standard_normal((2, 3))
    want = module(torch.tensor(x))
    want = want[0] if kind == "LSTMCell" else want
    for source in (module, module.state_dict()):
        option = {"nonlinearity": "tanh"} if source is not module and kind == "RNNCell" else {}
        cell, params = from_torch(source, **option)
        y = cell.step(params, cell.initial_carry(params, (2,)), jnp.asarray(x))[1]
        np.testing.assert_allclose(y, want.detach().numpy(), atol=1e-13)


def test_live_half_precision_and_views():
    torch, _ = live()
    module = torch.nn.LSTM(3, 4)
    state = module.bfloat16().state_dict()
    state["weight_ih_l0"] = state["weight_ih_l0"].T.contiguous().T
    assert not state["weight_ih_l0"].is_contiguous()
    cell, params = from_torch(state)
    assert {leaf.dtype for leaf in params} == {jnp.dtype(jnp.bfloat16)}
    back = to_torch(cell, params).state_dict()
    for name in ("weight_ih_l0", "weight_hh_l0"):
        assert torch.equal(back[name], state[name])
    assert back["bias_ih_l0"].dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["deep_lstm", "deep_gru", "rnn_relu"])
def test_round_trip_is_exact(name):
    weights = weights_of(golden(name))
    model, params = from_torch(weights, nonlinearity="relu")
    state = to_torch(model, params, state_dict=True)
    again, same = from_torch(state, nonlinearity="relu")
    assert again is model
    jax.tree.map(np.testing.assert_array_equal, params, same)
    assert (
        not np.any([v for k, v in state.items() if k.startswith("bias_hh")]) or name[-3:] == "gru"
    )


def lstm_state(prefix=""):
    return {prefix + k: v for k, v in weights_of(golden("lstm")).items()}


def test_the_module_in_a_state_dict_is_found_or_asked_for():
    found = lstm_state("encoder.") | {"head.weight": np.ones((2, 2))}
    for options in ({}, {"prefix": "encoder"}, {"prefix": "encoder."}):
        assert repr(from_torch(found, **options)[0]) == "lstm(4, dtype='float64')"
    both = found | lstm_state("decoder.rnn.")
    assert from_torch(both, prefix="decoder.rnn")[0] is from_torch(found)[0]
    with pytest.raises(ValueError, match=r"several.*'encoder', 'decoder\.rnn'.*prefix="):
        from_torch(both)
    for state, options in ((both, {"prefix": "rnn"}), ({"head.weight": np.ones(2)}, {})):
        with pytest.raises(ValueError, match="no recurrent module"):
            from_torch(state, **options)


def without(name):
    state = lstm_state()
    del state[name]
    return state


RNN = weights_of(golden("rnn_tanh"))
DEEP = lstm_state() | {"weight_ih_l1": np.ones((16, 7)), "weight_hh_l1": np.ones((16, 4))}
BIASES = {"bias_ih_l1": np.ones(16), "bias_hh_l1": np.ones(16)}


@pytest.mark.parametrize(
    ("state", "options", "message"),
    [
        (without("bias_ih_l0"), {}, "bias_ih_l0 is missing beside bias_hh_l0"),
        (
            lstm_state() | {"weight_hh_l1_reverse": np.ones((16, 4))},
            {},
            "weight_ih_l0_reverse is missing",
        ),
        (RNN, {}, "does not say what its activation is: pass nonlinearity="),
        (
            RNN,
            {"nonlinearity": "gelu"},
            "nonlinearity must be 'tanh' or 'relu', got 'gelu'",
        ),
        (
            {"model": lstm_state(), "epoch": 3},
            {},
            r"dicts of its own under 'model': pass one of them, as in checkpoint\['model'\]",
        ),
        (lstm_state() | {"weight_hh_l0": np.ones((9, 4))}, {}, r"weight_hh_l0 has shape \(9, 4\)"),
        (lstm_state() | {"weight_hh_l0": np.ones(16)}, {}, r"weight_hh_l0 has shape \(16,\)"),
        (
            lstm_state() | {"bias_hh_l0": np.ones(1)},
            {},
            r"has shape \(1,\), expected \(16,\)",
        ),
        (DEEP, {}, "bias_ih_l1 is missing"),
        (DEEP | BIASES, {}, "layer 1 reads 7 features, and layer 0 before it gives 4"),
    ],
)
def test_states_that_say_too_little(state, options, message):
    with pytest.raises(ValueError, match=message):
        from_torch(state, **options)


def dropped(cell):
    return rnnjax.input_dropout(cell, 0.2)


def test_live_dropout_between_layers():
    torch, _ = live()
    cell = rnnjax.stack(rnnjax.gru(4), dropped(rnnjax.gru(4)), dropped(rnnjax.gru(4)))
    state = {
        name: w.numpy().astype(float)
        for name, w in torch.nn.GRU(3, 4, num_layers=3).state_dict().items()
    }
    params = from_torch(state)[1]
    module = to_torch(cell, params)
    assert (module.dropout, module.num_layers) == (0.2, 3)
    xs = np.random.default_rng(0).standard_normal((5, 2, 3))
    with torch.no_grad():
        training, want = module(torch.tensor(xs))[0], module.eval()(torch.tensor(xs))[0]
    assert not torch.equal(training, want)
    np.testing.assert_allclose(rnnjax.unroll(cell, params, xs)[1], want.numpy(), atol=1e-12)
    assert to_torch(rnnjax.gru(4), params[0]).dropout == 0


def zeros(model):
    shapes = jax.eval_shape(lambda key: model.init(key, 4), jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (rnnjax.gru(4, reset="before"), "the reset of the GRU before its recurrent product"),
        (rnnjax.peephole_lstm(4), "the peephole weights p would be lost"),
        (rnnjax.vanilla(4, "sigmoid"), "the activation 'sigmoid' would be lost"),
        (rnnjax.stack(rnnjax.lstm(4), rnnjax.mgu(4)), "mgu zhou of layer 1: the single gate"),
        (
            rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(5)),
            "one hidden size.*lstm of 4 in float64 and lstm of 5",
        ),
        (
            rnnjax.stack(rnnjax.lstm_projected(4, 2), rnnjax.lstm_projected(4, 3)),
            "got lstm_projected of 4 to 2 in float64 and lstm_projected of 4 to 3 in .*: convert",
        ),
        (
            rnnjax.serial(rnnjax.gru(4), rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(4))),
            "the same directions, got gru after of 4 in .* and .* of 4 in .* beside gru after",
        ),
        (
            rnnjax.stack(rnnjax.lstm(4, dtype="float16"), rnnjax.lstm(4, dtype="float32")),
            "one dtype .*, got lstm of 4 in float16 and lstm of 4 in float32",
        ),
        (rnnjax.residual(rnnjax.lstm(4)), r"cannot convert residual\(lstm\(4\)\)"),
        (rnnjax.lstm(4)._replace(rule=None), "cannot convert <Cell made from lstm"),
        (rnnjax.recurrent(rnnjax.lstm(4), reverse=True), "the direction would be lost"),
        (
            rnnjax.gru(4)._replace(
                initial_carry=lambda params, batch_shape: rnnjax.GRUCarry(
                    np.ones((*batch_shape, 4))
                )
            ),
            "its initial carry is not zero and would be lost",
        ),
        (
            rnnjax.serial(rnnjax.lstm(4), rnnjax.recurrent(rnnjax.lstm(4), reverse=True)),
            "the direction would be lost",
        ),
        (dropped(rnnjax.lstm(4)), r"at one rate, .* has the rates \[\[0\.2\]\], layer by layer"),
        (
            rnnjax.stack(*[rnnjax.lstm(4)] * 2, dropped(rnnjax.lstm(4))),
            r"has the rates \[\[0\.0\], \[0\.0\], \[0\.2\]\]",
        ),
        (
            rnnjax.serial(
                rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(4)),
                rnnjax.bidirectional(dropped(rnnjax.gru(4)), dropped(rnnjax.gru(4))),
            ),
            "alike for both directions",
        ),
        (
            rnnjax.stack(rnnjax.gru(4), rnnjax.input_dropout(rnnjax.gru(4), 0.2, same_mask=True)),
            r"convert the cell inside, gru\(4\), whose params are the same",
        ),
        (
            rnnjax.recurrent_dropout(rnnjax.lstm(4), 0.2),
            r"randomness in training would be lost: convert the cell inside, lstm\(4\)",
        ),
        (rnnjax.learned_carry(rnnjax.gru(4)), r"lost: convert gru\(4\) with params\.cell"),
        (rnnjax.zoneout(rnnjax.lstm(4), h=0.2), r"convert the cell inside, lstm\(4\)"),
    ],
)
@pytest.mark.usefixtures("eager")
def test_what_pytorch_cannot_hold_is_refused_with_what_would_be_lost(model, message):
    with pytest.raises(ValueError, match=message):
        to_torch(model, zeros(model), state_dict=True)
