"""`watch`: gradient flow during training, as a callback of any loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._arguments import check_callable, check_flag, check_int, check_positive_int
from rnnjax._checks import check_cell, described
from rnnjax._extras import optional
from rnnjax._files import json_line
from rnnjax._integers import of_own_width
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import in_dtype, refuse_layer, validate_cell
from rnnjax.flow._float64 import explained
from rnnjax.flow._live import Live
from rnnjax.flow._measure import layers_of, left_out, measure
from rnnjax.flow._recurrence import Recurrence
from rnnjax.flow._spectral import spectra


class Watch:
    """Measures gradient flow every so many steps; made by `watch`, called as `(step, params)`."""

    def __init__(
        self,
        net: Callable[[Params], Recurrence],
        alone: Cell | None,
        every: int,
        leaf: str | None,
        eigenvalues: bool | None,
        to: Path | None,
        tensorboard: Path | None,
        live: bool,
    ) -> None:
        self.every = every
        self.history: list[dict[str, Any]] = []  # what was measured, with its step
        self.left_out: tuple[str, ...] = ()  # what the cell lacks, once something was measured
        self._alone = alone  # the cell whose params these are, if they are those of no larger net
        self._eigenvalues = eigenvalues
        self._to, self._tensorboard = to, tensorboard
        self._file: Any = None
        self._board: Any = None
        self._live = Live() if live else None

        self._cell: Any = None
        self._wide = False  # whether 64 bits were on when it was called
        self._names: list[str] = []  # of the values, in the order of the layers

        def program(params: Params) -> tuple[Array, Params]:
            found = net(params)
            if not isinstance(found, Recurrence):
                raise TypeError(
                    "net must be a Cell or a function params -> flow.Recurrence(cell, params, xs, "
                    f"cost, lengths, resets), got one that returns {described(found)}"
                )
            own = check_params(check_cell(found.cell), found.params)
            self._cell = found.cell
            found = found._replace(params=own, cell=of_own_width(found.cell, own, self._wide))
            validate_cell(*found[:3], None, None, found.lengths, found.resets)
            own, xs = in_dtype((found.params, found.xs), jnp.float64)
            found = found._replace(params=own, xs=xs)
            values = measure(found, leaf)
            self._names = [*values]  # known, as the cell is, once this has been traced
            return jnp.stack([*values.values()]), found.params

        self._program = jax.jit(program)

    def __call__(self, step: int, params: Params) -> dict[str, Any]:
        """Measure if the step is a multiple of `every`; returns the values by name, else {}."""
        if check_int("step", step) % self.every:
            return {}
        found = self.measure(params)
        self.history.append({"step": int(step), **found})
        self._write()
        if self._live is not None:
            self._live.show(self.history, self.left_out)
        return found

    def measure(self, params: Params) -> dict[str, Any]:
        """The values at these params, by name, whatever the step; nothing is written."""
        self._wide = jax.config.read("jax_enable_x64")
        with jax.enable_x64(True), explained():
            if self._alone is not None:  # lists of numbers must be arrays before they are traced
                params = check_params(self._alone, params)
            values, own = self._program(params)
            numbers = jax.device_get(values).tolist()
        measured = dict(zip(self._names, numbers, strict=True))
        found: dict[str, Any] = {}
        for prefix, layer, layer_params in layers_of(self._cell, own):
            found |= {name: measured[name] for name in measured if name.startswith(prefix)}
            for name, value in spectra(layer, layer_params, self._eigenvalues).items():
                found[prefix + name] = value
        self.left_out = tuple(left_out(self._cell, own, found))
        return found

    def close(self) -> None:
        """Close the files and the display. What was measured stays in `history`."""
        for each in (self._file, self._board, self._live):
            if each is not None:
                each.close()
        self._file = self._board = None

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        without = f", without {'; '.join(self.left_out)}" if self.left_out else ""
        return f"<Watch every {self.every} steps, {len(self.history)} measured{without}>"

    def _write(self) -> None:
        """Append the last entry to the files."""
        entry = self.history[-1]
        if self._to is not None:
            if self._file is None:
                self._to.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._to.open("a", encoding="utf-8")
            self._file.write(json_line(entry))
            self._file.flush()
        if self._tensorboard is not None:
            if self._board is None:
                self._board = optional("tensorboardX").SummaryWriter(str(self._tensorboard))
            for name, value in entry.items():
                if name != "step" and isinstance(value, float):
                    self._board.add_scalar(f"flow/{name}", value, entry["step"])


def watch(
    net: Cell | Callable[[Params], Recurrence],
    xs: PyTree = None,
    cost: Callable[[Carry, PyTree], Array] | None = None,
    *,
    lengths: Array | None = None,
    resets: Array | None = None,
    every: int = 100,
    leaf: str | None = None,
    eigenvalues: bool | None = None,
    to: str | Path | None = None,
    tensorboard: str | Path | None = None,
    live: bool = False,
) -> Watch:
    """Watch the gradient flow of a net while it learns, in any training loop.

    `watch(step, params)` measures every `every` steps on one fixed batch, so that what changes is
    the net. Of each layer, on which `layer_1/` and so on stand before the names in a stack:

        log10_gradient_norm_lag_k       ‖∂C/∂s_{T-k}‖, median over examples, k = 0, 1, 2, 3, 4, 6 …
        lyapunov                        λ₁ along the sequences, nats a step, mean over examples
        closed_i, open_i, …             shares of gate activations below 0.1, above 0.9
        saturated, saturated_g, …       of tanh units, above 0.8 in size; `inactive` of ReLU units
        spectral_norm, spectral_norm_i  σ_max of W_h, or of each gate's block of it
        spectral_radius, …              max |eigenvalue| likewise
        eigenvalues, …                  all of them, pairs [Re, Im], the largest first

    C is the cost of the last output that is read in each sequence, at step T: one error on its way
    back. Examples of which C reads nothing are left out of the norms. -inf is a gradient of exactly
    zero, NaN a lag that no example has, since its sequence or episode began later. At 0.1 and 0.9
    the slope of a sigmoid is 0.36 of its largest, as that of tanh is at ±0.8.

    The program is compiled once, and runs in float64, whatever the params are: in float32 long
    products underflow. A measurement takes the time of several training steps on the batch (4 were
    measured of an `lstm(32)` over 100 steps), and the spectra O(H³) on the host. What a cell lacks
    is left out: gates that are not known, as in a cell of your own or one without a rule, matrices
    other than `w_h`, and spectra of a step that may change `w_h` before the state is multiplied by
    it, as one of `wrap` with signs or masks; `repr(watch)` says so. A step of your own that does
    not says so by a name of what it computes, `Structure(form="mine")`, or by `mixing=("w_h",)`.

    Args:
      net: the `Cell`, which is then called with its own params. Or a function of the params that
        the loop has, `params -> Recurrence(cell, cell_params, xs, cost, lengths, resets)`, for
        a net of more than a cell.
      xs: inputs of the cell `[T, ..., D]`: a few examples are enough.
      cost: `cost(carry, ys) -> C`, as for `record`.
      lengths, resets: as for `rnnjax.unroll`.
      every: steps between two measurements; step 0 is one.
      leaf: the field of the carry whose gradient norms are taken, such as "h"; None for all.
      eigenvalues: whether those of W_h are kept; None: of up to 64 units. In a file they take some
        40 bytes each, and TensorBoard gets the radius alone.
      to: a .jsonl file to which each measurement is appended, as `read_watch` reads it.
      tensorboard: a folder for TensorBoard event files.
      live: show the measurements on standard error: a table on a terminal, elsewhere lines.

    Returns:
      A `Watch`: call it with the step, an int, and the params. It returns the values by name, or {}
      between measurements, and keeps them in `history`. `close()` it, or use it in `with`, at the
      end. For `training.fit`, take `training.flow_callback`.

    Raises:
      TypeError: arguments of another kind, such as a layer for a cell.
      ValueError: every below 1; when called, a field that no carry has, no steps or examples, and
        as `record`.
      ImportError: `tensorboard` or `live` without the packages of rnnjax[training].

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((5, 1, 1))
      >>> watch = rnnjax.flow.watch(cell, xs, lambda carry, ys: ys[-1].sum(), every=10)
      >>> for step in range(20):
      ...     found = watch(step, params)  # and a step of the optimiser
      >>> [entry["step"] for entry in watch.history], abs(watch.history[0]["lyapunov"]) < 1e-12
      ([0, 10], True)

    References:
      Karpathy, Johnson & Fei-Fei (2016), Visualizing and understanding recurrent networks, ICLR
      workshop (gates that are saturated beyond 0.1 and 0.9).
    """
    check_positive_int("every", every)
    check_flag("live", live)
    if eigenvalues is not None:
        check_flag("eigenvalues", eigenvalues)
    if leaf is not None and not isinstance(leaf, str):
        raise TypeError(f"leaf must be the name of a field of the carry or None, got {leaf!r}")
    file, board = _path("to", to), _path("tensorboard", tensorboard)
    for package, wanted in (("tensorboardX", tensorboard is not None), ("rich", live)):
        if wanted:
            optional(package)
    function = _net(net, xs, cost, lengths, resets)
    alone = net if isinstance(net, Cell) else None
    return Watch(function, alone, every, leaf, eigenvalues, file, board, live)


def _net(
    net: Any, xs: PyTree, cost: Any, lengths: Any, resets: Any
) -> Callable[[Params], Recurrence]:
    if not isinstance(net, Cell) and callable(net) and not hasattr(net, "apply"):
        if any(each is not None for each in (xs, cost, lengths, resets)):
            raise TypeError(
                "net is a function: one of the params has its inputs and cost in the Recurrence "
                "that it returns, so leave xs, cost, lengths and resets out of watch(...). A "
                "factory of cells is called first, as in rnnjax.lstm(128)"
            )
        function: Any = net
        return function
    refuse_layer(net)
    cell = check_cell(net)
    if xs is None:
        raise TypeError("watch(cell, xs, cost) needs inputs xs [T, ..., D] to run the cell on")
    check_callable("cost", cost, "(carry, ys) -> scalar")
    return lambda params: Recurrence(cell, params, xs, cost, lengths, resets)


def _path(name: str, path: Any) -> Path | None:
    if path is not None and not isinstance(path, str | Path):
        raise TypeError(f"{name} must be a path or None, got {described(path)}")
    return None if path is None else Path(path)
