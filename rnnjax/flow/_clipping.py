"""`clipping`: how often a clipped gradient differs from the true one, in direction and in norm."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._arrays import Static, put_arrays, take_arrays, with_hash
from rnnjax._checks import check_callable, check_cost, check_flag, described, is_inexact
from rnnjax._execution import Gradient, check_gradient
from rnnjax._types import Array, Params, PyTree
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._norms import features_norm
from rnnjax.gradients import autodiff
from rnnjax.running import pack


class Clipping(NamedTuple):
    """What clips do to gradients; made by `clipping`. `print` it for a table."""

    norm: np.ndarray  # [N] ‖g‖ of the true gradient
    fires: dict[str, np.ndarray]  # clip -> [N] bool, whether it changes g
    cosine: dict[str, np.ndarray]  # clip -> [N] between the clipped and the true gradient
    ratio: dict[str, np.ndarray]  # clip -> [N] ‖clipped‖ / ‖g‖

    def __str__(self) -> str:
        finite = np.isfinite(self.norm)
        norms = self.norm[finite]
        rows = [f"{len(self.norm)} gradients"]
        if norms.size:
            rows[0] += f", norm {np.median(norms):.2g} (median) to {norms.max():.2g} (largest)"
        if not finite.all():
            rows[0] += f"; left out: {int((~finite).sum())} that are not finite"
        width = max(len("clip"), *map(len, self.fires))
        rows.append(f"{'clip':{width}}  fires   cosine (least)   norm kept (least)")
        for name, fires in self.fires.items():
            fired = fires & finite
            share = f"{fired.sum() / finite.sum():5.0%}" if finite.any() else "    -"
            cells = [f"{'-':>8} {'':8}"] * 2
            if fired.any():
                found = [self.cosine[name][fired], self.ratio[name][fired]]
                cells = [f"{np.median(x):8.3f} {f'({x.min():.3f})':8}" for x in found]
            rows.append(f"{name:{width}}  {share} {cells[0]}  {cells[1]}".rstrip())
        return "\n".join(rows)


def clipping(
    loss: Callable[[Params, Any, Gradient], Array],
    params: Params,
    data: PyTree,
    clips: Mapping[str, Any],
    *,
    params_too: bool = False,
) -> Clipping:
    """How often each way of clipping fires, and what it does to the gradient's direction and norm.

        cosine = ⟨c(g), g⟩ / ‖c(g)‖ ‖g‖,   ratio = ‖c(g)‖ / ‖g‖        g = ∂loss/∂params

    Clips of the finished gradient are optax's; a clip inside the backward loop is a gradient, and
    the loss passes it on to `unroll`:

        def loss(params, example, gradient):
            _, ys = unroll(cell, params, example.xs, gradient=gradient)
            return jnp.mean((ys[-1] - example.target) ** 2)

    By global norm the direction stays and the norm is cut. By value, by leaf and adaptively, large
    parts are cut alone, so the direction turns. Inside the loop each δ_t is cut before it is passed
    on, so the sum is no longer the gradient of the loss.

    Args:
      loss: `loss(params, item, gradient) -> scalar`; compiled once with the same `clips` for as
        long as the names in it mean the same values, and at every call where it reads what may be
        changed in place, such as an attribute of an object or an entry of a dict.
      params: any pytree of floating-point arrays.
      data: items, stacked along the first axis of every leaf `[N, ...]`: single examples, or the
        batches of training steps.
      clips: name -> an optax transformation, or a gradient such as `bptt(clip_by_norm(1.0))`:

        none                 `optax.identity()`
        by value             `optax.clip(limit)`
        by global norm       `optax.clip_by_global_norm(limit)`
        by leaf              `optax.clip_by_block_rms(limit)`, of the root mean square
        adaptive (AGC)       `optax.adaptive_grad_clip(limit)`, of each unit relative to its weights
        in the loop          `bptt(clip_by_value(limit))`, `bptt(clip_by_norm(limit))`

        A transformation with a state sees each item in its first one.
      params_too: params are stacked as well, `[N, ...]`: those of each training step.

    Returns:
      `Clipping(norm, fires, cosine, ratio)`, arrays `[N]`. NaN where the gradient is zero or not
      finite. A clip in the loop fires where it changes the gradient by more than rounding errors,
      √ε of its norm.

    Raises:
      TypeError: clips that are neither, and as the loss.
      ValueError: no clips, or leaves of data that differ in length.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from rnnjax import flow
      >>> def loss(params, x, gradient):
      ...     return jnp.vdot(params, x)
      >>> clips = {"by value": optax.clip(1.0), "by norm": optax.clip_by_global_norm(1.0)}
      >>> found = flow.clipping(loss, jnp.zeros(2), jnp.array([[3.0, 4.0], [0.6, 0.0]]), clips)
      >>> print(found)
      2 gradients, norm 2.8 (median) to 5 (largest)
      clip      fires   cosine (least)   norm kept (least)
      by value    50%    0.990 (0.990)      0.283 (0.283)
      by norm     50%    1.000 (1.000)      0.200 (0.200)

    References:
      Mikolov (2012), Statistical language models based on neural networks, PhD thesis (by value).
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks,
      ICML (by norm).
      Graves (2013), Generating sequences with recurrent neural networks, arXiv 1308.0850 (in the
      loop).
      Brock, De, Smith & Simonyan (2021), High-performance large-scale image recognition without
      normalization, ICML (adaptive).
    """
    check_callable("loss", loss, "(params, item, gradient) -> scalar")
    checked = _checked_clips(clips)
    check_flag("params_too", params_too)
    _check_stacked("data", data)
    if not jax.tree.leaves(params) or not all(map(is_inexact, jax.tree.leaves(params))):
        raise TypeError("params must be a pytree of floating-point arrays")
    if params_too:
        _check_stacked("params and data", (params, data))

    static, arrays = take_arrays((with_hash(loss), checked))

    @in_float64
    def of_all(params: Params, data: Any) -> tuple[Array, Any]:
        return _measured(static, params_too, arrays, params, data)

    norm, found = of_all(params, data)
    columns = [{name: np.asarray(found[name][k]) for name in checked} for k in (2, 0, 1)]
    return Clipping(np.asarray(norm), *columns)


@partial(jax.jit, static_argnums=(0, 1))
def _measured(
    static: Static,
    params_too: bool,
    arrays: tuple[Array | None, ...],
    params: Params,
    data: PyTree,
) -> tuple[Array, dict[str, Any]]:
    """‖g‖ `[N]` and, by clip, its cosine, ratio and whether it fires."""
    loss, clips = put_arrays(static, arrays)

    def by(gradient: Gradient, params: Params, item: Any) -> Params:
        return jax.grad(lambda params: check_cost(loss(params, item, gradient)))(params)

    def of_item(both: tuple[Params, Any]) -> tuple[Array, dict[str, Any]]:
        own, item = both if params_too else (params, both[1])
        true = by(autodiff(), own, item)
        found = {}
        for name, clip in clips.items():
            if hasattr(clip, "update"):
                clipped, _ = clip.update(true, clip.init(own), own)
                found[name] = (*_compared(clipped, true), _any_differs(clipped, true))
            else:
                clipped = by(clip, own, item)
                found[name] = (*_compared(clipped, true), _far(clipped, true))
        return _norm(true), found

    return jax.lax.map(of_item, (params if params_too else None, data))


def _norm(tree: Params) -> Array:
    return features_norm(jax.tree.leaves(tree), 0)


def _compared(clipped: Params, true: Params) -> tuple[Array, Array]:
    sizes = _norm(clipped), _norm(true)
    units = [pack(jax.tree.leaves(x), 0) / n for x, n in zip((clipped, true), sizes, strict=True)]
    return jnp.clip(jnp.vdot(*units), -1.0, 1.0), sizes[0] / sizes[1]


def _any_differs(clipped: Params, true: Params) -> Array:
    differs = [jnp.any(a != b) for a, b in zip(*map(jax.tree.leaves, (clipped, true)), strict=True)]
    return jnp.any(jnp.stack(differs))


def _far(clipped: Params, true: Params) -> Array:
    difference = _norm(jax.tree.map(jnp.subtract, clipped, true))
    coarsest = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(true))
    return difference > coarsest**0.5 * _norm(true)


def _checked_clips(clips: Any) -> dict[str, Any]:
    if not isinstance(clips, Mapping):
        raise TypeError(
            "clips must be a mapping such as {'by norm': optax.clip_by_global_norm(1.0)}, got "
            f"{described(clips)}"
        )
    if not clips:
        raise ValueError("clips is empty: give at least one, such as optax.clip_by_global_norm(1)")
    for name, clip in clips.items():
        if not isinstance(name, str):
            raise TypeError(f"clips must have names, such as 'by norm', got the key {name!r}")
        if not (hasattr(clip, "init") and hasattr(clip, "update")):
            check_gradient(f"clips[{name!r}], if not an optax transformation,", clip)
    return dict(clips)


def _check_stacked(name: str, tree: PyTree) -> None:
    leaves = jax.tree.leaves(tree)
    lengths = {jnp.shape(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"{name} must have items stacked along the first axis of every leaf, of one length "
            f"N ≥ 1, got leaves of shapes {[jnp.shape(leaf) for leaf in leaves]}"
        )
