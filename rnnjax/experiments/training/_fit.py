"""`fit`: a task in, trained params and their figures out."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax._extras import optional
from rnnjax._files import write_json
from rnnjax._version import __version__
from rnnjax.experiments.tasks import Task
from rnnjax.experiments.training._callbacks import Callback
from rnnjax.experiments.training._checkpoints import Checkpoints
from rnnjax.experiments.training._config import RESULTS, VERSIONS, names_of, open_run
from rnnjax.experiments.training._interrupt import orderly_interrupt
from rnnjax.experiments.training._log import Log, read_metrics
from rnnjax.experiments.training._loop import Result, Run, steps_taken
from rnnjax.experiments.training._prefetch import batch_source, prefetched
from rnnjax.experiments.training._progress import progress
from rnnjax.experiments.training._settings import Settings, known, resolved
from rnnjax.experiments.training._start import initial_state
from rnnjax.experiments.training._step import TrainState

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def fit(
    task: Task,
    settings: Settings = Settings(),  # noqa: B008, a NamedTuple cannot change
    folder: Path | str | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    *,
    config: Mapping[str, Any] | None = None,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Result:
    """Train a task.

    With a folder, everything is there: `config.toml`, `metrics.jsonl`, `checkpoints/`, and at the
    end `results.json`. A run that was killed at any moment goes on with `resume=True` and ends
    with the params, bit for bit, of one that was not: all randomness is folded from the seed and
    the step.

    Ten steps are handed to the device at once, in a loop that is compiled; `Settings.dispatch` is
    their number. It is one on the CPU if the loss has convolutions, whose gradients XLA runs many
    times slower inside a loop.

    Several seeds, or batches that are accumulated, may have sequences of several lengths if the
    batches say which: those with a field `lengths` are padded with zeros to the longest of a step.

    Args:
      task: what to train.
      settings: how; what is None in them is taken from the task's recipe.
      folder: where to write; None keeps everything in memory.
      callbacks: called during training, each at its own interval.
      resume: go on with the run in the folder from its last checkpoint. A folder without one
        starts from the beginning, with other settings too, so that one command serves for both.
      config: what else the run is to be repeated from, such as the task's options: written to
        `config.toml` beside the settings and the versions of packages, and compared, as the
        settings are, when the run is resumed. Of the settings `skip_nonfinite`, `log_every` and
        `checkpoint_every` may differ then, and a table named `run`.
      quiet: show nothing. Otherwise a bar on a terminal, and a line for each evaluation elsewhere.
      tensorboard: write TensorBoard's event files as well, into the folder.

    Returns:
      A `Result` of params, figures and history.

    Raises:
      ValueError: settings out of range; a folder that holds another run, or one on data with
        other words or classes.
      FloatingPointError: NaN or Inf in the cost or its gradient; the message names the step, the
        first such leaf, and the last checkpoint.
      Interrupted: Ctrl-C, after a checkpoint; a KeyboardInterrupt whose `result` is that of the
        steps taken.
      ImportError: a folder without the packages of `rnnjax[training]`.

    Example:
      >>> from rnnjax.experiments.tasks import delayed_xor
      >>> from rnnjax.experiments.training import Settings, fit
      >>> result = fit(delayed_xor(hidden=4), Settings(steps=2, seed=1), quiet=True)
      >>> result.history[-1]["step"], int(result.state.step)
      (2, 2)
    """
    settings = resolved(settings, task.recipe)
    if folder is None and (resume or tensorboard):
        raise ValueError("resume and tensorboard need a folder: pass the one of the run")
    state = initial_state(task, settings)
    if folder is None:
        return _trained(Run(task, settings, callbacks), state, quiet)
    for package in ("orbax.checkpoint", "tomli_w", *(["tensorboardX"] if tensorboard else [])):
        optional(package)  # before anything is written
    folder = Path(folder)
    full_config = {
        "task": task.name,
        **names_of(task),
        **(config or {}),
        "settings": settings._asdict(),
        VERSIONS: _versions(),
    }
    open_run(folder, full_config, resume)
    with closing(Checkpoints(folder)) as checkpoints:
        latest = checkpoints.latest()
        if latest is not None:
            state = checkpoints.restore(latest, state)
        history = [] if latest is None else read_metrics(folder, latest)
        with closing(Log(folder, history, tensorboard)) as log:
            run = Run(task, settings, callbacks, checkpoints, log, history, folder)
            result = _trained(run, state, quiet)
    write_json(folder / RESULTS, _results(run, result))
    return result


def _trained(run: Run, state: TrainState, quiet: bool) -> Result:
    begin, steps = steps_taken(state), known(run.settings.steps)
    with ExitStack() as stack:
        pressed = stack.enter_context(orderly_interrupt())
        source = batch_source(run.task, run.settings)
        batches = stack.enter_context(prefetched(source, range(begin, steps)))
        show = stack.enter_context(progress(run.task.name, begin, steps, quiet))
        return run.train(state, batches, pressed, show)


def _results(run: Run, result: Result) -> dict[str, Any]:
    task = run.task
    return {
        "task": task.name,
        "metric": task.metric,
        "final": result.metrics,
        "best": result.best,
        "baselines": task.baselines,
        "steps": run.settings.steps,
        "skipped": np.asarray(result.state.skipped),
        "seconds": result.seconds,
        "device": str(jax.devices()[0]),
        **_versions(),
    }


def _versions() -> dict[str, str]:
    return {
        "rnnjax": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }
