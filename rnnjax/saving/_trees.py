"""Params as named arrays and a description of the containers that they lie in.

An array is called by its place, as in `0.w_x`, and the description is JSON: a list by kind,
`["tuple", [...]]`, `["dict", {...}]`, `["LSTMParams", {...}]`, around `["array", name]`,
`["complex64", name]` (its real and imaginary parts along a last axis of two) and null.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax import cells, combinators
from rnnjax._checks import array_of, described, is_array
from rnnjax._types import Params
from rnnjax.saving._safetensors import can_hold

Node = Any  # what JSON has
_COMPLEX = {"complex64": "float32", "complex128": "float64"}


def taken_apart(params: Params) -> tuple[Node, dict[str, np.ndarray]]:
    """The description of params, and its arrays by name.

    Raises:
      TypeError: something that is no weight, or a container that is none of these.
    """
    arrays: dict[str, np.ndarray] = {}

    def of(tree: Any, place: tuple[str, ...]) -> Node:
        where = ".".join(place) or "params"
        if tree is None:
            return None
        if isinstance(tree, dict):
            if not all(isinstance(key, str) for key in tree):
                raise TypeError(f"{where} has keys that are no str: {described(tree)}")
            return ["dict", {key: of(value, (*place, key)) for key, value in tree.items()}]
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            named: Any = tree
            fields = {key: of(value, (*place, key)) for key, value in named._asdict().items()}
            return [type(tree).__name__, fields]
        if type(tree) in (tuple, list):
            each = [of(value, (*place, str(i))) for i, value in enumerate(tree)]
            return [type(tree).__name__, each]
        return leaf(tree, where)

    def leaf(value: Any, where: str) -> Node:
        if isinstance(value, Tracer):
            raise TypeError(f"{where} is traced: save params outside of jit and grad")
        if not is_array(value) and not isinstance(value, bool | int | float | complex):
            raise TypeError(
                f"{where} is {described(value)}: params must be arrays in dicts, lists, tuples and "
                "NamedTuples. Give those of a module as its state, a dict of arrays"
            )
        value = array_of(value)
        dtype = jnp.result_type(value)
        if not can_hold(dtype) and str(dtype) not in _COMPLEX:
            hint = ": save jax.random.key_data(key)" if "key" in str(dtype) else ""
            raise TypeError(f"{where} has the dtype {dtype}, which no file of weights holds{hint}")
        array: Any = np.asarray(value, dtype)
        name = where
        while name in arrays:  # {"a.b": …} beside {"a": {"b": …}}
            name += "_"
        kind = "array"
        if str(dtype) in _COMPLEX:
            array, kind = np.stack([array.real, array.imag], axis=-1), str(dtype)
        arrays[name] = array
        return [kind, name]

    return of(params, ()), arrays


def put_together(node: Node, arrays: Mapping[str, np.ndarray], shapes: Any) -> Params:
    """Inverse of `taken_apart`: NamedTuples are those of rnnjax, and of `shapes`.

    Args:
      shapes: a tree with the NamedTuples that the params may hold, such as `Structure.params`.

    Raises:
      ValueError: names without an array or arrays without a name, a NamedTuple that is not known,
        a float64 that JAX would round.
    """
    classes, left = {**_public_classes(), **_classes_in(shapes)}, dict(arrays)

    def of(node: Node) -> Any:
        if node is None:
            return None
        kind, content = _checked(node)
        if kind in ("tuple", "list"):
            each = [of(entry) for entry in content]
            return tuple(each) if kind == "tuple" else each
        if kind == "array" or kind in _COMPLEX:
            return array(kind, content)
        fields = {key: of(entry) for key, entry in content.items()}
        return fields if kind == "dict" else named(kind, fields)

    def named(kind: str, fields: dict[str, Any]) -> Any:
        if kind not in classes:
            raise ValueError(
                f"its params are a {kind}, a class of your own: pass like=, params of the same "
                "form, as jax.eval_shape(lambda: cell.init(jax.random.key(0), inputs)) gives them"
            )
        if set(classes[kind]._fields) != set(fields):
            raise ValueError(
                f"its {kind} has the fields {', '.join(fields)}, and the class here has "
                f"{', '.join(classes[kind]._fields)}"
            )
        return classes[kind](**fields)

    def array(kind: str, name: str) -> Any:
        if name not in left:
            raise ValueError(f"it has no array {name}")
        value = left.pop(name)
        if kind in _COMPLEX:
            if value.dtype != _COMPLEX[kind] or value.shape[-1:] != (2,):
                raise ValueError(f"{name} is {described(value)}, which is not {kind} in pairs")
            value = value.view(kind).reshape(value.shape[:-1])
        if jnp.asarray(value[:0] if value.ndim else value).dtype != value.dtype:
            raise ValueError(
                f"{name} is {value.dtype} and JAX would round it: enable it with "
                'jax.config.update("jax_enable_x64", True)'
            )
        return jnp.array(value)

    params = of(node)
    if left:
        raise ValueError(f"it has arrays that belong to no params: {', '.join(sorted(left))}")
    return params


def _checked(node: Node) -> tuple[str, Any]:
    """A node's kind and content, if it is one."""
    if isinstance(node, list) and len(node) == 2 and isinstance(node[0], str):
        kind, content = node
        wanted = list if kind in ("tuple", "list") else dict
        if isinstance(content, str if kind == "array" or kind in _COMPLEX else wanted):
            return kind, content
    raise ValueError(f"its params are described by {str(node)[:60]!r}, which describes none")


def _public_classes() -> dict[str, Any]:
    named = {**vars(cells), **vars(combinators)}
    return {
        name: value
        for name, value in named.items()
        if name.endswith(("Params", "Carry")) and hasattr(value, "_fields")
    }


def _classes_in(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, tuple | list | dict):
        return {}
    found = {type(tree).__name__: type(tree)} if hasattr(tree, "_fields") else {}
    for entry in tree.values() if isinstance(tree, dict) else tree:
        found |= _classes_in(entry)
    return found
