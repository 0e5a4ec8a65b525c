"""Validators behind user-facing errors: what was expected, what came, what to do."""

from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._arguments import (
    check_callable as check_callable,
    check_choice as check_choice,
    check_flag as check_flag,
    check_index as check_index,
    check_int as check_int,
    check_known_number as check_known_number,
    check_nonnegative_int as check_nonnegative_int,
    check_number as check_number,
    check_positive_int as check_positive_int,
    check_rate as check_rate,
    checked_arguments as checked_arguments,
    is_int as is_int,
    nearest as nearest,
)
from rnnjax._readings import unseen_owner
from rnnjax._types import Array, Carry, Cell, Linear, Params, PyTree


def is_inexact(x: Any) -> bool:
    """Whether an array, or anything with a dtype, is real or complex: may be differentiated."""
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))


def is_array(x: Any) -> bool:
    """Whether x is one array of numbers, booleans or PRNG keys: not of words or objects."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")) or _is_tensor(x):
        return False
    return getattr(x.dtype, "kind", "V") in "biufcV"


def _is_tensor(x: Any) -> bool:
    """Whether x is another framework's, with a dtype that neither NumPy nor JAX knows."""
    return not hasattr(x.dtype, "kind") and not isinstance(x, jax.Array | jax.ShapeDtypeStruct)


def is_readable(dtype: Any) -> bool:
    """Whether JAX reads numbers of this dtype: in the machine's byte order, of 64 bits at most."""
    return getattr(dtype, "isnative", True) and not _is_extended(dtype)


def _is_extended(dtype: Any) -> bool:
    return getattr(dtype, "kind", "V") in "fc" and dtype.itemsize > (16 if dtype.kind == "c" else 8)


def _native(x: np.ndarray) -> np.ndarray:
    """A NumPy array in the machine's byte order."""
    if _is_extended(x.dtype):
        float64 = "complex" if x.dtype.kind == "c" else "float"
        raise TypeError(
            f"JAX has no floats of more than 64 bits, got {described(x)}: pass x.astype({float64})"
        )
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def array_of(x: Any) -> Any:
    """A list or tuple of numbers as an array, and a NumPy array in the machine's byte order; all
    else as it is.

    Raises:
      TypeError: a NumPy array of more than 64 bits a number.
      ValueError: lists in it that are not all of one length.
    """
    if isinstance(x, np.ndarray):
        return _native(x)
    if not (isinstance(x, list | tuple) and _is_nested_numbers(x)):
        return x
    try:
        return _native(np.asarray(x))
    except ValueError as error:
        raise ValueError(
            f"a {type(x).__name__} whose parts are not all of one length is no array: pad "
            "sequences to the longest, and say by lengths=... how long each is"
        ) from error


def arrays_of(tree: Any) -> Any:
    """A tree of arrays, in which lists of numbers may take the place of arrays."""
    return jax.tree.map(array_of, tree, is_leaf=lambda x: isinstance(x, list))


def check_inputs(xs: Any) -> Any:
    """`xs` as a tree of arrays, if it is one.

    Raises:
      TypeError: a leaf that is no array of numbers.
    """
    xs = arrays_of(xs)
    for x in jax.tree.leaves(xs):
        if not (is_array(x) or isinstance(x, int | float | complex)):
            raise TypeError(f"xs must be an array [T, ..., D], time first, got {described(x)}")
    return xs


def _is_nested_numbers(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return all(map(_is_nested_numbers, x))
    return isinstance(x, bool | int | float | complex | np.generic)


def check_array(name: str, x: Any, form: str) -> Array:
    """`x`, an array or numbers in lists, as an array; `form` is its shape, such as "[T, B]"."""
    x = _native(x) if isinstance(x, np.ndarray) else x
    try:
        if not isinstance(x, str | bytes):
            return jnp.asarray(x)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"{name} must be an array {form}, got {described(x)}")


def check_real(name: str, x: Array) -> Array:
    """`x`, if it is not complex: casting it would drop its imaginary part."""
    if jnp.iscomplexobj(x):
        raise TypeError(
            f"{name} has dtype {x.dtype}: expected real numbers. Pass real and imaginary parts "
            "side by side, as jnp.concatenate([x.real, x.imag], axis=-1)"
        )
    return x


def is_feature_shape(node: Any) -> bool:
    """Whether a node of `Inputs` says the features of one array: D, or a tuple of sizes."""
    sizes = node if isinstance(node, tuple) else (node,)
    return all(isinstance(size, int | np.integer) for size in sizes)


def check_cell(cell: Any) -> Cell:
    """`cell`, if it is a `Cell` whose rule belongs to its step, and none that keeps old arrays."""
    if not isinstance(cell, Cell):
        hint = " Call it, as in rnnjax.lstm(128)" if callable(cell) else ""
        library = type(cell).__module__.split(".")[0]
        if library in ("flax", "torch", "haiku", "equinox", "keras"):
            hint = f" rnnjax.interop converts weights of {library}, and runs cells in its modules"
        elif hasattr(cell, "apply"):
            hint = " A layer is applied with layer.apply(params, xs)"
        elif isinstance(cell, tuple | list) and any(isinstance(each, Cell) for each in cell):
            hint = " Cells one above the other are rnnjax.stack(*cells)"
        got = type(cell).__name__
        raise TypeError(f"expected a Cell such as rnnjax.lstm(128), got {got}.{hint}")
    if cell.rule is not None and cell.rule.step is not None and cell.rule.step != cell.step:
        raise ValueError(
            "the step of this cell was replaced, and its rule is that of the old step: change a "
            "step with rnnjax.wrap(cell, change), or replace both, as in "
            "cell._replace(step=..., rule=None)"
        )
    for name, function in (("step", cell.step), ("initial_carry", cell.initial_carry)):
        if type(function) is not FunctionType:
            _check_method(name, function)
    return cell


def _check_method(name: str, function: Any) -> None:
    """Raise TypeError for the method of an object whose arrays a compiled run would not see
    change."""
    owner = unseen_owner(function)
    if owner is not None:
        raise TypeError(
            f"the {name} of this cell is a method of an object of {type(owner).__name__} that "
            "holds arrays, and a compiled run does not see these change: make the arrays part of "
            "the params. A module of Equinox is params as it is, with step=lambda module, carry, "
            "x_t: ...; of one of nnx they are the state of nnx.split, which nnx.merge puts back in "
            "the step"
        )


def batch_shape_of(feature_axes: Any, x_t: PyTree) -> tuple[int, ...] | None:
    """The batch shape of one step's input, as far as its feature axes say; None if they do not."""
    leaves, axes = jax.tree.leaves(x_t), jax.tree.leaves(feature_axes)
    if len(leaves) != len(axes) or not leaves or not is_array(leaves[0]):
        return None
    shape, count = leaves[0].shape, axes[0]
    if len(shape) < count or not is_inexact(leaves[0]):
        return None
    return tuple(shape[: len(shape) - count])


def check_lengths(
    lengths: Array, length: int, batch_shape: tuple[int, ...], of: str = "xs"
) -> Array:
    """`lengths` as int32 of the batch shape of `of`; values are checked where they are known."""
    lengths = array_of(lengths)
    if not is_array(lengths):
        raise TypeError(
            f"lengths must be integers, one for each sequence, got {described(lengths)}"
        )
    if not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise TypeError(
            f"lengths has dtype {jnp.result_type(lengths)}: expected integers, one length for each "
            "sequence"
        )
    if jnp.shape(lengths) != batch_shape:
        raise ValueError(
            f"lengths has shape {jnp.shape(lengths)} but the batch shape of {of} is {batch_shape}: "
            "give one length for each sequence. (A cell whose inputs have several feature axes "
            "says so with Structure(feature_axes=...))"
        )
    if not isinstance(lengths, Tracer):
        values = np.asarray(lengths)
        if values.size and (values.min() < 0 or values.max() > length):
            raise ValueError(
                f"lengths must lie in 0..{length} (T of {of}), got values from {values.min()} to "
                f"{values.max()}"
            )
    return jnp.asarray(lengths, jnp.int32)


def known_values(caller: str, x: Any, instead: str = "") -> np.ndarray:
    """`x` as a NumPy array; TypeError where JAX traces, so that its numbers are not known."""
    if isinstance(x, Tracer):
        raise TypeError(
            f"{caller} needs concrete values: call it outside jit, grad and vmap{instead}"
        )
    return np.asarray(x)


def check_resets(resets: Array, length: int, batch_shape: tuple[int, ...]) -> Array:
    """`resets`, if it is a boolean [T, ...]."""
    meaning = "true where a new episode begins, which is the step after one that is done"
    return _check_steps("resets", meaning, resets, length, batch_shape)


def check_mask(mask: Array, length: int, batch_shape: tuple[int, ...]) -> Array:
    """`mask`, if it is a boolean [T, ...]."""
    return _check_steps("mask", "false at the steps to skip", mask, length, batch_shape)


def _check_steps(
    name: str, meaning: str, flags: Array, length: int, batch_shape: tuple[int, ...]
) -> Array:
    flags = array_of(flags)
    if not is_array(flags):
        raise TypeError(f"{name} must be booleans [T, ...], got {described(flags)}")
    if jnp.result_type(flags) != jnp.bool_:
        raise TypeError(f"{name} has dtype {jnp.result_type(flags)}: expected booleans, {meaning}")
    shape, expected = jnp.shape(flags), (length, *batch_shape)
    if shape != expected:
        swapped = len(shape) > 1 and (shape[1], shape[0], *shape[2:]) == expected
        hint = ". One of them is batch first: both are [T, B, ...], time first" if swapped else ""
        raise ValueError(
            f"{name} has shape {shape}: expected {expected}, the leading axes of xs{hint}"
        )
    return jnp.asarray(flags)


def check_reset(reset: Any) -> Array:
    """`reset` of one step, if it is booleans [...]."""
    reset = array_of(reset)
    if not (is_array(reset) or isinstance(reset, bool)):
        raise TypeError(f"reset must be booleans [...], got {described(reset)}")
    if jnp.result_type(reset) != jnp.bool_:
        raise TypeError(
            f"reset has dtype {jnp.result_type(reset)}: expected booleans, true where an episode "
            "begins, which is the step after one that is done"
        )
    return jnp.asarray(reset)


def check_cost(value: Any) -> Array:
    """What `cost(carry, ys)` returned, if it is a real scalar."""
    if not is_array(value) and not isinstance(value, int | float):
        raise TypeError(f"cost(carry, ys) must return a scalar, got {described(value)}")
    value = jnp.asarray(value)
    if value.shape != ():
        raise ValueError(
            f"cost(carry, ys) must return a scalar, got shape {value.shape}: take a sum or a mean"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"cost(carry, ys) must return a real number, got dtype {value.dtype}")
    return value


def check_carry(name: str, carry: Carry, expected: Carry) -> None:
    """Raise ValueError unless `carry` has the structure, shapes and dtypes of `expected`."""
    got_leaves, got_tree = jax.tree_util.tree_flatten_with_path(carry)
    want_leaves, want_tree = jax.tree_util.tree_flatten_with_path(expected)
    if got_tree != want_tree:
        raise ValueError(
            f"{name} has the structure {described(carry)}, expected {described(expected)}"
        )
    for (path, got), (_, want) in zip(got_leaves, want_leaves, strict=True):
        if not is_array(got) or got.shape != want.shape or got.dtype != want.dtype:
            leaf = jax.tree_util.keystr(path)
            raise ValueError(f"{name}{leaf} is {described(got)}, expected {described(want)}")


def in_brackets(shape: tuple[Any, ...]) -> str:
    """A shape as it is written in docstrings: "[4, 3]"."""
    return f"[{', '.join(map(str, shape))}]"


def described(value: Any) -> str:
    """What a user passed, briefly: "float32[3, 4]", "the function relu", "the Cell lstm(4)"."""
    if is_array(value):
        return f"{value.dtype}{in_brackets(value.shape)}"
    if hasattr(value, "_fields") and not isinstance(value, Cell):
        fields = (f"{field} {described(leaf)}" for field, leaf in value._asdict().items())
        return f"{type(value).__name__}({', '.join(fields)})"
    if value is None:
        return "None"
    if hasattr(value, "shape") and hasattr(value, "dtype") and _is_tensor(value):
        tensor: Any = value
        name = f"{type(value).__module__.split('.')[0]} {type(value).__name__}"
        return f"a {name} {list(tensor.shape)}, which numpy() makes an array"
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, Cell):
        return f"the Cell {value!r}"
    if isinstance(value, tuple | list) and len(value) < 8:
        return f"a {type(value).__name__} ({', '.join(map(described, value))})"
    text = repr(value)
    if isinstance(value, bool | int | float | str):
        return text
    kind = type(value).__name__
    if name := getattr(value, "__name__", None):
        return f"the {kind} {name}"
    return f"the {kind} {text}" if len(text) <= 60 and not text.startswith("<") else f"a {kind}"


def check_linear(linear: Linear, params: Params, xs: PyTree, carry: Carry) -> None:
    """Raise ValueError unless the linear form of a step is one of this carry, over all steps."""
    if linear.product not in ("diagonal", "matrix"):
        raise ValueError(
            f"product of a Linear must be 'diagonal' or 'matrix', got {linear.product!r}"
        )
    steps = jax.tree.leaves(xs)[0].shape[0]
    given = jax.eval_shape(linear.coefficients, params, xs)
    for name, part in zip("ab", given, strict=True):
        if jax.tree.structure(part) != jax.tree.structure(carry):
            raise ValueError(
                f"{name} of linear.coefficients must have the structure of the carry, "
                f"{jax.tree.structure(carry)}, got {jax.tree.structure(part)}"
            )
        for leaf, state in zip(jax.tree.leaves(part), jax.tree.leaves(carry), strict=True):
            shape = (steps, *state.shape)
            if linear.product == "matrix" and name == "a":
                shape = (steps, *state.shape[:-1], *state.shape[-2:-1])
            if leaf.shape != shape:
                raise ValueError(
                    f"{name} of linear.coefficients has shape {leaf.shape}, expected {shape}, "
                    f"for a carry of shape {state.shape} and product={linear.product!r}: give it "
                    "for every step and example, with jnp.broadcast_to where they share it"
                )
            if jnp.iscomplexobj(leaf) and not jnp.iscomplexobj(state):
                raise ValueError(
                    f"{name} of linear.coefficients is {leaf.dtype}, but the carry is "
                    f"{state.dtype}, which would lose the imaginary part: let initial_carry return "
                    f"{leaf.dtype}"
                )
