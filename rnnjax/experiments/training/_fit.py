"""`fit`: train a task, in memory or into a folder that a run can be resumed from."""

import os
import platform
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from rnnjax._checks import check_flag, check_positive_int, described
from rnnjax._extras import optional
from rnnjax._files import write_json
from rnnjax._version import __version__
from rnnjax.experiments._extended import EXTENDED, Extension, extensions
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training._batches import batch_source, prefetched
from rnnjax.experiments.training._callbacks import Callback
from rnnjax.experiments.training._checkpoints import Checkpoints, Saved
from rnnjax.experiments.training._config import (
    RESULTS,
    VERSIONS,
    check_same_run,
    check_unused,
    identity,
    read_config,
    store,
)
from rnnjax.experiments.training._lock import locked
from rnnjax.experiments.training._log import Log, read_metrics
from rnnjax.experiments.training._loop import steps_taken, train
from rnnjax.experiments.training._record import Record, Result
from rnnjax.experiments.training._settings import (
    GIVEN,
    ResolvedSettings,
    Settings,
    resolve,
    with_given_optimizer,
)
from rnnjax.experiments.training._setup import initial_state, same_rates
from rnnjax.experiments.training._step import TrainState, check_optimizer
from rnnjax.experiments.training._task_checks import check_task
from rnnjax.experiments.training._terminal import announce, deferred_interrupt, progress

_OWN_TABLES = ("settings", VERSIONS, EXTENDED)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: the run stopped between two steps, and its checkpoint is written."""

    def __init__(self, message: str, result: Result, number: int = signal.SIGINT) -> None:
        """Keep the result of the steps taken, and the number of the signal."""
        super().__init__(message)
        self.result = result
        self.signal = number

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, of a process pool, say, with the notes too."""
        return type(self), (*self.args, self.result, self.signal), vars(self)


def fit(
    task: Task,
    settings: Settings = Settings(),  # noqa: B008, a NamedTuple cannot change
    folder: Path | str | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    *,
    optimizer: optax.GradientTransformation | None = None,
    config: Mapping[str, Any] | None = None,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Result:
    """Train a task.

    With a folder, the run writes `config.toml`, `data.json` (`Task.data`), `metrics.jsonl`,
    `checkpoints/`, and at the end `results.json`. All randomness is derived from the seed and the
    step, so a run that was killed at any moment resumes, with `resume=True`, to bit-identical
    params and metrics, from the last checkpoint that is intact. Each checkpoint holds a digest of
    the config and of the data, and a run is not resumed with others.

    Ten steps are dispatched to the device at once, as one compiled loop (`Settings.dispatch`). On
    the CPU it is one step if the loss has convolutions, whose gradients XLA runs many times slower
    inside a loop.

    Compiled programs are kept for the next run of a task in this process, if its loss then computes
    the same: it may read what has been changed in between. A loss is compiled again at each run
    if each of its calls makes a new host callback: a lambda inside the loss, or what it gives to
    `jax.debug.callback`. `jax.debug.print` makes none.

    With several seeds or accumulated batches, the batches of a step may differ in sequence length
    if they have a field `lengths`: they are zero-padded to the longest.

    Args:
      task: what to train.
      settings: how; where a field is None, the task's recipe decides.
      folder: where to write; None keeps everything in memory.
      callbacks: called during training, each at its own interval or after evaluations, or also
        before it; one may end the run, as `early_stopping(5)` does (`Callback`).
      resume: continue the run in the folder from its last checkpoint. A folder without a
        checkpoint starts from step 0, with other settings too, so that one command serves for
        both; a line on standard error says which. A run, finished or not, may be given more steps,
        from then on with the learning rate of a run of the new length: under the cosine schedule
        higher than where it was. `config.toml` then says so, under `extended`, since a run from it
        does not repeat this one bit for bit.
      optimizer: any of optax's, in place of the one that the settings name: it clips, and has
        learning rates of its own, which are not logged. One that takes `value` is passed the cost.
        `config.toml` says no more than "given": tell what it is by `config`.
      config: what else is needed to repeat the run, such as the task's options: written to
        `config.toml` beside the settings and package versions, and compared, as the settings are,
        when the run is resumed. Only `skip_nonfinite`, `log_every`, `checkpoint_every`, a table
        named `run`, and values that are a `pathlib.Path` may then differ.
      quiet: show nothing but warnings. Otherwise a progress bar on a terminal, elsewhere a line
        for each evaluation.
      tensorboard: write TensorBoard event files into the folder as well.

    Returns:
      A `Result`: params, metrics and history.

    Raises:
      TypeError: an argument of another kind, such as a task that is a factory, or a flag that is
        no bool; a function of the task or a callback that returns something else than it must.
      ValueError: settings out of range; a metric whose goal is neither "max" nor "min", or that the
        evaluation does not return; a cost that is no scalar, a carry that changes its form; a
        folder that holds another run, or a run on other data; a config.toml that was edited after
        the last checkpoint.
      FloatingPointError: NaN or Inf in the cost or its gradient; the message names the step, the
        first such leaf, and the last checkpoint.
      OSError: the folder cannot be written, or the disk is full; another process trains in it
        (BlockingIOError); all of its checkpoints are damaged.
      Interrupted: Ctrl-C or SIGTERM, after a checkpoint was written; a KeyboardInterrupt whose
        `result` is that of the steps taken, and whose `signal` is the number of the signal.
      ImportError: a folder is given and a package of `rnnjax[training]` is missing.

    Example:
      >>> from rnnjax.experiments.tasks import delayed_xor
      >>> from rnnjax.experiments.training import Settings, fit
      >>> result = fit(delayed_xor(hidden=4), Settings(steps=2, seed=1), quiet=True)
      >>> result.history[-1]["step"], int(result.state.step)
      (2, 2)
    """
    callbacks = _checked(task, callbacks, config)
    for name, flag in (("resume", resume), ("quiet", quiet), ("tensorboard", tensorboard)):
        check_flag(name, flag)
    if folder is not None and not isinstance(folder, str | Path):
        raise TypeError(f"folder must be a path, or None to keep the run in memory, got {folder!r}")
    full = resolve(settings, task.recipe)
    if optimizer is not None:
        check_optimizer(optimizer)
        full = with_given_optimizer(settings, full)
    if folder is None and (resume or tensorboard):
        raise ValueError("resume and tensorboard need a folder: pass the one of the run")
    state = initial_state(task, full, optimizer)
    if folder is None:
        return _train(task, full, state, Record(task), callbacks, None, quiet, optimizer)
    _check_packages(tensorboard)
    folder = Path(folder)
    with locked(folder):
        check_unused(folder, resume)
        full_config = _full_config(task, full, config or {})
        about = identity(task, full_config, full.seed)
        with closing(Checkpoints(folder, about)) as checkpoints:
            saved = checkpoints.latest()
            if saved is not None:
                check_same_run(folder, saved.about, about, task.data)
                state = checkpoints.resume(saved.step, state)
                full_config |= _extended(folder, saved, full)
            store(folder, full_config, task.data, resumed=saved is not None)
            announce(_beginning(folder, full, saved), quiet or not resume)
            history = [] if saved is None else read_metrics(folder, saved.step)
            with closing(Log(folder, history, tensorboard)) as log:
                record = Record(task, full.checkpoint_every, checkpoints, log, history, saved)
                result = _train(task, full, state, record, callbacks, folder, quiet, optimizer)
        write_json(folder / RESULTS, _results(task, result))
    return result


def _extended(folder: Path, saved: Saved, settings: ResolvedSettings) -> dict[str, Any]:
    """The entry of a config for the steps that were taken at the learning rates of other lengths.

    It is made anew from a checkpoint, since a run may be killed before the next one.
    """
    before = saved.about["config"]["settings.steps"]
    found = [each for each in extensions(read_config(folder)) if each.after < saved.step]
    if saved.step and not same_rates(settings, before):
        found.append(Extension(saved.step, before))
    return {EXTENDED: [each._asdict() for each in found]} if found else {}


def _beginning(folder: Path, settings: ResolvedSettings, saved: Saved | None) -> str:
    """A line that says where a run begins that was asked to resume."""
    steps = settings.steps
    if saved is None:
        return f"no checkpoint in {folder}: starting at step 0 of {steps:,}"
    if saved.step == steps:
        return f"the run is finished: step {steps:,} of {steps:,} is in {folder}"
    before = saved.about["config"]["settings.steps"]
    more = ""
    if steps > before:
        more = f", {steps - before:,} more than before"
        if settings.optimizer != GIVEN:
            more += f", at the rates of a run of {steps:,} steps"
    return f"resuming from step {saved.step:,} of {steps:,}{more}"


def _checked(
    task: Any, callbacks: Sequence[Callback], config: Mapping[str, Any] | None
) -> tuple[Callback, ...]:
    """The callbacks, if all of these arguments of `fit` are of the right kind."""
    check_task(task)
    callbacks = (callbacks,) if isinstance(callbacks, Callback) else tuple(callbacks)
    for each in callbacks:
        if not isinstance(each, Callback):
            raise TypeError(
                "callbacks must have `every`, the steps between two calls (None: at evaluations), "
                f"as flow_callback(200) has, got {described(each)}"
            )
        if each.every is not None:
            check_positive_int("a callback's every", each.every)
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping of names to values, got {described(config)}")
    for name in _OWN_TABLES:
        if name in (config or ()):
            raise ValueError(f"config must not have the name {name!r}, which is the run's own")
    return callbacks


def _train(
    task: Task,
    settings: ResolvedSettings,
    state: TrainState,
    record: Record,
    callbacks: Sequence[Callback],
    folder: Path | None,
    quiet: bool,
    optimizer: optax.GradientTransformation | None,
) -> Result:
    begin, steps = steps_taken(state), settings.steps
    with ExitStack() as stack:
        interrupted = stack.enter_context(deferred_interrupt())
        source = batch_source(task, settings)
        batches = stack.enter_context(prefetched(source, range(begin, steps)))
        show = stack.enter_context(progress(task.name, task.metric.name, begin, steps, quiet))
        state, totals, stopped = train(
            task,
            settings,
            state,
            batches,
            record,
            callbacks=callbacks,
            interrupted=interrupted,
            show=show,
            optimizer=optimizer,
        )
        taken = steps_taken(state)
        if stopped:
            announce(f"stopped after step {taken} of {steps}: {stopped}", quiet)
        elif taken < steps:
            record.save(taken, state, totals=totals)
            where = "" if folder is None else f". {record.last_checkpoint}"
            message = f"interrupted after step {taken} of {steps}{where}"
            raise Interrupted(message, record.result(state, folder), interrupted())
        return record.result(state, folder, stopped)


def _check_packages(tensorboard: bool) -> None:
    """Import the packages of a run with a folder, before anything is written."""
    for package in ("tomli_w", *(["tensorboardX"] if tensorboard else [])):
        optional(package)


def _full_config(
    task: Task, settings: ResolvedSettings, config: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "task": task.name,
        **config,
        "settings": settings.recorded(),
        VERSIONS: _versions(),
    }


def _results(task: Task, result: Result) -> dict[str, Any]:
    return {
        "task": task.name,
        "metric": task.metric,
        "select": task.select or task.metric,
        "final": result.metrics,
        "best": result.best,
        "baselines": task.baselines,
        "steps": steps_taken(result.state),
        "stopped": result.stopped,
        "skipped": np.asarray(result.state.skipped),
        "seconds": result.seconds,
        "device": str(jax.devices()[0]),
        **_versions(),
    }


def _versions() -> dict[str, str | int]:
    """The versions of packages, and how many cores sums are divided among."""
    known = hasattr(os, "sched_getaffinity")
    return {
        "rnnjax": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "cores": len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1,
    }
