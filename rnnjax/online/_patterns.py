"""Which params reach which entries of the state within n steps: the sparsity of SnAp-n."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import key_impl
from jax.tree_util import DictKey, GetAttrKey

from rnnjax._checks import is_inexact
from rnnjax._dtypes import at_least_float32
from rnnjax._leaves import differentiable, inexact
from rnnjax._random import is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.online._either_way import either_way
from rnnjax.online._rows import replaced, rows, state
from rnnjax.running import pack

_FILLED = 3  # numbers held for one that is needed: fewer take more, smaller blocks to compile
_PROBES = 16  # a ReLU that is off at all of them would be taken for one that never is on


class Blocks(NamedTuple):
    """Columns of one leaf of params, in G groups of up to Q that reach the same up to K rows.

    Where there are fewer, the index is R, or P.
    """

    rows: np.ndarray  # [G, K]
    columns: np.ndarray  # [G, Q], of the flat leaf
    jacobian: np.ndarray  # [G, K, K] bool: the entries of J among the group's rows
    direct: np.ndarray  # [G, K, Q] bool: those of I


class Leaf(NamedTuple):
    """All blocks of one leaf of params, of unequal sizes."""

    blocks: tuple[Blocks, ...]
    place: np.ndarray  # as the leaf: a column's place among [G, Q] of all blocks; beyond: nowhere
    dtype: Any  # of its influence


class Layout(NamedTuple):
    """Where the entries are that n steps reach, and how few backward steps give J and I.

    Rows of one colour have no column in common, so that the sum of them that one backward step
    gives has each of their entries (Curtis, Powell & Reid 1974).
    """

    structure: Any  # of differentiable params
    leaves: tuple[Leaf, ...]
    jacobian_colors: np.ndarray  # [R]
    direct_colors: np.ndarray  # [R]


class Asked(NamedTuple):
    """What a layout depends on: hashable, and no array."""

    cell: Cell
    tree: Any  # of (params, carry, x_t)
    like: tuple[Any, ...]  # shape, dtype and key implementation of each leaf
    n: int


def asked(cell: Cell, params: Params, carry: Carry, x_t: PyTree, n: int) -> Asked:
    leaves, tree = jax.tree.flatten((params, carry, x_t))
    like = tuple((leaf.shape, leaf.dtype, is_key(leaf) and key_impl(leaf)) for leaf in leaves)
    return Asked(cell, tree, like, n)


@functools.lru_cache(64)
def layout(of: Asked) -> Layout:
    """Of params that reach units of (s_t, y_t) within n steps, the first of which may be s_0.

    A property of the step and not of the weights' values: what is zero at all of some random
    params, carries and inputs, whichever way the step's choices go, is taken for zero everywhere.
    """
    probed = _probed(of)
    jacobian, units = probed.jacobian, probed.units
    count, size = jacobian.shape
    square = np.pad(jacobian, ((0, 1), (0, count + 1 - size)))
    moves = jacobian.astype(np.float32)
    order = np.argsort(units, kind="stable")
    _, begins, back = np.unique(units[order], return_index=True, return_inverse=True)
    back = back[np.argsort(order)]

    def whole(rows: np.ndarray) -> np.ndarray:
        return np.logical_or.reduceat(rows[order], begins)[back]

    def entries(derivative: np.ndarray) -> np.ndarray:
        return np.any(derivative != 0, axis=0).reshape(count, -1)

    def leaf_of(derivative: np.ndarray, first: np.ndarray) -> Leaf:
        direct = entries(derivative)
        reached = whole(np.logical_or(direct, entries(first)))
        for _ in range(of.n - 1):
            more = whole(np.logical_or(reached, moves @ reached[:size] > 0))
            if np.array_equal(more, reached):
                break
            reached = more
        blocks, place = _blocks_of(square, direct, reached)
        shape = derivative.shape[2:]
        return Leaf(blocks, place.reshape(shape), at_least_float32(derivative.dtype))

    each, structure = jax.tree.flatten(probed.direct)
    leaves = tuple(map(leaf_of, each, jax.tree.leaves(probed.first)))
    direct = np.concatenate([entries(i) for i in each], axis=1)
    return Layout(structure, leaves, _colors(jacobian), _colors(direct))


class _Probed(NamedTuple):
    """Derivatives at random points."""

    jacobian: np.ndarray  # [R, S] bool: where J is not zero
    direct: PyTree  # I [probes, R, ...] of each leaf of params
    first: PyTree  # ∂s_0/∂θ likewise, of the cell's own initial carry
    units: np.ndarray  # [R]: a number for each unit, see `_units`


def _probed(of: Asked) -> _Probed:
    rng = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...], dtype: Any, impl: Any) -> Any:
        shape = (_PROBES, *shape)
        if impl:
            return jax.random.split(jax.random.key(0, impl=impl), shape)
        if not jnp.issubdtype(dtype, jnp.inexact):
            return np.ones(shape, dtype)
        noise = rng.standard_normal(shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            noise = noise + 1j * rng.standard_normal(shape)
        return (0.5 * noise).astype(dtype)

    with jax.ensure_compile_time_eval():
        at = jax.tree.unflatten(of.tree, [drawn(*each) for each in of.like])
        found = jax.jit(jax.vmap(functools.partial(_derivatives, of.cell)))(*at)
    out, jacobians, direct, first = jax.tree.map(np.asarray, found)
    return _Probed(np.any(jacobians != 0, axis=0), direct, first, _units(at[1], out))


def _blocks_of(
    jacobian: np.ndarray, direct: np.ndarray, reached: np.ndarray
) -> tuple[tuple[Blocks, ...], np.ndarray]:
    """From J [R + 1, R + 1], I [R, P] and the pattern [R, P], all booleans: blocks, and where in
    them each column is [P]."""
    size = reached.shape[1]
    used = np.flatnonzero(reached.any(0))
    packed = np.packbits(reached[:, used], axis=0)
    _, first, group = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    groups = [(np.flatnonzero(reached[:, used[c]]), used[group == g]) for g, c in enumerate(first)]
    direct = np.pad(direct, ((0, 1), (0, 1)))
    blocks = tuple(_blocks(jacobian, direct, alike) for alike in _sorted(groups))
    members = np.concatenate([np.zeros(0, int), *(b.columns.reshape(-1) for b in blocks)])
    place = np.full(size + 1, members.size)
    place[members] = np.arange(members.size)
    return blocks, np.where(reached.any(0), place[:size], members.size)


Group = tuple[np.ndarray, np.ndarray]  # its rows and its columns


def _sorted(groups: list[Group]) -> list[list[Group]]:
    """Groups of similar sizes together, in as few lists as hold up to three times their entries."""
    entries = sum(rows.size * columns.size for rows, columns in groups)
    lists: list[list[Group]] = []
    for digits in (0, 1, 2):  # of what is told apart: nothing, K, K and Q
        found: dict[tuple[int, ...], list[Group]] = {}
        for group in groups:
            sizes = tuple(part.size.bit_length() for part in group)
            found.setdefault(sizes[:digits], []).append(group)
        lists = list(found.values())
        filled = (len(a) * max(r.size for r, _ in a) * max(c.size for _, c in a) for a in lists)
        if sum(filled) <= _FILLED * entries:
            break
    return lists


def _blocks(jacobian: np.ndarray, direct: np.ndarray, groups: list[Group]) -> Blocks:
    rows = _padded([rows for rows, _ in groups], len(jacobian) - 1)
    columns = _padded([columns for _, columns in groups], direct.shape[1] - 1)
    return Blocks(
        rows,
        columns,
        jacobian[rows[:, :, None], rows[:, None, :]],
        direct[rows[:, :, None], columns[:, None, :]],
    )


def _padded(lists: list[np.ndarray], filler: int) -> np.ndarray:
    """[number of lists, length of the longest]."""
    padded = np.full((len(lists), max(map(len, lists))), filler)
    for row, values in zip(padded, lists, strict=True):
        row[: len(values)] = values
    return padded


def _colors(entries: np.ndarray) -> np.ndarray:
    """A colour for each row of a boolean matrix, the first that no row has that shares a column."""
    entries = entries.astype(np.float32)
    conflicts = entries @ entries.T > 0
    colors = np.full(len(entries), -1)
    for row in range(len(entries)):
        taken = set(colors[:row][conflicts[row, :row]])
        colors[row] = next(color for color in range(row + 1) if color not in taken)
    return colors


def _units(carries: Carry, out: np.ndarray) -> np.ndarray:
    """[R]: which unit each row belongs to, for rows whose values are `out` [probes, R].

    Both parts of a complex number are of one unit; so are the entries in one place of named fields
    of one shape, such as h and c of an LSTM, and what y_t has of them. The rest is by itself.
    """
    numbers: dict[Any, int] = {}
    units: list[int] = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(carries)[0]:
        if not is_inexact(leaf):
            continue
        named = isinstance(path[-1] if path else None, GetAttrKey | DictKey)
        of = (path[:-1], leaf.shape) if named else path
        places = [numbers.setdefault((of, k), len(numbers)) for k in range(leaf[0].size)]
        units += places * (2 if np.iscomplexobj(leaf) else 1)
    state = out[:, : len(units)]
    for row in range(len(units), out.shape[1]):
        same = np.flatnonzero(np.all(state == out[:, row, None], axis=0))
        units.append(units[same[0]] if same.size else len(numbers) + row)
    return np.array(units, int)


def _derivatives(cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> tuple[Any, ...]:
    """(s_t, y_t), J, I, and ∂s_0/∂θ with as many rows."""

    def whole(params: Params, carry: Carry, x_t: PyTree) -> Array:
        return rows(cell, *cell.step(params, carry, x_t))

    mixed = either_way(whole, params, carry, x_t)

    def step(weights: PyTree, before: list[Array]) -> Array:
        return mixed(replaced(params, weights), replaced(carry, before), x_t)

    out, pull = jax.vjp(step, differentiable(params), inexact(carry))

    def one(ct: Array) -> tuple[PyTree, Array]:
        params_ct, before_ct = pull(ct)
        return params_ct, pack(before_ct, 0)

    eye = jnp.eye(out.shape[0], dtype=out.dtype)
    direct, jacobian = jax.vmap(one)(eye)
    plain = jax.eval_shape(lambda params: initial_carry(cell, params, (1,)), params)
    is_plain = jax.tree.structure(plain) == jax.tree.structure(carry)
    key = None if is_plain else jax.random.key(0)

    def own(params: Params, key: Array | None) -> Array:
        s = state(jax.tree.map(lambda leaf: leaf[0], initial_carry(cell, params, (1,), key)))
        return jnp.pad(s, (0, out.shape[0] - s.shape[0]))

    mixed_first = either_way(own, params, key)
    first, pull_first = jax.vjp(
        lambda w: mixed_first(replaced(params, w), key), differentiable(params)
    )
    of_first = jax.vmap(lambda ct: pull_first(ct)[0])(eye.astype(first.dtype))
    return out, jacobian, direct, of_first
