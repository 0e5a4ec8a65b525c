"""The oracle: BPTT as a Python loop over single steps of single sequences.

It knows nothing of `unroll`: lengths are where the loop ends, episodes are where the carry is
replaced, and each step's derivative is `jax.vjp` of `cell.step` alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cells_table import ROWS
from problems import Point, Result, at, is_inexact, quick_jit, weights


@functools.cache
def _compiled(name: str):
    step = ROWS[name].cell.step

    def pull_back(params, carry, x_t, carry_ct, y_ct):
        floats, structure, rest = _split(carry)

        def on_floats(params, floats, x_t):
            new, y_t = step(params, _join(structure, floats, rest), x_t)
            return _split(new)[0], y_t

        return jax.vjp(on_floats, params, floats, x_t)[1]((carry_ct, y_ct))

    return quick_jit(step), quick_jit(pull_back)


def _split(carry):
    leaves, structure = jax.tree.flatten(carry)
    floats = [leaf if is_inexact(leaf) else None for leaf in leaves]
    return floats, structure, [None if is_inexact(leaf) else leaf for leaf in leaves]


def _join(structure, floats, rest):
    leaves = [b if a is None else a for a, b in zip(floats, rest, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def _add(a, b):
    return jax.tree.map(lambda p, q: np.asarray(p) + np.asarray(q), a, b)


def by_loop(name, params, xs, carry, fresh, lengths, resets, reverse, reach=None) -> Result:
    """What `unroll` must give: last carry, outputs, and the gradients of `problems.cost`.

    `reach(i)` is how far the cost of an example's i-th step, in the order in which they are run,
    goes back: to the step of that number, and to the initial carry where that is 0 or less.
    """
    step, pull_back = _compiled(name)
    length, batch = jax.tree.leaves(xs)[0].shape[:2]
    lasts, ys, visits = [], [[None] * batch for _ in range(length)], []
    for b in range(batch):
        now, seen = at(carry, b), []
        times = range(int(lengths[b]))
        for t in reversed(times) if reverse else times:
            # Backwards, an episode ends below its first step.
            restart = bool(resets[t, b]) if not reverse else t + 1 in times and resets[t + 1, b]
            if restart:
                now = at(fresh, b)
            before = now
            now, ys[t][b] = step(params, now, at(xs, t, b))
            seen.append((t, before, bool(restart)))
        lasts.append(now)
        visits.append(seen)
    y_t = jax.eval_shape(step, params, at(carry, 0), at(xs, 0, 0))[1]
    ys = np.array([[np.zeros(y_t.shape, y_t.dtype) if y is None else y for y in row] for row in ys])
    last = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lasts)
    gradients, fresh_ct = _pull_back(
        pull_back, params, xs, carry, last, jnp.asarray(ys), visits, reach or (lambda i: 0)
    )
    if ROWS[name].learned:  # what episodes begin from is made of params
        made = functools.partial(ROWS[name].cell.initial_carry, batch_shape=(batch,))
        (params_ct,) = jax.vjp(made, params)[1](fresh_ct)
        gradients = gradients._replace(params=_add(gradients.params, params_ct))
    return Result(last, jnp.asarray(ys), gradients)


def _pull_back(pull_back, params, xs, carry, last, ys, visits, reach) -> tuple[Point, Any]:
    leaves, structure = jax.tree.flatten(last)
    ys_ct, index = np.asarray(weights(0, ys) * (1 + ys)), 0
    last_ct = []
    for leaf in leaves:
        index += is_inexact(leaf)
        last_ct.append(np.asarray(weights(index, leaf) * (1 + leaf)) if is_inexact(leaf) else None)
    params_ct, xs_ct = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), (params, xs))
    carry_ct, fresh_ct = (
        [None if ct is None else np.zeros_like(ct) for ct in last_ct] for _ in range(2)
    )
    for b, seen in enumerate(visits):
        at_end = [None if leaf is None else leaf[b] for leaf in last_ct]
        nothing = jax.tree.map(np.zeros_like, at_end)
        ends = [reach(i) for i in range(len(seen))] or [0]
        for end in sorted(set(ends)):  # costs that reach equally far go back together
            ct = at_end if ends[-1] == end else nothing
            for i in reversed(range(max(end, 0), len(seen))):
                t, before, restart = seen[i]
                y_ct = ys_ct[t, b] if ends[i] == end else np.zeros_like(ys_ct[t, b])
                p_ct, ct, x_ct = pull_back(params, before, at(xs, t, b), ct, y_ct)
                params_ct = _add(params_ct, p_ct)
                for leaf, value in zip(jax.tree.leaves(xs_ct), jax.tree.leaves(x_ct), strict=True):
                    leaf[t, b] += value
                if restart:  # the carry before this one belongs to another episode
                    _add_to(fresh_ct, b, ct)
                    ct = jax.tree.map(jnp.zeros_like, ct)
            if end <= 0:
                _add_to(carry_ct, b, ct)
    point = Point(params_ct, xs_ct, jax.tree.unflatten(structure, carry_ct))
    return point, jax.tree.unflatten(structure, fresh_ct)


def _add_to(total, b, ct) -> None:
    for leaf, value in zip(total, ct, strict=True):
        if leaf is not None:
            leaf[b] += value
