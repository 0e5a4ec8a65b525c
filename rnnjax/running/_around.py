"""The run of a cell that is around another: the inner one's run between changes of all its inputs
and outputs."""

from typing import Any

import jax

from rnnjax._execution import Run, Sequence
from rnnjax._types import Around, Array, Carry, Params, PyTree
from rnnjax.running._flagged import select
from rnnjax.running._sequence import Masked, blank, fill_padding, mask


def around(how: Around, run: Run, reverse: bool, carries: bool = False) -> Run:
    """The run of a cell around `how.cell`, whose run is `run`.

    With `carries`, outputs are `(carries, ys)`, those of every step.
    """

    def whole(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
        masked = mask(params, sequence, reverse)
        xs = fill_padding(masked.xs, sequence.lengths, masked.valid)
        inner, noise = how.split(sequence.carry)
        fresh, fresh_noise = how.split(sequence.fresh)
        noise, every, drawn = _drawn(how, noise, fresh_noise, masked, reverse)
        seen = how.before(params, drawn, xs)
        last, ys = run(how.own(params), sequence._replace(xs=seen, carry=inner, fresh=fresh))
        held, ys = ys if carries else (None, ys)
        ys = blank(masked.valid, how.after(params, xs, ys))
        return how.join(last, noise), (how.join(held, every), ys) if carries else ys

    return whole


def _drawn(
    how: Around, noise: PyTree, fresh: PyTree, masked: Masked, reverse: bool
) -> tuple[PyTree, PyTree, PyTree]:
    """The noise after the last step, that after every step, and what each step draws `[T, ...]`."""
    if not jax.tree.leaves(noise):
        return noise, noise, how.draw(noise)[1]

    def body(before: PyTree, flags: Any) -> tuple[PyTree, Any]:
        begins_t, valid_t = flags
        begun = before if begins_t is None else select(begins_t, fresh, before)
        after, drawn_t = how.draw(begun)
        if valid_t is not None:
            after = select(valid_t, after, before)
        return after, (after, drawn_t)

    flags: tuple[Array | None, Array | None] = (masked.begins, masked.valid)
    length = jax.tree.leaves(masked.xs)[0].shape[0]
    last, (every, drawn) = jax.lax.scan(body, noise, flags, length=length, reverse=reverse)
    return last, every, drawn
