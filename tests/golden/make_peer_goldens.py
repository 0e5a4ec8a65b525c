"""Write the golden arrays of Equinox, Haiku and Keras: needs all three, and is run by hand.

    KERAS_BACKEND=jax python tests/golden/make_peer_goldens.py

Each file holds, in float64, for every case a module's weights, its inputs and first state, its
outputs and last state, and the gradients of the fixed cost Σ cos(k) v over these. Of two biases
that are added, the second has no gradient there: the first one's is that of the sum.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).parent
T, B, D, H = 4, 2, 3, 4
IMAGES, KERNEL, CHANNELS, FILTERS = (3, 4), (3, 2), 2, 2
VECTORS = ((D,), (H,))
PICTURES = ((*IMAGES, CHANNELS), (*IMAGES, FILTERS))
Run = Callable[[Any, Any, Any], Any]  # (weights, state, xs [T, B, ...]) -> (ys, last state)


def equinox_lstm() -> tuple[Any, Run, int]:
    return _equinox("LSTMCell", 2)


def equinox_gru() -> tuple[Any, Run, int]:
    return _equinox("GRUCell", 1)


def _equinox(name: str, states: int) -> tuple[Any, Run, int]:
    import equinox as eqx

    cell = getattr(eqx.nn, name)(D, H, dtype=jnp.float64, key=jax.random.key(0))
    names = ["weight_ih", "weight_hh", "bias", *(["bias_n"] if states == 1 else [])]
    weights = {n: getattr(cell, n) for n in names}

    def run(weights, state, xs):
        new = [weights[n] for n in names]
        model = eqx.tree_at(lambda m: [getattr(m, n) for n in names], cell, new)

        def step(state, x):
            state = jax.vmap(model)(x, state if states == 2 else state[0])
            state = state if states == 2 else (state,)
            return state, state[0]

        state, ys = jax.lax.scan(step, state, xs)
        return ys, state

    return weights, run, states


def haiku_vanilla() -> tuple[Any, Run, int]:
    return _haiku(lambda hk: hk.VanillaRNN(H), 1)


def haiku_lstm() -> tuple[Any, Run, int]:
    return _haiku(lambda hk: hk.LSTM(H), 2)


def haiku_gru() -> tuple[Any, Run, int]:
    return _haiku(lambda hk: hk.GRU(H), 1)


def haiku_conv() -> tuple[Any, Run, int]:
    return _haiku(lambda hk: hk.Conv2DLSTM(IMAGES, FILTERS, KERNEL), 2, PICTURES)


def _haiku(make: Callable[[Any], Any], states: int, sizes: Any = VECTORS) -> tuple[Any, Run, int]:
    import haiku as hk

    def one(x, state):
        given = hk.LSTMState(*state) if states == 2 else state[0]
        y, state = make(hk)(x, given)
        return y, tuple(state) if states == 2 else (state,)

    model = hk.without_apply_rng(hk.transform(one))
    zeros = tuple(jnp.zeros((B, *sizes[1])) for _ in range(states))
    params = model.init(jax.random.key(0), jnp.zeros((B, *sizes[0])), zeros)
    weights = {f"{m}.{leaf}": w for m, leaves in params.items() for leaf, w in leaves.items()}

    def run(weights, state, xs):
        params = {}
        for name, w in weights.items():
            module, leaf = name.rsplit(".", 1)
            params.setdefault(module, {})[leaf] = w
        state, ys = jax.lax.scan(lambda s, x: model.apply(params, x, s)[::-1], state, xs)
        return ys, state

    return weights, run, states


# Keras on JAX computes its own tanh of float64 in float32.


def keras_simple() -> tuple[Any, Run, int]:
    return _keras("SimpleRNN", 1, activation="relu")


def keras_lstm() -> tuple[Any, Run, int]:
    return _keras("LSTM", 2, activation=jnp.tanh)


def keras_gru_after() -> tuple[Any, Run, int]:
    return _keras("GRU", 1, reset_after=True, activation=jnp.tanh)


def keras_gru_before() -> tuple[Any, Run, int]:
    return _keras("GRU", 1, reset_after=False, activation=jnp.tanh)


def keras_conv() -> tuple[Any, Run, int]:
    options = {"kernel_size": KERNEL, "padding": "same", "recurrent_activation": "sigmoid"}
    return _keras("ConvLSTM2D", 2, PICTURES, activation=jnp.tanh, **options)


def _keras(name: str, states: int, sizes: Any = VECTORS, **options: Any) -> tuple[Any, Run, int]:
    import keras

    layer = getattr(keras.layers, name)(
        sizes[1][-1], return_sequences=True, return_state=True, dtype="float64", **options
    )
    layer.build((None, None, *sizes[0]))
    weights = {v.name: v.value for v in layer.trainable_variables}
    names = list(weights)  # in their order, which JAX's trees of dicts do not keep

    def run(weights, state, xs):
        fixed = [v.value for v in layer.non_trainable_variables]
        (ys, *last), _ = layer.stateless_call(
            [weights[n] for n in names], fixed, jnp.swapaxes(xs, 0, 1), initial_state=list(state)
        )
        return jnp.swapaxes(ys, 0, 1), tuple(last)

    return weights, run, states


CASES = {
    "equinox": {"lstm": equinox_lstm, "gru": equinox_gru},
    "haiku": {
        "vanilla": haiku_vanilla,
        "lstm": haiku_lstm,
        "gru": haiku_gru,
        "conv": haiku_conv,
    },
    "keras": {
        "simple": keras_simple,
        "lstm": keras_lstm,
        "gru_after": keras_gru_after,
        "gru_before": keras_gru_before,
        "conv": keras_conv,
    },
}
SECOND_BIASES = ("linear_1.b", "hidden_to_hidden.b")


def weight_of(value: Any, index: int) -> np.ndarray:
    """Fixed weights of the cost, different for every entry of every leaf."""
    return np.cos(np.arange(value.size) + 1.3 * index).reshape(value.shape)


def make(case: Callable[[], tuple[Any, Run, int]], seed: int) -> dict[str, np.ndarray]:
    """Everything that one case gives, by name."""
    weights, run, states = case()
    sizes = PICTURES if case.__name__.endswith("conv") else VECTORS
    rng = np.random.default_rng(seed)
    weights = {n: jnp.asarray(0.6 * rng.standard_normal(w.shape)) for n, w in weights.items()}
    xs = jnp.asarray(rng.standard_normal((T, B, *sizes[0])))
    state = tuple(jnp.asarray(rng.standard_normal((B, *sizes[1]))) for _ in range(states))

    def cost(weights, state, xs):
        ys, last = run(weights, state, xs)
        values = (ys, *last)
        return sum((weight_of(v, k) * v).sum() for k, v in enumerate(values)), values

    grad = jax.grad(cost, (0, 1, 2), has_aux=True)
    (weights_ct, state_ct, xs_ct), (ys, *last) = grad(weights, state, xs)
    for name, ct in weights_ct.items():
        if name.endswith(SECOND_BIASES):
            weights_ct[name] = ct * 0
        if name == "bias" and ct.ndim == 2:  # a GRU's of Keras: z, r, h
            weights_ct[name] = ct.at[1, : 2 * H].set(0)
    found = {"xs": xs, "ys": ys, "xs_ct": xs_ct}
    for name, values in (("state", state), ("last", last), ("state_ct", state_ct)):
        found |= {f"{name}:{k}": v for k, v in enumerate(values)}
    found |= {f"weight:{n}": w for n, w in weights.items()}
    found |= {f"weight_ct:{n}": w for n, w in weights_ct.items()}
    return {n: np.asarray(v) for n, v in found.items()}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for framework, cases in CASES.items():
        arrays = {
            f"{name}|{key}": value
            for seed, (name, case) in enumerate(cases.items(), 3)
            for key, value in make(case, seed).items()
        }
        np.savez_compressed(HERE / f"{framework}.npz", **arrays)
