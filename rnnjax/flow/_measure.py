"""What `watch` measures of a net at given params: layer by layer, in one compiled program."""

from typing import Any

import jax.numpy as jnp

from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree, known
from rnnjax.combinators import without_learned_carries
from rnnjax.flow._activity import parts, shares
from rnnjax.flow._cell import check_some, validate_cell
from rnnjax.flow._lyapunov import largest_exponent
from rnnjax.flow._norms import gradient_norms
from rnnjax.flow._record import Recording, trace
from rnnjax.flow._recurrence import Recurrence
from rnnjax.flow._spectral import why_no_spectra
from rnnjax.running import within


def lags_of(steps: int) -> list[int]:
    """0, 1, 2, 3, 4, 6, 8, 12, 16 … and the longest, T - 1."""
    doubling = [base << k for k in range(steps.bit_length()) for base in (2, 3)]
    return sorted({0, 1, steps - 1, *doubling} & {*range(steps)})


def layers_of(cell: Cell, params: Params) -> list[tuple[str, Cell, Params]]:
    """(prefix, cell, params) of each layer: one without a prefix, unless the cell is a stack."""
    cell, params = without_learned_carries(cell, params)
    cells = known(cell).layers
    if len(cells) < 2:
        return [("", cell, params)]
    return [(f"layer_{k}/", *pair) for k, pair in enumerate(zip(cells, params, strict=True), 1)]


def measure(net: Recurrence, leaf: str | None) -> dict[str, Array]:
    """Values by name, each a scalar."""
    sequence, steps, batch_shape = validate_cell(
        net.cell, net.params, net.xs, None, None, net.lengths, net.resets
    )
    check_some(steps, batch_shape)
    shape = (steps, *batch_shape)
    recording = trace(net.cell, net.params, sequence, shape, net.cost, last=True)[0]
    below = sequence
    found: dict[str, Array] = {}
    for k, (prefix, cell, params) in enumerate(layers_of(net.cell, net.params)):
        carry_ct = recording.carry_ct
        if prefix:
            below = below._replace(carry=sequence.carry[k], fresh=sequence.fresh[k])
            carry_ct = carry_ct[k]
        of_layer = Recording(recording.cost, carry_ct, recording.batch_ndim, recording.reads)
        values = _norms_by_lag(of_layer, leaf, steps, sequence.resets)
        exponents, (ys, tapes) = _run(cell, params, below, batch_shape)
        values["lyapunov"] = jnp.nanmean(exponents)
        if tapes is not None:
            valid = jnp.ones(shape, bool)
            if sequence.lengths is not None:
                valid = within(sequence.lengths, steps)
            values |= shares(cell, tapes, valid)
        below = below._replace(xs=ys)
        found |= {prefix + name: value for name, value in values.items()}
    return found


def _run(
    cell: Cell, params: Params, sequence: Sequence, batch_shape: tuple[int, ...]
) -> tuple[Array, tuple[PyTree, PyTree]]:
    """λ₁ `[..., 1]` of one layer, its outputs, and its tapes if its `parts` are known.

    In one loop, in which the compiler finds what they have in common.
    """
    rule = cell.rule
    if rule is None or not parts(cell):
        return largest_exponent(
            cell,
            params,
            sequence,
            batch_shape,
            lambda carry, x_t: (cell.step(params, carry, x_t)[1], None),
        )

    def beside(carry: Carry, z_t: PyTree) -> tuple[PyTree, PyTree]:
        (_, y_t), tape = rule.forward(params, carry, z_t)
        return y_t, tape

    projected = Cell(cell.init, cell.initial_carry, lambda *step: rule.forward(*step)[0])
    sequence = sequence._replace(xs=rule.project(params, sequence.xs))
    return largest_exponent(projected, params, sequence, batch_shape, beside)


def _norms_by_lag(
    recording: Recording, leaf: str | None, steps: int, resets: Array | None
) -> dict[str, Array]:
    """log10 of the median over examples of ‖∂C/∂s_{T-lag}‖, T the step that the cost reads.

    Without examples that are not read, unless none is: then there is no gradient at any lag. And
    without those whose episode at T begins after T - lag.
    """
    norms = gradient_norms(recording, leaf).reshape(steps, -1)
    reads = jnp.asarray(recording.reads).reshape(steps, -1)
    read = jnp.any(reads, axis=0)
    unread = jnp.where(jnp.any(read), -1, steps - 1)
    ends = jnp.where(read, jnp.argmax(reads, axis=0), unread)
    begins = jnp.zeros_like(ends)
    if resets is not None:
        t = jnp.arange(steps)[:, None]
        begins = jnp.max(jnp.where(resets.reshape(steps, -1) & (t <= ends[None]), t, 0), axis=0)

    lags = lags_of(steps)
    places = ends[None] - jnp.asarray(lags)[:, None]
    there = jnp.take_along_axis(norms, jnp.maximum(places, 0), axis=0)
    medians = jnp.nanmedian(jnp.where(places >= begins[None], there, jnp.nan), axis=1)
    logs = jnp.log10(medians)
    return {f"log10_gradient_norm_lag_{lag}": logs[k] for k, lag in enumerate(lags)}


def left_out(cell: Cell, params: Params, names: Any) -> list[str]:
    """What is not measured of a cell, and why."""
    said = []
    for prefix, layer, own in layers_of(cell, params):
        where = f"{prefix.rstrip('/').replace('_', ' ')}: " if prefix else ""
        if not parts(layer):
            said.append(f"{where}saturation, since the gates of {layer} are not known")
        if not any(name.startswith(f"{prefix}spectral_norm") for name in names):
            said.append(f"{where}spectra, since {why_no_spectra(layer, own)}")
    return said
