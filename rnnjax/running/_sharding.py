"""What the type of an array says of how it lies on devices.

Under `jax.shard_map` it says along which axes of the mesh the array differs among devices.
`lax.scan` and `custom_vjp` want the types of what goes round or back to be equal, so all the
arrays of a run are given one type before it begins. Outside `shard_map`, and with check_vma=False,
these functions do nothing.
"""

from typing import Any

import jax

from rnnjax._types import PyTree


def check_automatic(tree: PyTree) -> None:
    """Raise ValueError for arrays that an explicit mesh divides, whose types no cell keeps."""
    for leaf in jax.tree.leaves(tree):
        spec = getattr(jax.typeof(leaf).sharding, "spec", ())
        if any(axis is not None for axis in spec):
            raise ValueError(
                f"an array of type {jax.typeof(leaf)} is divided along an explicit axis of a mesh, "
                "and a run leaves sharding to XLA: make the mesh with "
                "axis_types=jax.sharding.AxisType.Auto, or wrap the function that calls unroll in "
                "jax.sharding.auto_axes"
            )


def varying_axes(tree: PyTree) -> frozenset[Any]:
    """The axes along which any array of the tree varies."""
    return frozenset[Any]().union(*map(_axes, jax.tree.leaves(tree)))


def vary_along(axes: frozenset[Any], tree: PyTree) -> PyTree:
    """The tree, every array of it varying along these axes at least; its gradient is their sum."""

    def cast(x: Any) -> Any:
        missing = tuple(axes - _axes(x))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree) if axes else tree


def _axes(x: Any) -> frozenset[Any]:
    return getattr(jax.typeof(x), "manual_axis_type").varying  # noqa: B009  not in JAX's stubs
