"""`Recurrent`: any cell as a module of Equinox."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnnjax._checks import check_flag
from rnnjax._execution import Gradient, Method
from rnnjax._types import Array, Carry, Cell, Inputs, Params, PyTree
from rnnjax.interop._arrays import peer
from rnnjax.interop._recurrent import Options, check_module, held_gradient, run
from rnnjax.methods import Auto
from rnnjax.unrolling import Layer, check_model_params

if TYPE_CHECKING:
    import equinox as eqx
else:
    eqx = peer("equinox")

__all__ = ["Recurrent"]


class Recurrent(eqx.Module):
    """A cell over sequences as an Equinox module.

    Sequences are time first, as everywhere in Equinox and rnnjax: `[T, D]`, or `[T, ..., D]` with
    batch axes, which run in one loop and on the kernels, as `jax.vmap` of the module does too.
    `params` is the pytree of weights; all else is static.

    Args:
      cell: any `Cell`, or a `Layer` such as `bidirectional(...)`.
      input_size: features of the inputs, as `Cell.init` takes them.
      params: weights to begin with, such as those of `rnnjax.load` or `from_torch`, in the place of
        drawn ones; input_size and key are not needed then.
      time_major: False for inputs and outputs `[..., T, D]`.
      return_carry: return `(carry, outputs)`.
      reverse: run from the last step, or each sequence's own last one, to the first.
      keep_order: with reverse, outputs stay at their steps; False for the order in which they are
        computed.
      inference: whether dropout and zoneout are off, also where a key is passed.
      method, gradient: how to execute and to differentiate, as for `rnnjax.unroll`.
      key: draws the weights.

    Raises:
      ImportError: Equinox is not installed.
      TypeError: `cell` is neither a cell nor a layer; neither params nor input_size and key.
      ValueError: params of another cell; a gradient that draws by a key.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax.interop.equinox import Recurrent
      >>> layer = Recurrent(rnnjax.lstm(4), 3, key=jax.random.key(0))
      >>> layer(jax.numpy.ones((10, 3))).shape
      (10, 4)
    """

    params: Any
    cell: Any = eqx.field(static=True)
    time_major: bool = eqx.field(static=True)
    return_carry: bool = eqx.field(static=True)
    reverse: bool = eqx.field(static=True)
    keep_order: bool = eqx.field(static=True)
    inference: bool
    method: Any = eqx.field(static=True)
    gradient: Any = eqx.field(static=True)

    def __init__(
        self,
        cell: Cell | Layer,
        input_size: Inputs | None = None,
        *,
        params: Params | None = None,
        time_major: bool = True,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = True,
        inference: bool = False,
        method: Method | Auto | None = None,
        gradient: Gradient | None = None,
        key: Array | None = None,
    ) -> None:
        check_module(cell, Options(return_carry, time_major, reverse, keep_order), method, gradient)
        check_flag("inference", inference)
        if params is None:
            if input_size is None or key is None:
                raise TypeError(
                    "pass input_size and key, which draw the weights, or params to begin with"
                )
            params = cell.init(key, input_size)
        self.params = check_model_params(cell, params)
        self.cell = cell
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.inference = inference
        self.method = method
        self.gradient = held_gradient(gradient)

    def __pdoc__(self, **options: Any) -> Any:
        """How Equinox prints it: the cell as its call, and the shapes of the weights."""
        wl: Any = import_module("wadler_lindig")
        parts = [wl.TextDoc(repr(self.cell)), *wl.named_objs([("params", self.params)], **options)]
        return wl.bracketed(
            begin=wl.TextDoc("Recurrent("),
            docs=parts,
            sep=wl.comma,
            end=wl.TextDoc(")"),
            indent=options["indent"],
        )

    def __call__(
        self,
        inputs: PyTree,
        *,
        initial_carry: Carry | None = None,
        seq_lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
        key: Array | None = None,
        gradient: Gradient | None = None,
    ) -> Any:
        """Run the cell over sequences.

        Args:
          inputs: `[T, ..., D]`, or a pytree of these.
          initial_carry: the state before the first step.
          seq_lengths: `[...]` integers, for right-padded sequences; outputs beyond are zero.
          resets, mask: booleans `[T, ...]`, as for `rnnjax.unroll`.
          key: turns on what is random in the cell, unless `inference` or an `initial_carry`.
          gradient: in the place of the module's own. One that draws, such as
            `rnnjax.online.uoro(key)`, is passed here alone, with a new key each time.

        Returns:
          Outputs `[T, ..., H]`; with return_carry `(carry, outputs)`.
        """
        options = Options(self.return_carry, self.time_major, self.reverse, self.keep_order)
        return run(
            self.cell,
            self.params,
            inputs,
            options,
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            resets=resets,
            mask=mask,
            key=None if key is None or self.inference else key,
            method=self.method,
            gradient=self.gradient if gradient is None else gradient,
        )
