"""Stacked cells: deep recurrence as one cell."""

from typing import Any

import jax

from rnnjax._checks import check_cell
from rnnjax._params import in_dtype_of
from rnnjax._types import (
    Array,
    Carry,
    Cell,
    Clip,
    Inputs,
    Inverse,
    Params,
    PyTree,
    Rule,
    Structure,
    initial_carry,
    known,
)
from rnnjax.combinators._inner import (
    combinator,
    inner_forward,
    inner_input_ct,
    output_features,
)


@combinator
def stack(*cells: Cell) -> Cell:
    """Deep recurrence as one cell: at every step, each cell reads the output of the one below.

        y_t⁰ = x_t;   carry_tᵏ, y_tᵏ = stepᵏ(paramsᵏ, carry_{t-1}ᵏ, y_tᵏ⁻¹);   y_t = y_tᴷ

    Args:
      cells: the cells, the first nearest to the input.

    Returns:
      A `Cell` whose params and carry are tuples with one entry a cell, as those of `serial`. It
      has a rule if all of its cells have. `unroll` runs its cells one after the other, each by the
      fastest method that can.

    Raises:
      TypeError: an argument is not a `Cell`.
      ValueError: no cells.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.gru(3))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))[1].shape
      (5, 3)

    References:
      Graves (2013), Generating sequences with recurrent neural networks, arXiv 1308.0850.
    """
    if not cells:
        raise ValueError("stack() needs at least one cell")

    for cell in cells:
        check_cell(cell)

    def init(key: Array, inputs: Inputs) -> Params:
        params: list[Params] = []
        for cell, cell_key in zip(cells, jax.random.split(key, len(cells)), strict=True):
            params.append(cell.init(cell_key, inputs))
            inputs = output_features(cell, params[-1], inputs)
        return tuple(params)

    def stacked_carry(
        params: Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> Carry:
        keys = [None] * len(cells) if key is None else jax.random.split(key, len(cells))
        return tuple(
            initial_carry(cell, p, batch_shape, k)
            for cell, p, k in zip(cells, params, keys, strict=True)
        )

    def step(params: Params, carry: Carry, x_t: PyTree) -> tuple[Carry, PyTree]:
        new: list[Carry] = []
        for cell, cell_params, cell_carry in zip(cells, params, carry, strict=True):
            x_t = in_dtype_of(cell_params, x_t)
            cell_carry, x_t = cell.step(cell_params, cell_carry, x_t)
            new.append(cell_carry)
        return tuple(new), x_t

    rules = [cell.rule for cell in cells if cell.rule is not None]
    rule = _stacked_rule(rules) if len(rules) == len(cells) else None
    structure = Structure(
        layers=cells,
        inverse=_stacked_inverse(cells),
        feature_axes=cells[0].structure.feature_axes,
        params=tuple(known(cell).params for cell in cells),
    )
    return Cell(init, stacked_carry, step, rule, structure)


def _stacked_inverse(cells: tuple[Cell, ...]) -> Inverse | None:
    inverses = [known(cell).inverse for cell in cells]

    def inverse(params: Params, carry: Carry, x_t: PyTree) -> Carry:
        before: list[Carry] = []
        for cell, back, own, after in zip(cells, inverses, params, carry, strict=True):
            x_t = in_dtype_of(own, x_t)
            before.append(back(own, after, x_t))  # pyright: ignore
            x_t = cell.step(own, before[-1], x_t)[1]  # what the cell above read
        return tuple(before)

    return None if None in inverses else inverse


def _stacked_rule(rules: list[Rule]) -> Rule:
    first, above = rules[0], rules[1:]

    def project(params: Params, xs: Array) -> PyTree:
        return first.project(params[0], in_dtype_of(params[0], xs))

    def forward(params: Params, carry: Carry, z_t: PyTree) -> tuple[tuple[Carry, Array], Any]:
        (new, y_t), tape = first.forward(params[0], carry[0], z_t)
        carries, tapes = [new], [tape]
        inputs: list[Array] = []  # of the cells above the first
        for rule, cell_params, cell_carry in zip(above, params[1:], carry[1:], strict=True):
            y_t = in_dtype_of(cell_params, y_t)
            inputs.append(y_t)
            (new, y_t), tape = inner_forward(rule, cell_params, cell_carry, y_t)
            carries.append(new)
            tapes.append(tape)
        return (tuple(carries), y_t), (tuple(tapes), tuple(inputs))

    def backward(params: Params, tape: Any, carry_ct: Carry, y_ct: Array, clip: Clip):
        # Top to bottom: ∂C/∂x_tᵏ of one cell is ∂C/∂y_tᵏ⁻¹ of the one below.
        tapes, inputs = tape
        carry_cts: list[Carry] = []
        deltas: list[PyTree] = []
        for k in reversed(range(len(rules))):
            ct, delta = rules[k].backward(params[k], tapes[k], carry_ct[k], y_ct, clip)
            carry_cts.insert(0, ct)
            deltas.insert(0, delta)
            if k > 0:
                y_ct = inner_input_ct(rules[k], params[k], inputs[k - 1], tapes[k], delta)
                y_ct = in_dtype_of(params[k - 1], y_ct)
        return tuple(carry_cts), tuple(deltas)

    def gradients(params: Params, xs: Array, tapes: Any, deltas: PyTree) -> tuple[Params, Array]:
        cell_tapes, inputs = tapes
        first = in_dtype_of(params[0], xs)
        each = [
            rule.gradients(p, x, tape, delta)
            for rule, p, x, tape, delta in zip(
                rules, params, (first, *inputs), cell_tapes, deltas, strict=True
            )
        ]
        xs_ct = jax.tree.map(_in_dtype_like, xs, each[0][1])
        return tuple(params_ct for params_ct, _ in each), xs_ct

    return Rule(project, forward, backward, gradients)


def _in_dtype_like(x: Array, ct: Array) -> Array:
    """A cotangent in the dtype of what it belongs to."""
    return ct if ct is None or ct.dtype == x.dtype else ct.astype(x.dtype)
