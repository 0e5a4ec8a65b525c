"""A call of compiled kernels that becomes portable code where it is compiled for elsewhere."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from rnnjax._linear_map import tangents_by


def portable_elsewhere(
    call: Callable[..., Any], portable: Callable[..., Any]
) -> Callable[..., Any]:
    """`call` on this machine's default device, `portable` in exported code and for other platforms.

    Both are functions of arrays that give equal results, of which `portable` may leave out what
    only its own counterpart reads. Derivatives are those of `portable`.
    """

    def either(*operands: Any) -> Any:
        leaves, tree = jax.tree.flatten(operands)
        out_tree: Any = None

        def flat(function: Callable[..., Any]) -> Callable[..., Any]:
            def run(*leaves: Any) -> list[Any]:
                nonlocal out_tree
                out, out_tree = jax.tree.flatten(function(*jax.tree.unflatten(tree, leaves)))
                return out

            return run

        made = jax.make_jaxpr(flat(call))(*leaves)
        out = _either.bind(*leaves, call=made, portable=flat(portable))
        return jax.tree.unflatten(out_tree, out)

    return either


_either: Any = Primitive("rnnjax_portable_elsewhere")
_either.multiple_results = True
_either.def_impl(lambda *leaves, call, **_: jaxpr_as_fun(call)(*leaves))
_either.def_abstract_eval(lambda *_, call, **__: call.out_avals)


def _lower(ctx: Any, *values: Any, call: ClosedJaxpr, portable: Callable[..., Any]) -> Any:
    module, default = ctx.module_context, jax.default_backend()
    names = {"gpu", "cuda", "rocm"} if default == "gpu" else {default}
    here = len(module.platforms) == 1 and module.platforms[0] in names
    here = here and not module.lowering_parameters.for_export
    run = jaxpr_as_fun(call) if here else portable
    return mlir.lower_fun(run, multiple_results=True)(ctx, *values)


def _jvp(leaves: Any, tangents: Any, **params: Any) -> Any:
    out = _either.bind(*leaves, **params)
    return out, tangents_by(params["portable"], leaves, tangents, out)


def _batch(leaves: Any, axes: Any, *, call: ClosedJaxpr, portable: Callable[..., Any]) -> Any:
    mapped = (jax.vmap(run, axes) for run in (jaxpr_as_fun(call), portable))
    out = portable_elsewhere(*mapped)(*leaves)
    return out, [0] * len(out)


mlir.register_lowering(_either, _lower)
ad.primitive_jvps[_either] = _jvp
batching.primitive_batchers[_either] = _batch
