"""What `watch` measures of a net at given params: layer by layer, in one compiled program."""

from typing import Any

import jax.numpy as jnp

from rnnjax._types import Array, Cell, Params, known
from rnnjax.combinators import without_learned_carries
from rnnjax.flow._activity import parts, run
from rnnjax.flow._cell import validate_cell
from rnnjax.flow._lyapunov import lyapunov_spectrum
from rnnjax.flow._norms import gradient_norms
from rnnjax.flow._record import Recording, trace
from rnnjax.flow._recurrence import Recurrence
from rnnjax.running import fill_padding
from rnnjax.unrolling import unroll


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
        net.cell, net.params, net.xs, None, None, net.lengths
    )
    if steps == 0:
        raise ValueError("xs has T = 0 steps: no error can travel back. Give at least one step")
    shape = (steps, *batch_shape)
    recording = trace(net.cell, net.params, sequence, shape, net.cost, last=True)[0]
    lengths, valid = sequence.lengths, jnp.ones(shape, bool)
    if lengths is not None:
        valid = jnp.arange(steps).reshape((steps,) + (1,) * len(batch_shape)) < lengths[None]
    xs = fill_padding(sequence.xs, lengths, valid)
    layers = layers_of(net.cell, net.params)
    found: dict[str, Array] = {}
    for k, (prefix, cell, params) in enumerate(layers):
        start = sequence.carry[k] if prefix else sequence.carry
        carry_ct = recording.carry_ct[k] if prefix else recording.carry_ct
        of_layer = Recording(recording.cost, carry_ct, recording.batch_ndim, recording.reads)
        values = _norms_by_lag(of_layer, leaf, steps)
        exponents = lyapunov_spectrum(cell, params, xs, 1, carry=start, lengths=lengths)
        values["lyapunov"] = jnp.nanmean(exponents)
        if parts(cell):
            xs, shares = run(cell, params, start, xs, valid)
            values |= shares
        elif k + 1 < len(layers):
            xs = unroll(cell, params, xs, carry=start, lengths=lengths)[1]
        found |= {prefix + name: value for name, value in values.items()}
    return found


def _norms_by_lag(recording: Recording, leaf: str | None, steps: int) -> dict[str, Array]:
    """log10 of the median over examples of ‖∂C/∂s_{T-lag}‖, T the step that the cost reads.

    Without examples that are not read, unless none is: then there is no gradient at any lag.
    """
    norms = gradient_norms(recording, leaf).reshape(steps, -1)
    reads = jnp.asarray(recording.reads).reshape(steps, -1)
    read = jnp.any(reads, axis=0)
    unread = jnp.where(jnp.any(read), -1, steps - 1)
    ends = jnp.where(read, jnp.argmax(reads, axis=0), unread)

    lags = lags_of(steps)
    places = ends[None] - jnp.asarray(lags)[:, None]
    there = jnp.take_along_axis(norms, jnp.maximum(places, 0), axis=0)
    medians = jnp.nanmedian(jnp.where(places >= 0, there, jnp.nan), axis=1)
    logs = jnp.log10(medians)
    return {f"log10_gradient_norm_lag_{lag}": logs[k] for k, lag in enumerate(lags)}


def left_out(cell: Cell, params: Params, names: Any) -> list[str]:
    """What is not measured of a cell, and why."""
    said = []
    for prefix, layer, _ in layers_of(cell, params):
        where = f"{prefix.rstrip('/').replace('_', ' ')}: " if prefix else ""
        if not parts(layer):
            said.append(f"{where}saturation, since the gates of {layer} are not known")
        if not any(name.startswith(f"{prefix}spectral_norm") for name in names):
            said.append(f"{where}spectra, since its params have no matrix w_h [H, k H]")
    return said
