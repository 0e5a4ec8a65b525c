"""`Recurrent`: any cell as a module of Flax NNX, in the place of `flax.nnx.RNN`."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from rnnjax._checks import check_flag, described
from rnnjax._execution import Gradient, Method
from rnnjax._types import Array, Carry, Cell, Inputs, Params, PyTree
from rnnjax.interop._recurrent import (
    Options,
    Sharding,
    check_module,
    check_sharding,
    held_gradient,
    is_random,
    run,
    sharding_of,
)
from rnnjax.methods import Auto
from rnnjax.unrolling import Layer, check_model_params

__all__ = ["Recurrent"]


class Recurrent(nnx.Module):
    """A cell over sequences as an NNX module, with the arguments of `nnx.RNN`.

        nnx.RNN(nnx.LSTMCell(3, 64, rngs=r))    becomes    Recurrent(rnnjax.lstm(64), 3, rngs=r)

    Every weight is an `nnx.Param`, so `nnx.Optimizer`, `nnx.state`, `nnx.jit`, `nnx.grad` and
    checkpoints treat it as any other module's. Two things differ from `nnx.RNN`: carries are those
    of the cell (`LSTMCarry(h, c)`, where Flax has `(c, h)`), and outputs in the padding are zero.

    Dropout and zoneout in the cell draw from the stream `dropout` of `rngs`, in training:
    `model.eval()`, `nnx.view(model, deterministic=True)` or deterministic=True turns them off, and
    so does an `initial_carry`, which says itself what is random.

    Args:
      cell: any `Cell`, or a `Layer` such as `bidirectional(...)`.
      input_size: features of the inputs, as `Cell.init` takes them.
      params: weights to begin with, such as those of `rnnjax.load` or `from_torch`, in the place of
        drawn ones; input_size and rngs are not needed then.
      time_major: inputs and outputs are `[T, ..., D]`; by default `[..., T, D]`.
      return_carry: return `(carry, outputs)`.
      reverse: run from the last step, or each sequence's own last one, to the first.
      keep_order: with reverse, outputs stay at their steps; by default they are in the order in
        which they are computed.
      deterministic: whether what is random is off.
      method, gradient: how to execute and to differentiate, as for `rnnjax.unroll`.
      sharding: names of mesh axes by the name of an array, `w_x`, or its place, `0.w_x` in a stack:
        `{"w_x": (None, "model")}`. They become the metadata of its `nnx.Param`.
      rngs: draws the weights, from the stream `params`, and what is random.

    Raises:
      TypeError: `cell` is neither a cell nor a layer; neither params nor input_size and rngs.
      ValueError: params of another cell; a sharding of an array that there is not; a gradient that
        draws by a key.

    Example:
      >>> import jax, rnnjax
      >>> from flax import nnx
      >>> from rnnjax.interop.nnx import Recurrent
      >>> layer = Recurrent(rnnjax.lstm(4), 3, rngs=nnx.Rngs(0))
      >>> layer(jax.numpy.ones((2, 10, 3))).shape                   # [B, T, D] -> [B, T, H]
      (2, 10, 4)
      >>> carry, ys = layer(jax.numpy.ones((2, 10, 3)), return_carry=True)
      >>> carry.h.shape
      (2, 4)
    """

    def __init__(
        self,
        cell: Cell | Layer,
        input_size: Inputs | None = None,
        *,
        params: Params | None = None,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        deterministic: bool = False,
        method: Method | Auto | None = None,
        gradient: Gradient | None = None,
        sharding: Sharding | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        check_module(cell, Options(return_carry, time_major, reverse, keep_order), method, gradient)
        check_flag("deterministic", deterministic)
        if not isinstance(rngs, nnx.Rngs | None):
            raise TypeError(f"rngs must be an nnx.Rngs, such as nnx.Rngs(0), got {described(rngs)}")
        if params is None:
            if input_size is None or rngs is None:
                raise TypeError(
                    "pass input_size and rngs, which draw the weights, or params to begin with"
                )
            params = cell.init(rngs.params(), input_size)
        else:
            params = check_model_params(cell, params)
        check_sharding(sharding, params)

        def param(path: Any, leaf: Array) -> nnx.Param:
            names = sharding_of(sharding, path)
            return nnx.Param(nnx.with_partitioning(lambda: leaf, names)() if names else leaf)

        self.cell = cell
        self.weights = nnx.data(jax.tree_util.tree_map_with_path(param, params))
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.deterministic = deterministic
        self.method = method
        self.gradient = held_gradient(gradient)
        self.random = is_random(cell, params)
        self.rngs = nnx.data(rngs.dropout.fork() if rngs is not None and self.random else None)

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view(model, deterministic=True)` calls on the view's copy of the module.

        Args:
          deterministic: whether what is random is off.
        """
        if deterministic is not None:
            self.deterministic = check_flag("deterministic", deterministic)

    @property
    def cell_params(self) -> Params:
        """The weights as the cell has them: for `rnnjax.unroll`, `rnnjax.save`, `rnnjax.flow`."""
        return jax.tree.map(
            lambda param: param[...],
            self.weights,
            is_leaf=lambda node: isinstance(node, nnx.Variable),
        )

    def __nnx_repr__(self) -> Any:
        """What Flax prints, with the cell as its call."""
        for part in super().__nnx_repr__():
            is_cell = getattr(part, "key", None) == "cell" and dataclasses.is_dataclass(part)
            yield dataclasses.replace(part, value=_Text(repr(self.cell))) if is_cell else part

    def __call__(
        self,
        inputs: PyTree,
        *,
        initial_carry: Carry | None = None,
        seq_lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        deterministic: bool | None = None,
        gradient: Gradient | None = None,
        rngs: Any = None,
    ) -> Any:
        """Run the cell over sequences.

        Args:
          inputs: `[..., T, D]`, or `[T, ..., D]` with time_major; or a pytree of these.
          initial_carry: the state before the first step, of the cell's own form.
          seq_lengths: `[...]` integers, for right-padded sequences; outputs beyond are zero.
          resets, mask: booleans `[..., T]`, or `[T, ...]` with time_major, as for `rnnjax.unroll`.
          return_carry, time_major, reverse, keep_order, deterministic, gradient: in the place of
            the module's own. A gradient that draws, such as `rnnjax.online.uoro(key)`, is passed
            here alone, with a new key each time.
          rngs: an `nnx.Rngs`, a stream or a key for what is random, in the place of the module's.

        Returns:
          Outputs `[..., T, H]`, or `[T, ..., H]` with time_major; with return_carry
          `(carry, outputs)`.
        """
        own = Options(self.return_carry, self.time_major, self.reverse, self.keep_order)
        options = own.but(
            return_carry=return_carry,
            time_major=time_major,
            reverse=reverse,
            keep_order=keep_order,
        )
        off = self.deterministic if deterministic is None else deterministic
        check_flag("deterministic", off)
        source = self.rngs if rngs is None else rngs
        return run(
            self.cell,
            self.cell_params,
            inputs,
            options,
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            resets=resets,
            mask=mask,
            key=_key(source) if self.random and not off and source is not None else None,
            method=self.method,
            gradient=self.gradient if gradient is None else gradient,
        )


@dataclasses.dataclass(frozen=True)
class _Text:
    text: str

    def __repr__(self) -> str:
        return self.text


def _key(source: Any) -> Any:
    """The next key of a stream, of the stream `dropout` of several, or the key itself."""
    stream: Any = source.dropout if isinstance(source, nnx.Rngs) else source
    return stream() if callable(stream) else stream
