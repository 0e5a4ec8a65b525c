"""A function with a derivative of its own that every transformation keeps: one primitive.

JAX forgets the rule of a `custom_jvp` where it splits a scan into what is known and what is not, as
it does for the derivative of a gradient. The function's insides are differentiated then, which for
a loop that runs to convergence, and that asks the host, is neither exact nor possible.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from rnnjax._linear_map import stacked_types, vmapped
from rnnjax._types import PyTree


def kept(
    function: Callable[..., PyTree], rule: Callable[[PyTree, Any, Any], PyTree], *operands: PyTree
) -> PyTree:
    """`function(*operands)`, whose tangents are `rule(out, operands, tangents)`.

    Both may read arrays of the program around them, along which there is no derivative.
    """
    leaves, tree = jax.tree.flatten(operands)
    out_tree: Any = None

    def flat(*leaves: Any) -> list[Any]:
        nonlocal out_tree
        out, out_tree = jax.tree.flatten(function(*jax.tree.unflatten(tree, leaves)))
        return out

    def flat_rule(*leaves: Any) -> list[Any]:
        out = jax.tree.unflatten(out_tree, leaves[: out_tree.num_leaves])
        rest = leaves[out_tree.num_leaves :]
        parts = (rest[: tree.num_leaves], rest[tree.num_leaves :])
        return jax.tree.leaves(rule(out, *(jax.tree.unflatten(tree, part) for part in parts)))

    made = jax.make_jaxpr(flat)(*leaves)

    def run(*operands: Any) -> list[Any]:
        consts, leaves = operands[: len(made.consts)], operands[len(made.consts) :]
        return jaxpr_as_fun(ClosedJaxpr(made.jaxpr, [*consts]))(*leaves)

    out = _kept.bind(
        *made.consts,
        *leaves,
        run=run,
        rule=flat_rule,
        outs=tuple(made.out_avals),
        count=len(leaves),
    )
    return jax.tree.unflatten(out_tree, out)


_kept: Any = Primitive("rnnjax_kept")
_kept.multiple_results = True
_kept.def_impl(lambda *operands, run, **_: run(*operands))
_kept.def_abstract_eval(lambda *_, outs, **__: outs)


def _lower(ctx: Any, *values: Any, run: Callable[..., Any], **_: Any) -> Any:
    return mlir.lower_fun(run, multiple_results=True)(ctx, *values)


def _jvp(operands: Any, tangents: Any, **params: Any) -> Any:
    first = len(operands) - params["count"]
    if not all(isinstance(t, ad.Zero) for t in tangents[:first]):
        raise ValueError(
            "a cell that is run by deer() was made with an array that is differentiated: pass it "
            "as part of params or of xs"
        )
    out = _kept.bind(*operands, **params)
    along = map(ad.instantiate_zeros, tangents[first:])
    return out, params["rule"](*out, *operands[first:], *along)


def _batch(
    axis: Any, operands: Any, dims: Any, *, run: Any, rule: Any, outs: Any, count: int
) -> Any:
    if all(d is None for d in dims):  # JAX asks all the same, as in `jacfwd`
        made = _kept.bind(*operands, run=run, rule=rule, outs=outs, count=count)
        return made, [None] * len(made)
    each = dims[len(dims) - count :]
    made = _kept.bind(
        *operands,
        run=vmapped(axis, run, (*dims,)),
        rule=vmapped(axis, rule, (*[0] * len(outs), *each, *each)),
        outs=stacked_types(axis, outs),
        count=count,
    )
    return made, [0] * len(made)


mlir.register_lowering(_kept, _lower)
ad.primitive_jvps[_kept] = _jvp
batching.fancy_primitive_batchers[_kept] = _batch
