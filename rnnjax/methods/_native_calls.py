"""The compiled kernels as JAX functions: loading, the table of cells, FFI calls, `vmap` rules.

Optional arrays are None here and are passed to the kernels with no elements. A `vmap` over data
is folded into the batch; one over weights becomes a loop.
"""

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.cells.linear_algebra import sum_bias, sum_outer

_MODULE = "rnnjax.methods._kernels"
_VERSION = 2  # rnnjax_version() of kernels/ffi.cc
_TARGETS = (
    "rnnjax_forward",
    "rnnjax_backward",
    "rnnjax_weight_gradients",
    "rnnjax_input_gradients",
)


class CompiledCell(NamedTuple):
    """One line of the library's table of cells (kernels/cells.def); see kernels/cells.h."""

    name: str
    position: int  # its index in the table
    gates: int  # G, the blocks of H columns in w_x and w_h
    tape: int  # blocks of H numbers saved at every step, besides h_{t-1} and c_{t-1}
    recurrent_offset: int  # the first block of δ that is an error at h_{t-1} W_h
    extra: int  # E, the vectors of H weights that act on one hidden unit each
    has_c: bool  # the carry has a cell state c


class _CellTraits(ctypes.Structure):
    """`CellTraits` of kernels/kernels.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("gates", ctypes.c_int64),
        ("tape", ctypes.c_int64),
        ("recurrent_offset", ctypes.c_int64),
        ("extra", ctypes.c_int64),
        ("has_c", ctypes.c_bool),
    )


class Spec(NamedTuple):
    """The static arguments of a call."""

    cell: CompiledCell
    reverse: bool


class Weights(NamedTuple):
    """The params of a compiled cell, in the order of their fields."""

    w_x: Array  # [D, G H]
    w_h: Array  # [H, G H]
    b: Array  # [G H]
    extra: Array | None = None  # [E H]; None if the cell has E = 0


class State(NamedTuple):
    h: Array  # [B, H]
    c: Array | None  # [B, H]


class Flags(NamedTuple):
    """Valid steps and restarts, as `rnnjax.unroll` and `mask` define them."""

    lengths: Array | None  # [B] int32
    begins: Array | None  # [T, B] bool


class Inputs(NamedTuple):
    """The data of the forward kernel: all that is not a weight."""

    xs: Array  # [T, B, D]
    carry: State
    fresh: State | None  # None without `begins`
    flags: Flags


class Tape(NamedTuple):
    """Saved by the forward kernel for the backward kernel."""

    gates: Array  # [T, B, tape H]
    h_tm1: Array  # [T, B, H]
    c_tm1: Array | None  # [T, B, H]


class Cotangents(NamedTuple):
    """∂C/∂ of what the forward kernel returns."""

    ys: Array  # [T, B, H]
    carry: State


class Errors(NamedTuple):
    """What the backward loop returns."""

    delta: Array  # [T, B, tape H] ∂C/∂z_t, in the layout that `backward` in cells.h writes
    carry: State
    fresh: State | None  # None without `begins`
    extra: Array  # [B, E H] ∂C/∂extra, to be summed over the batch


class _Library(NamedTuple):
    """The loaded extension, or why it could not be loaded."""

    missing: str | None = None
    instruction_set: str | None = None
    cells: Mapping[str, CompiledCell] = MappingProxyType({})


@functools.cache
def _load() -> _Library:
    """Load the extension, register its kernels with XLA and read its table of cells."""
    if os.environ.get("RNNJAX_NATIVE") == "0":
        return _Library(
            "the environment variable RNNJAX_NATIVE=0 switches the compiled kernels off"
        )
    try:
        library = _open()
        if library.rnnjax_version() != _VERSION:
            return _Library("the compiled kernels are of another version. Install rnnjax again")
        for name in _TARGETS:
            capsule = jax.ffi.pycapsule(getattr(library, name))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
        instruction_set = library.rnnjax_instruction_set().decode()
        return _Library(None, instruction_set, _read_cells(library))
    except FileNotFoundError:
        return _Library(
            "the compiled kernels are not installed: they need a C++17 compiler (g++ or clang++) "
            "when rnnjax is installed. Install it again with `pip install -v` to see what the "
            "compiler says"
        )
    except (OSError, AttributeError, RuntimeError) as error:
        return _Library(f"the compiled kernels could not be loaded: {error}. Reinstall rnnjax")


def _open() -> ctypes.CDLL:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(_MODULE)
    library = ctypes.CDLL(spec.origin)
    library.rnnjax_version.restype = ctypes.c_int64
    library.rnnjax_instruction_set.restype = ctypes.c_char_p
    library.rnnjax_cell.argtypes = [ctypes.c_int64]
    library.rnnjax_cell.restype = ctypes.POINTER(_CellTraits)
    return library


def _read_cells(library: ctypes.CDLL) -> Mapping[str, CompiledCell]:
    cells: dict[str, CompiledCell] = {}
    while line := library.rnnjax_cell(len(cells)):
        traits = line.contents
        name = traits.name.decode()
        sizes = (traits.gates, traits.tape, traits.recurrent_offset, traits.extra)
        cells[name] = CompiledCell(name, len(cells), *sizes, traits.has_c)
    return MappingProxyType(cells)


def compiled_cells() -> Mapping[str, CompiledCell]:
    """The library's table of compiled cells, by name; empty if it cannot be loaded."""
    return _load().cells


def instruction_set() -> str | None:
    """The instruction set of the kernels that run here: "avx512", "avx2" or "portable".

    None where `native()` is unavailable. It is the best that the CPU supports, or the lesser one
    that the environment variable RNNJAX_NATIVE_ISA names.
    """
    return None if why_not() is not None else _load().instruction_set


def why_not() -> str | None:
    """The reason why the kernels cannot run on this machine; None if they can."""
    if sys.byteorder != "little":
        return "the kernels are for little-endian machines"
    if jax.default_backend() != "cpu":
        return f"the kernels are for CPUs and JAX's default device is a {jax.default_backend()}"
    return _load().missing


def _struct(like: Array, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, like.dtype)


def _or_empty(x: Array | None, like: Array, *shape: int) -> Array:
    return jnp.zeros(shape, like.dtype) if x is None else x


def _call(
    name: str,
    outputs: Any,
    cell: CompiledCell,
    *operands: Array,
    aliases: dict[int, int] | None = None,
    **options: Any,
) -> Any:
    call = jax.ffi.ffi_call(name, outputs, input_output_aliases=aliases)
    return call(*operands, cell=cell.position, **options)


def _flag_operands(flags: Flags) -> tuple[Array, Array]:
    lengths = jnp.zeros(0, jnp.int32) if flags.lengths is None else flags.lengths
    return lengths, jnp.zeros(0, bool) if flags.begins is None else flags.begins


def forward(
    spec: Spec, save: bool, weights: Weights, inputs: Inputs
) -> tuple[State, Array, Tape | None]:
    """Run the whole sequence: the final carry, ys [T, B, H], and the tape if `save`."""

    def run(weights: Weights, inputs: Inputs) -> tuple[State, Array, Tape | None]:
        xs, carry, fresh, flags = inputs
        (T, B, _), H = xs.shape, weights.w_h.shape[0]
        fresh = State(None, None) if fresh is None else fresh  # pyright: ignore
        states = (carry.h, _or_empty(carry.c, xs, 0, H), _or_empty(fresh.h, xs, 0))
        states = (*states, _or_empty(fresh.c, xs, 0), *_flag_operands(flags))
        has_c = spec.cell.has_c
        shapes = [(T, B, H), (B, H), (B if has_c else 0, H)]
        shapes += [(T, B, spec.cell.tape * H) if save else (0,), (T, B, H) if save else (0,)]
        shapes += [(T, B, H) if save and has_c else (0,)]
        ys, h, c, gates, h_tm1, c_tm1 = _call(
            "rnnjax_forward",
            tuple(_struct(xs, *shape) for shape in shapes),
            spec.cell,
            xs,
            *weights[:3],
            _or_empty(weights.extra, xs, 0),
            *states,
            reverse=spec.reverse,
        )
        tape = Tape(gates, h_tm1, c_tm1 if has_c else None) if save else None
        return State(h, c if has_c else None), ys, tape

    return _batched(run, _fold_inputs, _unfold_outputs)(weights, inputs)


def backward(
    spec: Spec, weights: Weights, tape: Tape, cotangents: Cotangents, flags: Flags
) -> Errors:
    """Backpropagate through the whole sequence: δ = ∂C/∂z_t overwrites the tape's gates."""

    def run(weights: tuple[Array, Array | None], data: tuple[Tape, Cotangents, Flags]) -> Errors:
        w_h, extra = weights
        tape, (ys_ct, carry_ct), flags = data
        _, B, H = ys_ct.shape
        has_c = spec.cell.has_c
        c_shape = (B if has_c else 0, H)
        restarts = flags.begins is not None
        shapes = [tape.gates.shape, (B, H), c_shape, (B, H) if restarts else (0,)]
        shapes += [c_shape if restarts and has_c else (0,), (B, spec.cell.extra * H)]
        delta, h, c, h_fresh, c_fresh, extra_ct = _call(
            "rnnjax_backward",
            tuple(_struct(ys_ct, *shape) for shape in shapes),
            spec.cell,
            w_h,
            _or_empty(extra, ys_ct, 0),
            tape.gates,
            tape.h_tm1,
            _or_empty(tape.c_tm1, ys_ct, 0, B, H),
            ys_ct,
            carry_ct.h,
            _or_empty(carry_ct.c, ys_ct, 0, H),
            *_flag_operands(flags),
            aliases={2: 0},  # δ takes the place of the gates
            reverse=spec.reverse,
        )

        def state(h: Array, c: Array) -> State:
            return State(h, c if has_c else None)

        fresh = state(h_fresh, c_fresh) if restarts else None
        return Errors(delta, state(h, c), fresh, extra_ct)

    run_batched = _batched(run, _fold_errors, _unfold_errors)
    return run_batched((weights.w_h, weights.extra), (tape, cotangents, flags))


def weight_gradients(
    spec: Spec, xs: Array, h_tm1: Array, delta: Array
) -> tuple[Array, Array, Array]:
    """∂C/∂(w_x, w_h, b) from xs [N, D], h_tm1 [N, H] and the errors [N, tape H], with N = T B."""

    @jax.custom_batching.custom_vmap
    def call(xs: Array, h_tm1: Array, delta: Array) -> tuple[Array, Array, Array]:
        (_, D), H = xs.shape, h_tm1.shape[1]
        GH = spec.cell.gates * H
        outputs = tuple(_struct(xs, *shape) for shape in [(D, GH), (H, GH), (GH,)])
        return _call("rnnjax_weight_gradients", outputs, spec.cell, xs, h_tm1, delta)

    def portable(xs: Array, h_tm1: Array, delta: Array) -> tuple[Array, Array, Array]:
        # dW_x = Σ_n x_nᵀ δ_n,   dW_h = Σ_n h_{n-1}ᵀ δ_n,   db = Σ_n δ_n
        at_x, at_h = _delta_at_input(spec.cell, delta), _delta_at_recurrent(spec.cell, delta)
        return sum_outer(xs, at_x), sum_outer(h_tm1, at_h), sum_bias(at_x)

    return _mapped_by(call, portable)(xs, h_tm1, delta)


def input_gradients(spec: Spec, w_x: Array, delta: Array) -> Array:
    """∂C/∂x [N, D] = δ W_xᵀ, from the errors [N, tape H]."""

    @jax.custom_batching.custom_vmap
    def call(w_x: Array, delta: Array) -> Array:
        outputs = _struct(delta, delta.shape[0], w_x.shape[0])
        return _call("rnnjax_input_gradients", outputs, spec.cell, w_x, delta)

    def portable(w_x: Array, delta: Array) -> Array:
        return _delta_at_input(spec.cell, delta) @ w_x.T

    return _mapped_by(call, portable)(w_x, delta)


def _delta_at_input(cell: CompiledCell, delta: Array) -> Array:
    """The errors at x W_x in the order of the gates: the first G blocks, rotated."""
    hidden = delta.shape[-1] // cell.tape
    return jnp.roll(delta[..., : cell.gates * hidden], -cell.recurrent_offset * hidden, axis=-1)


def _delta_at_recurrent(cell: CompiledCell, delta: Array) -> Array:
    """The errors at h_{t-1} W_h in the order of the gates: G blocks from `recurrent_offset`."""
    hidden, first = delta.shape[-1] // cell.tape, cell.recurrent_offset
    return delta[..., first * hidden : (first + cell.gates) * hidden]


def _mapped_by(call: Any, portable: Callable[..., Any]) -> Callable[..., Any]:
    """Give `call` a `vmap` rule: XLA's batched product instead of one kernel call per element."""

    @call.def_vmap
    def rule(size: int, mapped: Any, *operands: Array) -> tuple[Any, Any]:
        del size
        out = jax.vmap(portable, [0 if m else None for m in mapped])(*operands)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _batched(
    run: Callable[..., Any], fold: Callable[[Any], Any], unfold: Callable[[Any, int], Any]
) -> Callable[..., Any]:
    """Give `run(weights, data)` a `vmap` rule: data folds into the batch, weights become a loop."""

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
            broadcast = jax.tree.map(
                lambda x, m: x if m else jnp.broadcast_to(x, (size, *x.shape)), data, data_mapped
            )
            out = unfold(call(weights, fold(broadcast)), size)
        return out, jax.tree.map(lambda _: True, out)

    return call


def _merge_batch(x: Array, axis: int) -> Array:
    """Merge axis 0, that of a vmap, into the batch axis `axis` of the unmapped array."""
    x = jnp.moveaxis(x, 0, axis)
    size = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], size, *x.shape[axis + 2 :])


def _split_batch(x: Array, axis: int, size: int) -> Array:
    """Inverse of `_merge_batch`: split the vmapped axis off the batch axis, as axis 0."""
    x = x.reshape(*x.shape[:axis], size, x.shape[axis] // size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


def _fold(tree: Any, axis: int) -> Any:
    return jax.tree.map(lambda x: _merge_batch(x, axis), tree)


def _unfold(tree: Any, axis: int, size: int) -> Any:
    return jax.tree.map(lambda x: _split_batch(x, axis, size), tree)


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
    delta, *others = errors
    return Errors(_unfold(delta, 1, size), *(_unfold(other, 0, size) for other in others))
