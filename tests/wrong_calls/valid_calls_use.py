"""A valid call of every public function of flow, scenarios and interop."""

import contextlib
import functools
import inspect
from importlib.util import find_spec

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from valid_calls_core import CARRY, KEY, LENGTHS, LSTM, PARAMS, RESETS, XS, B, D, H, T
from wrong_calls import Call

import rnnjax
from rnnjax import flow, interop, scenarios
from rnnjax.gradients import clip_by_norm

V, S = 6, 3
_one = {"cell": LSTM, "params": PARAMS, "xs": XS[:, 0]}
_run = {"cell": LSTM, "params": PARAMS, "xs": XS}
_carry = LSTM.initial_carry(PARAMS, ())
_jacobians = jnp.asarray(np.random.default_rng(0).standard_normal((T, H, H)))
_norms = jnp.asarray(np.exp(-np.arange(8.0)[:, None] * np.ones(2)))
HEAD, EMBED = nn.Dense(V, param_dtype=float), nn.Embed(V, D, param_dtype=float)
IDS = np.array([[1, 2], [3, 1], [0, 5], [2, 2]])
FIRST = np.array([0, 3])
LOGITS = jnp.asarray(np.random.default_rng(1).standard_normal((T, B, V)))
VALID = np.arange(T)[:, None] < LENGTHS


def _cost(carry, ys):
    return ys.sum()


def _without_labels(find):
    """Fixed points without their strings, which are no numbers to compare."""

    @functools.wraps(find)
    def found(*arguments, **options):
        return find(*arguments, **options)._replace(labels=None)

    return found


def _next_word(state, token):
    return state, 5.0 * jax.nn.one_hot(token + 1, V)


def _after(step, carry, x):
    return carry + x, x * 0.5


def _module(kind, **attributes):
    """What is read of a module of Equinox or Keras."""
    module = type(kind, (), {})()
    vars(module).update(attributes)
    return module


_w_x, _w_h, _b = np.ones((D, 4 * H)), np.full((H, 4 * H), 0.5), np.zeros(4 * H)
_equinox = _module("LSTMCell", weight_ih=_w_x.T, weight_hh=_w_h.T, bias=_b, use_bias=True)
_keras = _module(
    "SimpleRNNCell", activation=np.tanh, kernel=_w_x, recurrent_kernel=np.ones((4 * H, 4 * H))
)
_linen = nn.LSTMCell(H, param_dtype=float)
_conv = rnnjax.conv_lstm(2, (3, 4))
_conv_params = _conv.init(KEY, (3, 4, D))
_in_haiku = interop.to_haiku(_conv, _conv_params)
_gru = rnnjax.gru(H, reset="before")
_state = {"rnn.weight_ih_l0": np.ones((H, D)), "rnn.weight_hh_l0": np.ones((H, H))}


_of_lstm = {"cell": LSTM, "params": PARAMS}


def _written(function, what):
    """The arrays of what a function makes."""
    return _as(lambda **arguments: what(function(**arguments)), function)


def _checked(function):
    """What is looked at before a framework is imported, which need not be installed."""

    def call(**arguments):
        with contextlib.suppress(ImportError):
            function(**arguments)

    return _as(call, function)


@functools.cache
def _params(init, *example):
    return init(KEY, *example)


def _shape(model, *example):
    return jax.eval_shape(model.init, KEY, *example)


def _as(function, make):
    function.__signature__ = inspect.signature(make)
    return function


def _made(make, *example):
    """The form of the params of the model that a function makes."""
    return _as(lambda **arguments: _shape(make(**arguments), *example), make)


aligned = scenarios.many_to_many(LSTM, HEAD)
classifier = scenarios.many_to_one(LSTM, HEAD)
translator = scenarios.encoder_decoder(LSTM, LSTM, HEAD, embed=EMBED, attention="dot")
captioner = scenarios.one_to_many(LSTM, HEAD, embed=EMBED)
_aligned = aligned.init(KEY, XS)
_classifier = classifier.init(KEY, XS)
_translator = translator.init(KEY, XS, IDS)
_captioner = captioner.init(KEY, XS[0], IDS)
_decoding = {"step": _next_word, "state": None, "first": FIRST, "steps": 3}


def _compiled(function, arguments):
    """Where a program that is traced once serves all calls of the shapes that are right."""
    return Call(function, arguments, eager=False)


def _measured_by(make):
    """What a watch measures."""
    function = functools.wraps(make)(lambda **arguments: make(**arguments).measure(PARAMS))
    return function


def _as_text(read):
    return functools.wraps(read)(lambda **arguments: repr(read(**arguments)))


# Right with another result: what the model was not made for, in the padding perhaps; what a
# user's own function computes; what norms and masks are taken of.
_ACCEPTED = {
    **dict.fromkeys(("to_nnx", "to_linen"), ("cell: layer",)),  # as a sequence model
    "to_haiku": ("name: unknown",),
    "to_packed": ("xs: (longer|integers|complex)",),  # any data
    "from_packed": ("packed: leaf 0 .*",),
    "to_cu_seqlens": ("xs: (longer|integers|complex)",),
    "from_cu_seqlens": ("data: (longer|integers|complex)",),
    "features_norm": (".*: (one more|leaf 0 (transposed|another axis|another dtype)|flag)",),
    "half_life": ("norms: (another axis|an axis less|longer)",),
    "clipping": ("params.*", "data.*"),  # what the loss takes
    "verdict": ("norms: (an axis less|longer)",),  # any number of examples
    "jacobians": ("xs: another axis",),
    "precision": ("xs: another axis", "xs: an axis less"),
    "log_singular_values": ("jacobians: .*", "lags: .*"),
    "cross_entropy": ("logits: (longer|integers)", "labels: (negative|huge)"),
    "squared_error": ("(outputs|targets): integers",),
    "ctc": ("logits: .*", "labels: .*", "(label_)?lengths: .*"),
    "valid_steps": ("lengths: (number|another axis|an axis less|longer|negative|huge)",),
    "closed_loop": ("(state|first): (number|integers|complex)",),
    "greedy": ("state: .*", "first: .*"),
    "sample": ("state: .*", "first: .*"),
    "beam_search": ("state: .*", "first: .*"),
    "many_to_many.init": ("xs: longer",),
    "encoder_decoder": ("encoder: None",),
    "encoder_decoder.apply": ("tokens: (negative|huge)",),
    "encoder_decoder.step": ("token: (negative|huge)",),
    "one_to_many.apply": ("tokens: (negative|huge)", "params: leaf .*", "source: integers"),
}


def _with_onnx() -> dict[str, Call]:
    if find_spec("onnx") is None:
        return {}
    exported = {"cell": LSTM, "params": PARAMS, "xs": XS, "lengths": True, "carry": True}
    model = interop.to_onnx(LSTM, PARAMS)
    return {
        "to_onnx": Call(interop.to_onnx, exported),
        "from_onnx": Call(
            interop.from_onnx, {"model": model, "node": "lstm_2", "return_options": False}
        ),
    }


CALLS: dict[str, Call] = {
    "record": _compiled(
        flow.record, {**_run, "cost": _cost, "carry": CARRY, "lengths": LENGTHS, "resets": RESETS}
    ),
    "paths": _compiled(
        flow.paths, {**_run, "cost": _cost, "carry": CARRY, "lengths": LENGTHS, "resets": RESETS}
    ),
    "fixed_points": _compiled(
        _without_labels(flow.fixed_points),
        {
            **{name: _run[name] for name in ("cell", "params")},
            "x": XS[0, 0],
            "starts": CARRY,
            "period": 1,
            "tolerance": 1e-9,
            "same": 1e-5,
            "max_steps": 2,
        },
    ),
    "relu_fixed_points": Call(
        _without_labels(flow.relu_fixed_points),
        {
            "cell": rnnjax.irnn(2),
            "params": rnnjax.cells.VanillaParams(jnp.ones((1, 2)), jnp.eye(2) / 2, jnp.ones(2)),
            "x": jnp.ones(1),
            "period": 1,
        },
    ),
    "watch": Call(
        _measured_by(flow.watch),
        {
            "net": LSTM,
            "xs": XS,
            "cost": _cost,
            "lengths": LENGTHS,
            "resets": RESETS,
            "every": 3,
            "leaf": "h",
            "eigenvalues": True,
        },
    ),
    "read_watch": Call(
        _as_text(flow.read_watch),
        {"source": [{"step": 1, "log10_gradient_norm_lag_0": -1.5, "lyapunov": 0.5}]},
    ),
    "precision": _compiled(flow.precision, {**_run, "cost": _cost, "dtypes": ("float32",)}),
    "gates": Call(flow.gates, {"cell": LSTM}),
    "gradient_norms": Call(
        flow.gradient_norms, {"recording": flow.record(**_run, cost=_cost), "leaf": "h"}
    ),
    "features_norm": Call(flow.features_norm, {"leaves": [XS], "leading": 2}),
    "half_life": Call(flow.half_life, {"norms": _norms}),
    "verdict": Call(flow.verdict, {"norms": _norms}),
    "jacobians": _compiled(flow.jacobians, {**_one, "carry": _carry, "leaf": "h"}),
    "log_singular_values": _compiled(
        flow.log_singular_values, {"jacobians": _jacobians, "lags": (1, 2), "sweeps": 5}
    ),
    "lyapunov_spectrum": Call(
        flow.lyapunov_spectrum,
        {**_one, "k": 2, "carry": _carry, "burn_in": 1, "mask": ~RESETS[:, 0]},
    ),
    "clipped_steps": _compiled(
        flow.clipped_steps,
        {**_run, "cost": _cost, "clip": clip_by_norm(0.1), "carry": CARRY, "lengths": LENGTHS},
    ),
    "clipping": Call(
        flow.clipping,
        {
            "loss": lambda params, item, gradient: jnp.vdot(params, item),
            "params": jnp.ones(2),
            "data": jnp.ones((3, 2)),
            "clips": {"by value": optax.clip(0.5)},
            "params_too": False,
        },
    ),
    "flossing": _compiled(
        flow.flossing, {**_one, "k": 2, "target": 0.5, "carry": _carry, "burn_in": 1}
    ),
    "predictability": _compiled(
        flow.predictability,
        {**_one, "carry": _carry, "burn_in": 1, "resets": RESETS[:, 0], "mask": ~RESETS[:, 0]},
    ),
    "pascanu_bound": Call(flow.pascanu_bound, {"w_h": jnp.eye(H), "activation": "tanh"}),
    "pascanu_regularizer": _compiled(
        flow.pascanu_regularizer,
        {
            **_run,
            "cost": _cost,
            "carry": CARRY,
            "lengths": LENGTHS,
            "resets": RESETS,
            "derivative": "immediate",
        },
    ),
    "pascanu_ratios": _compiled(
        flow.pascanu_ratios,
        {**_run, "cost": _cost, "carry": CARRY, "lengths": LENGTHS, "resets": RESETS},
    ),
    "truncation_length": _compiled(
        flow.truncation_length, {**_run, "cost": _cost, "carry": CARRY, "bias": 0.5, "lags": 2}
    ),
    "sensitivity": _compiled(flow.sensitivity, {**_run, "carry": CARRY, "lengths": LENGTHS}),
    "from_torch": Call(
        interop.from_torch, {"module": _state, "prefix": "rnn", "nonlinearity": "tanh"}
    ),
    "from_nnx": Call(interop.from_nnx, {"module": nnx.GRUCell(D, H, rngs=nnx.Rngs(0))}),
    "to_nnx": Call(_written(interop.to_nnx, nnx.state), _of_lstm, eager=False),
    "from_linen": Call(
        interop.from_linen,
        {
            "module": _linen,
            "variables": _linen.init(KEY, (jnp.ones((B, H)),) * 2, XS[0]),
            "size": None,
        },
    ),
    "to_linen": Call(_written(interop.to_linen, lambda pair: pair[1]), _of_lstm),
    "from_equinox": Call(interop.from_equinox, {"module": _equinox}),
    "to_equinox": Call(_checked(interop.to_equinox), _of_lstm),
    "from_haiku": Call(
        interop.from_haiku, {"params": _in_haiku, "name": "conv2_dlstm", "size": (3, 4)}
    ),
    "to_haiku": Call(
        interop.to_haiku,
        {"cell": _gru, "params": _gru.init(KEY, D), "name": "gru"},
    ),
    "from_keras": Call(interop.from_keras, {"layer": _keras, "size": None}),
    "to_keras": Call(_checked(interop.to_keras), _of_lstm),
    "from_haste": Call(
        interop.from_haste, {"weights": {"kernel": _w_x, "recurrent_kernel": _w_h, "bias": _b}}
    ),
    "to_haste": Call(interop.to_haste, _of_lstm),
    "to_torch": Call(interop.to_torch, {"cell": LSTM, "params": PARAMS, "state_dict": True}),
    "to_packed": Call(interop.to_packed, {"xs": XS, "lengths": LENGTHS}),
    "from_packed": Call(interop.from_packed, {"packed": interop.to_packed(XS, LENGTHS)}),
    "to_cu_seqlens": Call(interop.to_cu_seqlens, {"xs": XS, "lengths": LENGTHS, "total": 6}),
    "from_cu_seqlens": Call(
        interop.from_cu_seqlens,
        {"data": XS[:, 0], "cu_seqlens": np.array([0, 3, 4]), "max_length": 3},
    ),
    **_with_onnx(),
    "one_to_one": Call(_made(scenarios.one_to_one, XS[0]), {"head": HEAD}),
    "many_to_one": Call(
        _made(scenarios.many_to_one, IDS),
        {"layer": LSTM, "head": HEAD, "embed": EMBED, "pooling": "mean"},
    ),
    "many_to_many": Call(
        _made(scenarios.many_to_many, IDS), {"layer": LSTM, "head": HEAD, "embed": EMBED}
    ),
    "one_to_many": Call(
        _made(scenarios.one_to_many, XS[0], IDS),
        {"cell": LSTM, "head": HEAD, "embed": EMBED, "context": HEAD, "dropout": 0.1},
    ),
    "encoder_decoder": Call(
        _made(scenarios.encoder_decoder, XS, IDS),
        {
            "encoder": LSTM,
            "cell": LSTM,
            "head": HEAD,
            "embed": EMBED,
            "source_embed": HEAD,
            "attention": "dot",
            "dropout": 0.1,
        },
    ),
    "dropout": Call(_made(scenarios.dropout, XS[0]), {"module": HEAD, "rate": 0.1}),
    "pooled": Call(lambda name: scenarios.pooled(name).apply(None, XS, LENGTHS), {"name": "mean"}),
    "cross_entropy": Call(
        scenarios.cross_entropy,
        {
            "logits": LOGITS,
            "labels": IDS,
            "valid": VALID,
            "label_smoothing": 0.1,
            "reduction": "none",
        },
    ),
    "squared_error": Call(
        scenarios.squared_error,
        {"outputs": XS, "targets": XS + 1, "valid": VALID, "reduction": "sum"},
    ),
    "ctc": _compiled(
        scenarios.ctc,
        {
            "logits": LOGITS,
            "lengths": LENGTHS,
            "labels": IDS[1:3] + 1,
            "label_lengths": np.array([1, 1]),
            "blank": 0,
            "zero_infinity": True,
            "reduction": "none",
        },
    ),
    "valid_steps": Call(scenarios.valid_steps, {"lengths": LENGTHS, "steps": T}),
    "greedy": _compiled(scenarios.greedy, {**_decoding, "end": 5}),
    "sample": _compiled(
        scenarios.sample,
        {**_decoding, "key": KEY, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "end": 5},
    ),
    "beam_search": _compiled(
        scenarios.beam_search,
        {
            "step": _next_word,
            "state": jnp.zeros((B, 1)),
            "first": FIRST,
            "steps": 3,
            "end": 5,
            "beams": 2,
            "length_penalty": 0.5,
        },
    ),
    "closed_loop": Call(
        scenarios.closed_loop,
        {"step": lambda c, x: (c + x, x * 0.5), "state": XS[0], "first": XS[0], "steps": 3},
    ),
    "many_to_many.init": Call(lambda key, xs: aligned.init(key, xs), {"key": KEY, "xs": XS}),
    "many_to_many.apply": Call(
        lambda params, xs, carry=None, lengths=None, key=None: aligned.apply(
            params, xs, carry=carry, lengths=lengths, key=key
        ),
        {"params": _aligned, "xs": XS, "carry": CARRY, "lengths": LENGTHS},
    ),
    "many_to_many.step": Call(
        lambda params, carry, x_t: aligned.step(params, carry, x_t),
        {"params": _aligned, "carry": CARRY, "x_t": XS[0]},
    ),
    "many_to_one.apply": Call(
        lambda params, xs, lengths=None: classifier.apply(params, xs, lengths=lengths),
        {"params": _classifier, "xs": XS, "lengths": LENGTHS},
    ),
    "encoder_decoder.apply": Call(
        lambda params, source, tokens, source_lengths=None: translator.apply(
            params, source, tokens, source_lengths=source_lengths
        ),
        {"params": _translator, "source": XS, "tokens": IDS, "source_lengths": LENGTHS},
    ),
    "encoder_decoder.begin": Call(
        lambda params, source, source_lengths=None: translator.begin(
            params, source, source_lengths=source_lengths
        ),
        {"params": _translator, "source": XS, "source_lengths": LENGTHS},
    ),
    "encoder_decoder.step": Call(
        lambda params, state, token: translator.step(params, state, token),
        {"params": _translator, "state": translator.begin(_translator, XS), "token": FIRST},
    ),
    "one_to_many.apply": Call(
        lambda params, source, tokens: captioner.apply(params, source, tokens),
        {"params": _captioner, "source": XS[0], "tokens": IDS},
    ),
}
CALLS = {name: call._replace(accepted=_ACCEPTED.get(name, ())) for name, call in CALLS.items()}
