"""A valid call of every public function of the core: cells, combinators, gradients, methods."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from wrong_calls import Call

import rnnjax
from rnnjax import cells, extend, gradients, methods, online
from rnnjax.cells import initializers, linear_algebra

T, B, D, H = 4, 2, 3, 5
KEY = jax.random.key(0)
LSTM, GRU, INDRNN = rnnjax.lstm(H), rnnjax.gru(H), rnnjax.indrnn(H)
PARAMS = LSTM.init(KEY, D)
XS = jnp.asarray(np.random.default_rng(0).standard_normal((T, B, D)))
CARRY = LSTM.initial_carry(PARAMS, (B,))
LENGTHS = np.array([T, 2])
RESETS = np.zeros((T, B), bool)
RANDOM = rnnjax.input_dropout(LSTM, 0.5)
SMALL = rnnjax.gru(2)  # where what is called takes long
INIT = {"w_x_init": initializers.glorot(), "dtype": "float64"}
BOTH = {**INIT, "w_h_init": initializers.orthogonal()}

# The arguments of every factory, and the inputs that its cell reads.
FACTORIES = {
    "lstm": ({"hidden": H, "forget_bias": 1.0, **BOTH}, D),
    "lstm_1997": ({"hidden": H, "truncate": False, "output_bias": 0.0, **BOTH}, D),
    "peephole_lstm": ({"hidden": H, "forget_bias": 1.0, **BOTH}, D),
    "cifg": ({"hidden": H, "forget_bias": 1.0, **BOTH}, D),
    "lstm_projected": ({"hidden": H, "projection": 2, "forget_bias": 1.0, **BOTH}, D),
    "mgu": ({"hidden": H, "variant": "flax", **BOTH}, D),
    "gru": ({"hidden": H, "reset": "after", **BOTH}, D),
    "vanilla": ({"hidden": H, "activation": "tanh", **BOTH}, D),
    "irnn": ({"hidden": H, "scale": 1.0, "w_x_stddev": 0.1, "dtype": "float64"}, D),
    "identity_rnn": ({"hidden": H, **INIT}, D),
    "indrnn": (
        {"hidden": H, "activation": "relu", "recurrent_min": 0.0, "recurrent_max": 1.0, **INIT},
        D,
    ),
    "unicornn": ({"hidden": H, "dt": 0.1, "alpha": 0.0, **INIT}, D),
    "urnn": (
        {"hidden": H, "permutation": 1, "v_init": initializers.glorot(), "dtype": "float64"},
        D,
    ),
    "ctrnn": (
        {
            "hidden": H,
            "activation": "tanh",
            "leak": "rate",
            "tau": 2.0,
            "learn_tau": True,
            "noise": 0.1,
            **BOTH,
        },
        (D, ()),
    ),
    "conv_lstm": (
        {"features": 2, "size": (3, 4), "kernel": (3, 2), "forget_bias": 1.0, **BOTH},
        (3, 4, 2),
    ),
    "min_gru": ({"hidden": H, "candidate": "linear", **INIT}, D),
    "lru": ({"state": H, "r_min": 0.1, "r_max": 0.9, "max_phase": 6.0, "dtype": "float64"}, D),
    "delta_net": ({"key_size": 4, "value_size": 3, "heads": 2, "beta_max": 1.0, **INIT}, D),
}


def _like(make, function):
    """The function, with the signature of the one that is called in it."""
    function.__signature__ = inspect.signature(make)
    return function


def _initialised(name, inputs):
    """The params that a cell begins with: they show all that its factory was given."""
    make = cells.FACTORIES[name]
    return _like(make, lambda **arguments: make(**arguments).init(KEY, inputs))


def _cell_calls():
    """Of each cell's factory and of its three functions."""
    for name, (arguments, inputs) in FACTORIES.items():
        accepted = ("(forget_bias|output_bias|scale|recurrent_m..|w_x_stddev|r_m..): -1",)
        yield name, Call(_initialised(name, inputs), arguments)
        cell = cells.FACTORIES[name](**{k: v for k, v in arguments.items() if k != "dtype"})
        params = cell.init(KEY, inputs)
        x_t = jax.tree.map(
            lambda d: jnp.ones((B, *((d,) if isinstance(d, int) else d))),
            inputs,
            is_leaf=lambda n: n == () or isinstance(n, int) or all(isinstance(i, int) for i in n),
        )
        carry = cell.initial_carry(params, (B,))
        init = {"key": KEY, "inputs": inputs}
        yield f"{name}.init", Call(lambda key, inputs, c=cell: c.init(key, inputs), init)
        begin = {"params": params, "batch_shape": (B,), "key": KEY}
        accepted = ("batch_shape: one (more|less)",)
        if name == "identity_rnn":  # one leaf alone
            accepted += ("params: leaf 0 another dtype",)
        yield (
            f"{name}.initial_carry",
            Call(
                lambda params, batch_shape, key=None, c=cell: c.initial_carry(
                    params, batch_shape, key
                ),
                begin,
                accepted,
            ),
        )
        step = {"params": params, "carry": carry, "x_t": x_t}
        yield (
            f"{name}.step",
            Call(lambda params, carry, x_t, c=cell: c.step(params, carry, x_t), step),
        )


def _ran(make):
    """The outputs of the cell or layer that a function makes."""

    def call(*args, **arguments):
        made = make(*args, **arguments)
        params = made.init(KEY, D)
        if isinstance(made, rnnjax.Layer):
            return made.apply(params, XS)[1].shape
        return jax.eval_shape(made.step, params, made.initial_carry(params, (B,)), XS[0])[1].shape

    return call


def _apply(layer):
    return lambda params, xs, lengths=None, carry=None, reverse=False: layer.apply(
        params, xs, lengths=lengths, carry=carry
    )


_both = rnnjax.bidirectional(LSTM, GRU)
_serial = rnnjax.serial(LSTM, GRU)
_stack = rnnjax.stack(LSTM, GRU)
_run = {"cell": LSTM, "params": PARAMS, "xs": XS}
_whole = {**_run, "carry": CARRY, "lengths": LENGTHS, "resets": RESETS}
_image = jnp.ones((2, 4, 5, 3))
_kernel = jnp.ones((3, 3, 3, 2))


def _clipped(clip):
    """Gradients with errors clipped in the loop."""

    def cost(params):
        return rnnjax.unroll(LSTM, params, XS, gradient=gradients.bptt(clip))[1].sum()

    return jax.grad(cost)(PARAMS)


def _leaves_of_report(**arguments):
    report = gradients.check(**arguments)
    return report.passed, [row.leaf for row in report.rows]


def _drawn(name):
    make = getattr(initializers, name)
    return _like(make, lambda **arguments: make(**arguments)(KEY, (3, 3), jnp.float32))


_axes = ("xs: (another axis|an axis less)",)
_any_axes = ("(x|w|z|xs|deltas|values|h|delta): (another axis|an axis less)", ".*: complex")


def _numbers(**arguments):
    return np.array(gradients.error(**arguments).rows[-1][2:])


_keys = ("key: .*key.*",)  # another key is another gradient
_learner = online.learner(LSTM, online.snap(1))
_started = _learner.init(PARAMS, XS[0])


def _learned(cell, algorithm):
    learn = online.learner(cell, algorithm)
    return learn.init(cell.init(KEY, D), XS[0])


def _first(**arguments):
    return _learner.init(**arguments)


def _second(**arguments):
    return _learner.step(state=_started, **arguments)


CALLS: dict[str, Call] = {
    **dict(_cell_calls()),
    "stack": Call(
        lambda below, above: _ran(rnnjax.stack)(below, above), {"below": LSTM, "above": GRU}
    ),
    "serial": Call(
        lambda below, above: _ran(rnnjax.serial)(below, above),
        {"below": LSTM, "above": _both},
        ("below <-> above",),
    ),
    "recurrent": Call(
        _like(rnnjax.recurrent, _ran(rnnjax.recurrent)), {"cell": LSTM, "reverse": True}
    ),
    "bidirectional": Call(_ran(rnnjax.bidirectional), {"forward": LSTM, "backward": GRU}),
    "residual": Call(rnnjax.residual, {"cell": LSTM}),
    "input_dropout": Call(rnnjax.input_dropout, {"cell": LSTM, "rate": 0.5, "same_mask": True}),
    "recurrent_dropout": Call(rnnjax.recurrent_dropout, {"cell": LSTM, "rate": 0.5}),
    "zoneout": Call(lambda cell, h: rnnjax.zoneout(cell, h=h), {"cell": LSTM, "h": 0.1}),
    "learned_carry": Call(rnnjax.learned_carry, {"cell": LSTM}),
    "fixed_dt": Call(rnnjax.fixed_dt, {"cell": rnnjax.ctrnn(3), "dt": 0.5}),
    "wrap": Call(rnnjax.wrap, {"cell": LSTM, "change": lambda step: step}),
    "unroll": Call(
        rnnjax.unroll,
        {
            **_whole,
            "reverse": True,
            "gradient": gradients.bptt(),
            "method": methods.sequential(),
            "mask": RESETS == 0,
            "initial_carry": CARRY,
        },
    ),
    "unroll by default": Call(rnnjax.unroll, _run, _axes),
    "unroll natively": Call(rnnjax.unroll, {**_run, "method": methods.auto()}, _axes, eager=False),
    "unroll a stack": Call(
        rnnjax.unroll,
        {
            "cell": _stack,
            "params": _stack.init(KEY, D),
            "xs": XS,
            "carry": _stack.initial_carry(_stack.init(KEY, D), (B,)),
        },
    ),
    "unroll with dropout": Call(
        rnnjax.unroll, {"cell": RANDOM, "params": PARAMS, "xs": XS, "key": KEY}, _axes
    ),
    "step_with_reset": Call(
        rnnjax.step_with_reset,
        {
            "cell": LSTM,
            "params": PARAMS,
            "carry": CARRY,
            "x_t": XS[0],
            "reset": RESETS[0],
            "initial_carry": CARRY,
        },
    ),
    "num_params": Call(
        rnnjax.num_params, {"params": PARAMS}, ("params: (None|number|leaf|one|ano|wrong).*",)
    ),
    "bidirectional.apply": Call(
        _apply(_both), {"params": _both.init(KEY, D), "xs": XS, "lengths": LENGTHS}
    ),
    "serial.apply": Call(
        _apply(_serial), {"params": _serial.init(KEY, D), "xs": XS, "lengths": LENGTHS}
    ),
    "autodiff": Call(gradients.autodiff, {}),
    "bptt": Call(_clipped, {"clip": gradients.clip_by_value(1.0)}),
    "truncated": Call(gradients.truncated, {"k": 2, "base": gradients.bptt()}),
    "reversible": Call(gradients.reversible, {"tolerance": 1e-3}),
    "checkpointed": Call(gradients.checkpointed, {"k": 2, "base": gradients.bptt(), "levels": 2}),
    "truncated_window": Call(gradients.truncated_window, {"k": 2, "base": gradients.bptt()}),
    "truncated_williams_peng": Call(
        gradients.truncated_williams_peng, {"h": 3, "h_prime": 2, "base": gradients.bptt()}
    ),
    "clip_by_norm": Call(gradients.clip_by_norm, {"limit": 1.0}),
    "clip_by_value": Call(gradients.clip_by_value, {"limit": 1.0}),
    "check": Call(
        _like(gradients.check, _leaves_of_report),
        {
            "cell": SMALL,
            "params": SMALL.init(KEY, D),
            "xs": XS[:2],
            "key": KEY,
            "lengths": LENGTHS // 2,
            "resets": RESETS[:2],
            "differences": False,
            "tolerance": 1e-9,
        },
        _axes,
    ),
    "check by default": Call(
        _like(gradients.check, _leaves_of_report),
        {"cell": LSTM, "inputs": D, "differences": False},
    ),
    "error": Call(
        _like(gradients.error, _numbers),
        {
            **_whole,
            "cost": lambda carry, ys: ys.sum(),
            "gradient": rnnjax.truncated(1),
            "mask": RESETS == 0,
            "windows": (T,),
            "seeds": 2,
        },
        eager=False,
    ),
    "unfolded": Call(
        gradients.unfolded, {**_whole, "cost": lambda carry, ys: ys.sum()}, eager=False
    ),
    "rtrl": Call(online.rtrl, {}),
    "snap": Call(online.snap, {"n": 1}),
    "rflo": Call(online.rflo, {}),
    "eprop": Call(online.eprop, {"kappa": 0.5}),
    "uoro": Call(online.uoro, {"key": KEY}, _keys),
    "kf_rtrl": Call(online.kf_rtrl, {"key": KEY}, _keys),
    "learner": Call(_learned, {"cell": LSTM, "algorithm": online.snap(1)}, ("cell: another cell",)),
    "learner.init": Call(_first, {"params": PARAMS, "x_t": XS[0], "carry": CARRY}),
    "learner.step": Call(
        _second, {"params": PARAMS, "x_t": XS[0], "reset": RESETS[0], "initial_carry": CARRY}
    ),
    "readout_with_feedback": Call(
        online.readout_with_feedback,
        {"ys": XS, "w_out": np.ones((D, 2)), "feedback": np.ones((D, 2)), "adaptive": True},
        ("ys: (another axis|an axis less)",),  # any leading axes
    ),
    "auto": Call(methods.auto, {}),
    "sequential": Call(methods.sequential, {"unroll": 2, "hoist": True}),
    "native": Call(methods.native, {}),
    "associative": Call(methods.associative, {}),
    "deer": Call(
        methods.deer,
        {
            "quasi": True,
            "damping": 0.5,
            "tolerance": 1e-9,
            "max_iterations": 3,
            "otherwise": "best",
        },
    ),
    "solve": Call(
        methods.solve,
        {
            "cell": INDRNN,
            "params": INDRNN.init(KEY, D),
            "xs": XS,
            "method": methods.deer(),
            "carry": INDRNN.initial_carry(INDRNN.init(KEY, D), (B,)),
            "lengths": LENGTHS,
            "resets": RESETS,
            "reverse": True,
        },
        eager=False,
    ),
    "cudnn": Call(methods.cudnn, {"precision": jax.lax.Precision.HIGHEST}),
    "instruction_set": Call(methods.instruction_set, {}),
    "explain": Call(methods.explain, {**_whole, "gradient": gradients.bptt()}),
    "resolve": Call(
        methods.resolve,
        {
            "method": methods.sequential(),
            "cell": LSTM,
            "base": gradients.bptt(),
            "params": PARAMS,
            "sequence": None,
        },
        ("params: .*", "sequence: .*", "cell: another cell"),  # what `unroll` has validated
    ),
    "factory": Call(
        cells.factory, {"make": rnnjax.lstm.__wrapped__}, ("make: (no arguments|gives None)",)
    ),
    "combinator": Call(
        extend.combinator,
        {"make": rnnjax.residual.__wrapped__},
        ("make: (no arguments|gives None)",),
    ),
    "known": Call(extend.known, {"cell": LSTM}),
    "initial_carry": Call(
        extend.initial_carry,
        {"cell": LSTM, "params": PARAMS, "batch_shape": (B,), "key": KEY},
        ("batch_shape: one (more|less)",),
    ),
    **{
        name: Call(_drawn(name), arguments)
        for name, arguments in {
            "glorot": {},
            "uniform": {},
            "orthogonal": {"scale": 1.0},
            "identity": {"scale": 1.0},
            "normal": {"stddev": 0.1},
            "spectral_radius": {"rho": 0.9},
            "singular_value": {"sigma": 0.9},
        }.items()
    },
    "affine": Call(
        linear_algebra.affine, {"x": XS, "w": jnp.ones((D, H)), "b": jnp.ones(H)}, _any_axes
    ),
    "check_features": Call(
        linear_algebra.check_features, {"x": XS, "w": jnp.ones((D, H))}, _any_axes
    ),
}
