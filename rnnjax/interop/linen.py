"""`Recurrent`: any cell as a module of Flax Linen, in the place of `flax.linen.RNN`."""

from typing import Any

import flax.linen as nn
import jax

from rnnjax._checks import check_flag
from rnnjax._execution import Gradient, Method
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.interop._recurrent import (
    Options,
    Sharding,
    check_module,
    check_sharding,
    features,
    is_random,
    path_names,
    run,
    sharding_of,
)
from rnnjax.methods import Auto
from rnnjax.unrolling import Layer

__all__ = ["Recurrent", "params_of"]


class Recurrent(nn.Module):
    """A cell over sequences as a Linen module, with the arguments of `nn.RNN`.

        nn.RNN(nn.LSTMCell(64))    becomes    Recurrent(rnnjax.lstm(64))

    The weights are under `params/cell` by the names that the cell gives them, `w_x`, or `0/w_x` in
    a stack, drawn by `cell.init` for the inputs' features. Two things differ from `nn.RNN`:
    carries are those of the cell (`LSTMCarry(h, c)`, where Flax has `(c, h)`), and outputs in the
    padding are zero.

    Dropout and zoneout in the cell are on where there is an rng called `dropout`, as in
    `apply(variables, xs, rngs={"dropout": key})`, unless deterministic=True or an `initial_carry`
    is given, which says itself what is random.

    Attributes:
      cell: any `Cell`, or a `Layer` such as `bidirectional(...)`.
      time_major: inputs and outputs are `[T, ..., D]`; by default `[..., T, D]`.
      return_carry: return `(carry, outputs)`.
      reverse: run from the last step, or each sequence's own last one, to the first.
      keep_order: with reverse, outputs stay at their steps; by default they are in the order in
        which they are computed.
      deterministic: whether what is random is off.
      method, gradient: how to execute and to differentiate, as for `rnnjax.unroll`.
      sharding: names of mesh axes by the name of an array, `w_x`, or its place, `0.w_x` in a stack:
        `{"w_x": (None, "model")}`. Such arrays are `nn.Partitioned` in what `init` returns.

    Raises:
      TypeError: (at the first call) `cell` is neither a cell nor a layer.
      ValueError: (at the first call) a sharding of an array that there is not.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax.interop.linen import Recurrent
      >>> layer = Recurrent(rnnjax.lstm(4))
      >>> xs = jax.numpy.ones((2, 10, 3))                           # [B, T, D]
      >>> variables = layer.init(jax.random.key(0), xs)
      >>> layer.apply(variables, xs).shape
      (2, 10, 4)
      >>> sorted(variables["params"]["cell"])
      ['b', 'w_h', 'w_x']
    """

    cell: Any  # Cell | Layer, which Linen would else take apart
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    deterministic: bool = False
    method: Method | Auto | None = None
    gradient: Gradient | None = None
    sharding: Sharding | None = None

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        initial_carry: Carry | None = None,
        init_key: Array | None = None,
        seq_lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        deterministic: bool | None = None,
        gradient: Gradient | None = None,
    ) -> Any:
        """Run the cell over sequences; arguments and results as for `rnnjax.interop.nnx`.

        An `init_key` draws what is random in the place of the rng called `dropout`. A gradient that
        draws, such as `rnnjax.online.uoro(key)`, is passed here, with a new key each time.
        """
        own = Options(self.return_carry, self.time_major, self.reverse, self.keep_order)
        options = own.but(
            return_carry=return_carry,
            time_major=time_major,
            reverse=reverse,
            keep_order=keep_order,
        )
        cell: Cell | Layer = self.cell
        gradient = self.gradient if gradient is None else gradient
        check_module(cell, options, self.method, gradient)
        inputs_of_one_step = features(cell, inputs)
        shapes = jax.eval_shape(lambda key: cell.init(key, inputs_of_one_step), jax.random.key(0))

        def init(key: Array) -> Any:
            check_sharding(self.sharding, shapes)
            return _boxed(cell.init(key, inputs_of_one_step), self.sharding)

        params = params_of(self.param("cell", init), shapes)
        off = self.deterministic if deterministic is None else deterministic
        check_flag("deterministic", off)
        draws = not off and is_random(cell, params)
        if draws and init_key is None and self.has_rng("dropout"):
            init_key = self.make_rng("dropout")
        return run(
            cell,
            params,
            inputs,
            options,
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            resets=resets,
            mask=mask,
            key=init_key if draws else None,
            method=self.method,
            gradient=gradient,
        )


def _boxed(params: Params, sharding: Sharding | None) -> dict[str, Any]:
    """Params as nested dicts by name, those with axis names as `nn.Partitioned`."""
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        *above, last = path_names(path) or ["params"]
        place = named
        for name in above:
            place = place.setdefault(name, {})
        names = sharding_of(sharding, path)
        place[last] = nn.Partitioned(leaf, names) if names else leaf
    return named


def params_of(named: dict[str, Any], shapes: Params) -> Params:
    """Params in the form of `shapes`, from nested dicts by name: those under `params/cell`.

    For what takes a cell's params, such as `rnnjax.unroll` and `rnnjax.save`:
    `params_of(variables["params"]["cell"], jax.eval_shape(lambda: cell.init(key, input_size)))`.

    Raises:
      ValueError: an array is missing.
    """

    def at(path: Any, _: Any) -> Any:
        names = path_names(path) or ["params"]
        found: Any = named
        for name in names:
            if name not in found:
                raise ValueError(
                    f"there is no {'/'.join(names)} under params/cell, but {', '.join(found)}"
                )
            found = found[name]
        return found

    return jax.tree_util.tree_map_with_path(at, shapes)
