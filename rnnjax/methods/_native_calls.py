"""The calls into the compiled kernels as JAX functions.

Arrays that a call does not have are None here and empty on the other side. Data that is mapped
over by `vmap` folds into the batch; mapped weights run one after the other.
"""

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.cells.linear_algebra import sum_bias, sum_outer

KERNELS = ("vanilla_tanh", "vanilla_relu", "lstm", "lstm_1997", "gru")  # the order of RNNJAX_CELLS
_MODULE = "rnnjax.methods._kernels"
_VERSION = 1  # rnnjax_version() of kernels/ffi.cc
_TARGETS = (
    "rnnjax_forward",
    "rnnjax_backward",
    "rnnjax_weight_gradients",
    "rnnjax_input_gradients",
)


class Spec(NamedTuple):
    """All that is not an array."""

    kernel: str
    reverse: bool

    @property
    def has_c(self) -> bool:
        return self.kernel.startswith("lstm")

    @property
    def gates(self) -> int:
        """Blocks of H columns in the weights."""
        return {"lstm": 4, "lstm_1997": 3, "gru": 3}.get(self.kernel, 1)

    @property
    def tape(self) -> int:
        """Blocks of H numbers that are saved at every step beside h_{t-1} and c_{t-1}."""
        return {"lstm": 4, "lstm_1997": 3, "gru": 4}.get(self.kernel, 1)


class Weights(NamedTuple):
    w_x: Array  # [D, G H]
    w_h: Array  # [H, G H]
    b: Array  # [G H]
    b_hn: Array | None = None  # [H], the GRU's


class State(NamedTuple):
    h: Array  # [B, H]
    c: Array | None  # [B, H]


class Flags(NamedTuple):
    lengths: Array | None  # [B] int32
    begins: Array | None  # [T, B] bool


class Inputs(NamedTuple):
    xs: Array  # [T, B, D]
    carry: State
    fresh: State | None  # None without `begins`
    flags: Flags


class Tape(NamedTuple):
    """What the backward kernel reads."""

    gates: Array  # [T, B, tape H]
    h_tm1: Array  # [T, B, H]
    c_tm1: Array | None  # [T, B, H]


class Cotangents(NamedTuple):
    ys: Array  # [T, B, H]
    carry: State


class Errors(NamedTuple):
    """∂C/∂z_t of every step, in the layout that `Cell::backward` of cells.h writes."""

    delta: Array  # [T, B, tape H]
    carry: State
    fresh: State | None


def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(_MODULE)
    return ctypes.CDLL(spec.origin)


@functools.cache
def _load() -> str | None:
    """Register the kernels with XLA; why that is impossible, or None."""
    if os.environ.get("RNNJAX_NATIVE") == "0":
        return "the environment variable RNNJAX_NATIVE=0 switches the compiled kernels off"
    try:
        library = _library()
        if library.rnnjax_version() != _VERSION:
            return "the compiled kernels are of another version. Install rnnjax again"
        for name in _TARGETS:
            capsule = jax.ffi.pycapsule(getattr(library, name))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except FileNotFoundError:
        return (
            "the compiled kernels are not installed: they need a C++17 compiler (g++ or clang++) "
            "when rnnjax is installed. Install it again with `pip install -v` to see what the "
            "compiler says"
        )
    except (OSError, AttributeError, RuntimeError) as error:
        return f"the compiled kernels could not be loaded: {error}. Reinstall rnnjax"
    return None


def instruction_set() -> str | None:
    """Which of its builds `native()` runs here: "avx512", "avx2" or "portable"; None without them.

    The environment variable RNNJAX_NATIVE_ISA asks for a lesser one than the machine's best.
    """
    if why_not() is not None:
        return None
    library = _library()
    library.rnnjax_instruction_set.restype = ctypes.c_char_p
    return library.rnnjax_instruction_set().decode()


def why_not() -> str | None:
    """Why the kernels cannot run here; None if they can."""
    if sys.byteorder != "little":
        return "the kernels are for little-endian machines"
    if jax.default_backend() != "cpu":
        return f"the kernels are for CPUs and JAX's default device is a {jax.default_backend()}"
    return _load()


def _struct(like: Array, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, like.dtype)


def _or_empty(x: Array | None, like: Array, *shape: int) -> Array:
    return jnp.zeros(shape, like.dtype) if x is None else x


def _call(
    name: str, outputs: Any, aliases: dict[int, int], kernel: str, *operands: Array, **options: Any
) -> Any:
    call = jax.ffi.ffi_call(name, outputs, input_output_aliases=aliases)
    return call(*operands, cell=KERNELS.index(kernel), **options)


def _flag_operands(flags: Flags) -> tuple[Array, Array]:
    lengths = jnp.zeros(0, jnp.int32) if flags.lengths is None else flags.lengths
    return lengths, jnp.zeros(0, bool) if flags.begins is None else flags.begins


def forward(
    spec: Spec, save: bool, weights: Weights, inputs: Inputs
) -> tuple[State, Array, Tape | None]:
    """Run the whole sequence: the last carry, ys [T, B, H], and the tape if asked to `save`."""

    def run(weights: Weights, inputs: Inputs) -> tuple[State, Array, Tape | None]:
        xs, carry, fresh, flags = inputs
        (T, B, _), H = xs.shape, weights.w_h.shape[0]
        fresh = State(None, None) if fresh is None else fresh  # pyright: ignore
        states = (carry.h, _or_empty(carry.c, xs, 0, H), _or_empty(fresh.h, xs, 0))
        states = (*states, _or_empty(fresh.c, xs, 0), *_flag_operands(flags))
        has_c = spec.has_c
        shapes = [(T, B, H), (B, H), (B if has_c else 0, H)]
        shapes += [(T, B, spec.tape * H) if save else (0,), (T, B, H) if save else (0,)]
        shapes += [(T, B, H) if save and has_c else (0,)]
        ys, h, c, gates, h_tm1, c_tm1 = _call(
            "rnnjax_forward",
            tuple(_struct(xs, *shape) for shape in shapes),
            {},
            spec.kernel,
            xs,
            *weights[:3],
            _or_empty(weights.b_hn, xs, 0),
            *states,
            reverse=spec.reverse,
        )
        tape = Tape(gates, h_tm1, c_tm1 if has_c else None) if save else None
        return State(h, c if has_c else None), ys, tape

    return _batched(run, _fold_inputs, _unfold_outputs)(weights, inputs)


def backward(spec: Spec, w_h: Array, tape: Tape, cotangents: Cotangents, flags: Flags) -> Errors:
    """Run back in time, writing the errors over the tape's gates."""

    def run(w_h: Array, data: tuple[Tape, Cotangents, Flags]) -> Errors:
        tape, (ys_ct, carry_ct), flags = data
        _, B, H = ys_ct.shape
        c_shape = (B if spec.has_c else 0, H)
        restarts = flags.begins is not None
        shapes = [tape.gates.shape, (B, H), c_shape, (B, H) if restarts else (0,)]
        shapes += [c_shape if restarts and spec.has_c else (0,)]
        delta, h, c, h_fresh, c_fresh = _call(
            "rnnjax_backward",
            tuple(_struct(ys_ct, *shape) for shape in shapes),
            {1: 0},
            spec.kernel,
            w_h,
            tape.gates,
            tape.h_tm1,
            _or_empty(tape.c_tm1, ys_ct, 0, B, H),
            ys_ct,
            carry_ct.h,
            _or_empty(carry_ct.c, ys_ct, 0, H),
            *_flag_operands(flags),
            reverse=spec.reverse,
        )

        def state(h: Array, c: Array) -> State:
            return State(h, c if spec.has_c else None)

        return Errors(delta, state(h, c), state(h_fresh, c_fresh) if restarts else None)

    return _batched(run, _fold_errors, _unfold_errors)(w_h, (tape, cotangents, flags))


def weight_gradients(spec: Spec, xs: Array, h_tm1: Array, delta: Array) -> Weights:
    """∂C/∂weights from xs [N, D], h_tm1 [N, H] and the errors [N, tape H] of N = T B steps."""

    @jax.custom_batching.custom_vmap
    def call(xs: Array, h_tm1: Array, delta: Array) -> Weights:
        (_, D), H = xs.shape, h_tm1.shape[1]
        G = spec.gates
        shapes = [(D, G * H), (H, G * H), (G * H,), (H if spec.kernel == "gru" else 0,)]
        outputs = tuple(_struct(xs, *shape) for shape in shapes)
        w_x, w_h, b, b_hn = _call(
            "rnnjax_weight_gradients", outputs, {}, spec.kernel, xs, h_tm1, delta
        )
        return Weights(w_x, w_h, b, b_hn if spec.kernel == "gru" else None)

    def portable(xs: Array, h_tm1: Array, delta: Array) -> Weights:
        # dW_x = Σ_n x_nᵀ δ_n,   dW_h = Σ_n h_{n-1}ᵀ δ_n,   db = Σ_n δ_n
        if spec.kernel != "gru":
            return Weights(sum_outer(xs, delta), sum_outer(h_tm1, delta), sum_bias(delta))
        # The GRU's δ_n, δ_r, δ_z, δ_n r: the input meets the first three, h_{t-1} the last.
        H = h_tm1.shape[1]
        at_x, at_h = _gru_at_x(delta, H), delta[..., H:]
        b_hn = sum_bias(delta[..., 3 * H :])
        return Weights(sum_outer(xs, at_x), sum_outer(h_tm1, at_h), sum_bias(at_x), b_hn)

    return _mapped_by(call, portable)(xs, h_tm1, delta)


def input_gradients(spec: Spec, w_x: Array, delta: Array) -> Array:
    """∂C/∂x [N, D] = δ W_xᵀ, from the errors [N, tape H]."""

    @jax.custom_batching.custom_vmap
    def call(w_x: Array, delta: Array) -> Array:
        outputs = _struct(delta, delta.shape[0], w_x.shape[0])
        return _call("rnnjax_input_gradients", outputs, {}, spec.kernel, w_x, delta)

    def portable(w_x: Array, delta: Array) -> Array:
        at_x = _gru_at_x(delta, delta.shape[-1] // 4) if spec.kernel == "gru" else delta
        return at_x @ w_x.T

    return _mapped_by(call, portable)(w_x, delta)


def _gru_at_x(delta: Array, hidden: int) -> Array:
    """δ_r, δ_z, δ_n from δ_n, δ_r, δ_z, δ_n r."""
    return jnp.roll(delta[..., : 3 * hidden], -hidden, axis=-1)


def _mapped_by(call: Any, portable: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, except under `vmap`: one XLA product for all is then better than one call each."""

    @call.def_vmap
    def rule(size: int, mapped: Any, *operands: Array) -> tuple[Any, Any]:
        del size
        out = jax.vmap(portable, [0 if m else None for m in mapped])(*operands)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _batched(
    run: Callable[..., Any], fold: Callable[[Any], Any], unfold: Callable[[Any, int], Any]
) -> Callable[..., Any]:
    """`run(weights, data)` that folds a `vmap` over data into the batch."""

    @jax.custom_batching.custom_vmap
    def call(weights: Any, data: Any) -> Any:
        return run(weights, data)

    @call.def_vmap
    def rule(size: int, mapped: Any, weights: Any, data: Any) -> tuple[Any, Any]:
        weights_mapped, data_mapped = mapped
        given, flags = (weights, data), (weights_mapped, data_mapped)
        if size == 0:
            one = jax.tree.map(lambda x, m: _struct(x, *x.shape[int(m) :]), given, flags)
            shapes = jax.eval_shape(lambda pair: run(*pair), one)
            out = jax.tree.map(lambda s: jnp.zeros((0, *s.shape), s.dtype), shapes)
        elif any(jax.tree.leaves(weights_mapped)):

            def at(index: Array) -> Any:
                return call(*jax.tree.map(lambda x, m: x[index] if m else x, given, flags))

            out = jax.lax.map(at, jnp.arange(size))
        else:
            spread = jax.tree.map(
                lambda x, m: x if m else jnp.broadcast_to(x, (size, *x.shape)), data, data_mapped
            )
            out = unfold(call(weights, fold(spread)), size)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _in(x: Array, axis: int) -> Array:
    """Axis 0, that of a vmap, to the front of the batch axis, and both into one."""
    x = jnp.moveaxis(x, 0, axis)
    size = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], size, *x.shape[axis + 2 :])


def _out(x: Array, axis: int, size: int) -> Array:
    """The other way round."""
    x = x.reshape(*x.shape[:axis], size, x.shape[axis] // size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


def _fold(tree: Any, axis: int) -> Any:
    return jax.tree.map(lambda x: _in(x, axis), tree)


def _unfold(tree: Any, axis: int, size: int) -> Any:
    return jax.tree.map(lambda x: _out(x, axis, size), tree)


def _fold_flags(flags: Flags) -> Flags:
    return Flags(_fold(flags.lengths, 0), _fold(flags.begins, 1))


def _fold_inputs(inputs: Inputs) -> Inputs:
    xs, carry, fresh, flags = inputs
    return Inputs(_fold(xs, 1), _fold(carry, 0), _fold(fresh, 0), _fold_flags(flags))


def _unfold_outputs(outputs: Any, size: int) -> Any:
    carry, ys, tape = outputs
    return _unfold(carry, 0, size), _unfold(ys, 1, size), _unfold(tape, 1, size)


def _fold_errors(data: Any) -> Any:
    tape, (ys_ct, carry_ct), flags = data
    return _fold(tape, 1), Cotangents(_fold(ys_ct, 1), _fold(carry_ct, 0)), _fold_flags(flags)


def _unfold_errors(errors: Errors, size: int) -> Errors:
    delta, carry, fresh = errors
    return Errors(_unfold(delta, 1, size), _unfold(carry, 0, size), _unfold(fresh, 0, size))
