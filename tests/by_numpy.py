"""Trace a program as `jax.jit` does, and evaluate it by NumPy instead of compiling it.

XLA takes some 100 ms to compile a loop over tiny arrays, and op by op Python differentiates the
body of the loop again at every step. Here the body is traced once, as for XLA, and NumPy runs what
was traced in microseconds. Primitives that NumPy does not serve, such as kernels, run as always.
"""

import functools
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gather_by_numpy import scatter, scatter_add
from jax.extend.core import ClosedJaxpr, Literal
from op_by_op import TABLE, is_plain

KNOWN = version("jax").startswith(("0.10.", "0.12."))  # of whose inside the tests make use


def evaluated(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit(function)` by NumPy."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        program, out = jax.make_jaxpr(function, return_shape=True)(*args, **kwargs)
        leaves = evaluate(program, jax.tree.leaves((args, kwargs)))
        return jax.tree.unflatten(jax.tree.structure(out), leaves)

    return call


def evaluate(program: ClosedJaxpr, args: Sequence[Any], alone: bool = False) -> list[Any]:
    """The results of a program; `alone` if it may be how JAX runs one primitive."""
    arrays = [_in(x, v) for x, v in zip(args, program.in_avals, strict=True)]
    with np.errstate(all="ignore"):
        results = _run(program, arrays, alone and len(program.jaxpr.eqns) == 1)
        return [*map(_to_jax, results, program.out_avals)]


@functools.cache  # by identity
def executions(jaxpr: Any) -> float:
    """Of primitives when the program runs; infinite where NumPy serves too little of it."""
    others: set[str] = set()
    total = _executions_in(jaxpr, others)
    return total if len(others) <= _OTHERS else np.inf


def forget() -> None:
    """Let go of the programs that were met."""
    executions.cache_clear()
    _prepared.cache_clear()


class LeftToJax(Exception):  # noqa: N818
    """Raised where a program is one primitive that NumPy does not serve, as JAX runs it alone."""


_SIZE = 1 << 14  # numbers in an array that takes as long as one execution
_LARGEST = 1 << 18  # numbers in an array
_TURNS = 20  # of a loop that ends when it likes
_OTHERS = 3  # primitives that JAX runs: each is a program of its own
_DEAR = 50  # executions that one by JAX is worth


def _executions_in(jaxpr: Any, others: set[str]) -> float:
    atoms = [*jaxpr.invars, *jaxpr.constvars, *(v for e in jaxpr.eqns for v in e.outvars)]
    if jaxpr.effects or not all(_is_small(v.aval) for v in atoms):
        return np.inf
    return sum(_executions_of(equation, others) for equation in jaxpr.eqns)


def _is_small(aval: Any) -> bool:
    return (
        isinstance(aval, jax.core.ShapedArray)
        and (is_plain(aval.dtype) or _is_bfloat16(aval.dtype) or _is_key(aval))
        and aval.size <= _LARGEST
    )


def _is_key(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jax.dtypes.prng_key)


def _executions_of(equation: Any, others: set[str]) -> float:
    primitive, params = equation.primitive, equation.params

    def inside(key: str) -> float:
        return _executions_in(getattr(params[key], "jaxpr", params[key]), others)

    if _numpys(primitive) is not None:
        return max(1, *(v.aval.size / _SIZE for v in (*equation.invars, *equation.outvars)))
    match primitive.name:
        case "random_bits":
            return 1
        case "scan":
            return params["length"] * inside("jaxpr")
        case "while":
            return _TURNS * (inside("cond_jaxpr") + inside("body_jaxpr"))
        case "cond":
            return max(_executions_in(branch.jaxpr, others) for branch in params["branches"])
        case name if name == "rnnjax_linear_map" or name.startswith("random_"):
            return _DEAR
        case name if name in _INNER:
            return inside(_INNER[name])
    if any(hasattr(x, "eqns") or hasattr(x, "jaxpr") or callable(x) for x in params.values()):
        return np.inf
    others.add(primitive.name)
    return _DEAR


def _numpys(primitive: Any) -> Callable[..., Any] | None:
    return TABLE.get(primitive) or _MORE.get(primitive.name)


def _is_bfloat16(dtype: Any) -> bool:
    return dtype == jnp.bfloat16


def _in(x: Any, aval: Any) -> Any:
    is_numpys = is_plain(aval.dtype) or _is_bfloat16(aval.dtype)
    return np.asarray(x, aval.dtype, order="C") if is_numpys else x


def _in_float32(function: Callable[..., Any], avals: Any) -> Callable[..., Any]:
    """`function` on bfloat16, each result rounded, as XLA does it on CPUs."""

    def rounded(*operands: Any, **params: Any) -> Any:
        wide = [x.astype(np.float32) if _is_bfloat16(x.dtype) else x for x in operands]
        results = function(*wide, **params)
        many = isinstance(results, list)
        if results is None:
            return None
        each = zip(results if many else [results], avals, strict=True)
        narrow = [np.asarray(x, v.dtype) for x, v in each]
        return narrow if many else narrow[0]

    return rounded


def _to_jax(x: Any, aval: Any) -> Any:
    return _put(np.array(x, order="C"), aval) if isinstance(x, np.ndarray | np.generic) else x


def _placing() -> Callable[[np.ndarray, Any], Any]:
    """`jax.device_put` in 6 µs instead of 100, by what it ends in."""
    if not KNOWN:
        return lambda x, aval: jax.device_put(x)
    from jax._src.interpreters.pxla import batched_device_put

    lying_on = functools.cache(jax.sharding.SingleDeviceSharding)

    def put(x: np.ndarray, aval: Any) -> Any:
        device = jax.config.jax_default_device or jax.local_devices()[0]
        is_narrower = x.itemsize > 4 and not jax.config.jax_enable_x64
        is_numpys = is_plain(x.dtype) or _is_bfloat16(x.dtype)
        if is_narrower or not is_numpys or not isinstance(device, jax.Device):
            return jax.device_put(x)
        aval = jax.core.ShapedArray(x.shape, x.dtype, weak_type=aval.weak_type)
        return batched_device_put(aval, lying_on(device), [x], [device], committed=False)

    return put


_put = _placing()


def _run(program: ClosedJaxpr, args: Sequence[Any], alone: bool = False) -> list[Any]:
    jaxpr = program.jaxpr
    consts = [_in(x, v.aval) for x, v in zip(program.consts, jaxpr.constvars, strict=True)]
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    literals, functions = _prepared(jaxpr)
    values.update(literals)
    for equation, function in zip(jaxpr.eqns, functions, strict=True):
        operands = [values[id(x) if isinstance(x, Literal) else x] for x in equation.invars]
        results = _results(equation, function, operands, alone)
        values.update(zip(equation.outvars, results, strict=True))
    return [values[id(x) if isinstance(x, Literal) else x] for x in jaxpr.outvars]


@functools.cache
def _prepared(jaxpr: Any) -> tuple[dict[int, Any], list[Callable[..., Any] | None]]:
    """The literals by id, and for each equation NumPy's function."""
    atoms = [*jaxpr.outvars, *(x for equation in jaxpr.eqns for x in equation.invars)]
    literals = {id(x): _in(x.val, x.aval) for x in atoms if isinstance(x, Literal)}
    return literals, [*map(_function, jaxpr.eqns)]


def _function(equation: Any) -> Callable[..., Any] | None:
    function, outs = _numpys(equation.primitive), [v.aval for v in equation.outvars]
    if function is None or equation.primitive.name == "convert_element_type":  # rounds by itself
        return function
    avals = [*(x.aval for x in equation.invars), *outs]
    is_narrow = any(_is_bfloat16(aval.dtype) for aval in avals if hasattr(aval, "dtype"))
    return _in_float32(function, outs) if is_narrow else function


def _results(
    equation: Any, function: Callable[..., Any] | None, operands: list[Any], alone: bool
) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if function is not None and all(isinstance(x, np.ndarray | np.generic) for x in operands):
        results = function(*operands, **params)
        if results is not None:
            return results if primitive.multiple_results else [results]
    elif primitive.name in _CONTROL:
        results = _CONTROL[primitive.name](operands, **params)
        if results is not None:
            return results
    elif primitive.name in _INNER:
        return _run(params[_INNER[primitive.name]], operands)
    elif primitive.name == "rnnjax_linear_map":
        return _run(jax.make_jaxpr(params["apply"])(*operands), operands)
    if alone:
        raise LeftToJax
    given = [_to_jax(x, v.aval) for x, v in zip(operands, equation.invars, strict=True)]
    out = primitive.bind(*given, **primitive.get_bind_params(params))
    out = out if primitive.multiple_results else [out]
    return [_in(x, v.aval) for x, v in zip(out, equation.outvars, strict=True)]


# Where the program lies that these run once.
_INNER = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "rnnjax_linear_scan": "body",
    "rnnjax_linear_push": "body",
    "rnnjax_linear_pull": "body",
    "rnnjax_portable_elsewhere": "call",
}


def _scan(operands, *, jaxpr, length, reverse, num_consts=0, num_carry=0, ft_in=None, **_):
    if ft_in is not None:  # since JAX 0.11
        num_consts, num_carry, _ = map(len, ft_in.unpack())
    consts, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]
    xs, made = operands[num_consts + num_carry :], [[]] * length
    for t in range(length)[:: -1 if reverse else 1]:
        out = _run(jaxpr, [*consts, *carry, *(x[t] for x in xs)])
        carry, made[t] = out[:num_carry], out[num_carry:]
    if not length:
        return [*carry, *(jnp.zeros((0, *a.shape), a.dtype) for a in jaxpr.out_avals[num_carry:])]
    return [*carry, *map(_stacked, zip(*made, strict=True))]


def _stacked(ys: Sequence[Any]) -> Any:
    return np.stack(ys) if isinstance(ys[0], np.ndarray | np.generic) else jnp.stack(ys)


def _while(operands, *, cond_jaxpr, cond_nconsts, body_jaxpr, body_nconsts):
    first = cond_nconsts + body_nconsts
    asked, read, carry = operands[:cond_nconsts], operands[cond_nconsts:first], operands[first:]
    while _run(cond_jaxpr, [*asked, *carry])[0]:
        carry = _run(body_jaxpr, [*read, *carry])
    return carry


def _cond(operands, *, branches, **_):
    return _run(branches[min(max(int(operands[0]), 0), len(branches) - 1)], operands[1:])


def _checkpoint(operands, *, jaxpr, **_):
    return _run(ClosedJaxpr(jaxpr, ()), operands)


def _threefry(key_0, key_1, x_0, x_1):
    """Twenty rounds of Threefry-2x32 (Salmon et al. 2011)."""
    keys = key_0, key_1, key_0 ^ key_1 ^ np.uint32(0x1BD11BDA)
    x_0, x_1 = x_0 + key_0, x_1 + key_1
    for i in range(5):
        for by in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x_0 = x_0 + x_1
            x_1 = (x_1 << np.uint32(by) | x_1 >> np.uint32(32 - by)) ^ x_0
        x_0, x_1 = x_0 + keys[(i + 1) % 3], x_1 + keys[(i + 2) % 3] + np.uint32(i + 1)
    return [x_0, x_1]


def _random_bits(operands, *, bit_width, shape):
    """Threefry of 0, 1, 2, … as JAX draws it where `jax_threefry_partitionable` is set."""
    (keys,) = operands
    key = getattr(keys, "_base_array", None)
    if jax.random.key_impl(keys) != "threefry2x32" or keys.ndim or key is None:
        return None
    counts = np.arange(np.prod(shape, dtype=int), dtype=np.uint64).reshape(shape)
    halves = (counts >> np.uint64(32)).astype("u4"), counts.astype("u4")
    high, low = _threefry(*np.asarray(key), *halves)
    if bit_width == 64:
        return [high.astype("u8") << np.uint64(32) | low]
    return [(high ^ low).astype(f"u{bit_width // 8}")]


_CONTROL = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "random_bits": _random_bits,
    "checkpoint": _checkpoint,
    "remat2": _checkpoint,  # another name of it in JAX 0.10
}


def _platform_index(*, platforms):
    named = [i for i, names in enumerate(platforms) if names is not None and "cpu" in names]
    return np.int32(named[0] if named else platforms.index(None))


# By name: not every version of JAX has them all.
_MORE: dict[str, Callable[..., Any]] = {
    "stop_gradient": lambda x: x,
    "optimization_barrier": lambda *xs: [*xs],
    "empty2": lambda *, dtype, **_: np.zeros((), dtype) if is_plain(dtype) else None,
    "stack": lambda *xs, axis: np.stack(xs, axis),
    "unstack": lambda x, *, axis: [*np.moveaxis(x, axis, 0)],
    "scatter": scatter,
    "scatter-add": scatter_add,
    "argmax": lambda x, *, axes, index_dtype: np.argmax(x, axes[0]).astype(index_dtype),
    "argmin": lambda x, *, axes, index_dtype: np.argmin(x, axes[0]).astype(index_dtype),
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "square": lambda x: x * x,
    "expm1": lambda x, **_: np.expm1(x),
    "log1p": lambda x, **_: np.log1p(x),
    "pow": lambda x, y: x**y if x.dtype.kind in "fc" and y.dtype == x.dtype else None,
    "is_finite": np.isfinite,
    "floor": np.floor,
    "ceil": np.ceil,
    "xor": np.bitwise_xor,
    "cumsum": lambda x, *, axis, reverse: (
        np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)
    ).astype(x.dtype),
    "rem": lambda x, y: np.fmod(x, y) if y.dtype.kind == "f" or np.all(y) else None,
    "shift_left": lambda x, by: np.where(by < 8 * x.itemsize, x << by, 0).astype(x.dtype),
    "shift_right_logical": lambda x, by: (
        np.where(by < 8 * x.itemsize, x >> by, 0).astype(x.dtype) if x.dtype.kind == "u" else None
    ),
    "bitcast_convert_type": lambda x, *, new_dtype: (
        x.view(new_dtype) if x.itemsize == np.dtype(new_dtype).itemsize else None
    ),
    "threefry2x32": _threefry,
    "platform_index": _platform_index,
    "iota_2x32_shape": lambda *, shape: [
        (np.arange(np.prod(shape, dtype=int), dtype=np.uint64).reshape(shape) >> by).astype("u4")
        for by in (np.uint64(32), np.uint64(0))
    ],
    "reduce_prod": lambda x, *, axes, **_: x.prod(tuple(axes), dtype=x.dtype),
}
