"""What a run is of, in its folder: config.toml repeats it, data.json has the facts of its data."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._checks import is_inexact
from rnnjax._extras import optional
from rnnjax._files import plain, replace_file, write_json
from rnnjax._names import option
from rnnjax.experiments._extended import EXTENDED
from rnnjax.experiments._parsing import read_toml_file
from rnnjax.experiments.data import digest_arrays
from rnnjax.experiments.tasks import Batch, Task

CONFIG = "config.toml"
"""The file of a run that holds its settings, from which it can be repeated."""
DATA = "data.json"
CHECKPOINTS = "checkpoints"
RESULTS = "results.json"
"""The file of a run that holds what it reached."""
# Tables that may differ when a run is resumed: package versions, and what is logged.
VERSIONS, RUN = "versions", "run"
_NOT_COMPARED = (VERSIONS, RUN, EXTENDED)
_FREE = tuple(f"settings.{name}" for name in ("skip_nonfinite", "log_every", "checkpoint_every"))
_STEPS = "settings.steps"  # a run may be given more
_BATCHES = 4  # that identify the data of a task without a digest of its own
_SHORT = 30  # characters of a value that an error repeats
_NOTE = f"""\
# This run was given more steps than it began with: up to the step `after`, the learning rates were
# those of a run of so many `steps` (`{EXTENDED}` below). A run from this file takes those of the
# whole length from the start, and so does not repeat this one bit for bit.

"""


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config` as TOML, atomically. Entries that are None are left out."""
    text = optional("tomli_w").dumps(_plain(config))
    if EXTENDED in config:
        text = _NOTE + text
    replace_file(folder / CONFIG, lambda partial: partial.write_text(text, encoding="utf-8"))


@checked_arguments
def read_config(folder: Path) -> dict[str, Any]:
    """Read a run's config.toml.

    Raises:
      FileNotFoundError: no run in the folder.
      ValueError: the file is not TOML.
    """
    path = Path(folder) / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no run: there is no {CONFIG} in it")
    return read_toml_file(path)


@checked_arguments
def read_data(folder: Path) -> dict[str, Any]:
    """Read the facts about a run's data from its data.json, `Task.data`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged.
    """
    path = Path(folder) / DATA
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} has no {DATA}, without which its model cannot be used: put it back"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): put it back from a copy") from None
    return found if isinstance(found, dict) else {}


def identity(task: Task, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What tells a run from others; written into each of its checkpoints.

    Args:
      task: with the facts and the digest of its data.
      config: as written to config.toml. Its paths do not count, since the digest does.
      seed: of the batches that are digested if the task has no digest of its own.
    """
    entries = _compared(_plain(config))
    paths = [name for name, value in _entries(config) if isinstance(value, Path)]
    return {
        "config": {name: value for name, value in entries.items() if name not in paths},
        "paths": paths,
        "facts": digest_facts(task.data),
        "data": _digest_of_batches(task, seed) if task.digest is None else task.digest(),
    }


def digest_facts(facts: Mapping[str, Any]) -> str:
    """A digest of `Task.data`."""
    text = json.dumps(plain(facts), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of_batches(task: Task, seed: int) -> str:
    """A digest of the first batches: of their values, or how device floats are distributed.

    What JAX draws or computes may differ in the last bits from one device to another.
    """
    batches: Any = task.batches(seed)

    def told(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and is_inexact(leaf):
            array = np.asarray(leaf).astype(np.float64)
            return np.array(f"{array.shape} {array.mean():.2e} {array.std():.2e}")
        return np.asarray(leaf)

    leaves: list[Batch] = []
    count = min(_BATCHES, len(batches)) if type(batches) in (list, tuple) else _BATCHES
    for step in range(count):
        leaves += map(told, jax.tree.leaves(batches[step]))
    return digest_arrays(*leaves)


def check_unused(folder: Path, resume: bool) -> None:
    """Raise ValueError if a run cannot be started, or resumed, in a folder with what it holds."""
    if not (folder / CONFIG).exists() and _has_checkpoint(folder):
        raise ValueError(
            f"{folder} holds {CHECKPOINTS} but no {CONFIG} to say what run they belong to: put it "
            f"back, delete {folder / CHECKPOINTS}, or train in another folder"
        )
    if is_unused(folder):
        return
    if not resume:
        raise ValueError(
            f"{folder} holds a run already: resume it ({option('resume', True)}), or train in "
            "another folder"
        )
    if not _has_checkpoint(folder):
        raise ValueError(
            f"{folder} holds the results of a run but none of its {CHECKPOINTS}: put them back, "
            "or train in another folder"
        )


@checked_arguments
def is_unused(folder: Path) -> bool:
    """Whether a run's folder holds neither a checkpoint nor a result, so that nothing is lost."""
    return not _has_checkpoint(folder) and not (folder / RESULTS).exists()


def _has_checkpoint(folder: Path) -> bool:
    # A checkpoint that is still being written has another name than its step.
    checkpoints = folder / CHECKPOINTS
    return checkpoints.is_dir() and any(path.stem.isdigit() for path in checkpoints.iterdir())


def store(folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any], resumed: bool) -> None:
    """Write config.toml and data.json, if they are new or what may change has changed."""
    new = _plain(config)
    if resumed:
        old = read_config(folder)
        new[VERSIONS] = old.get(VERSIONS)
        if new != old:
            write_config(folder, new)
        if (folder / DATA).exists():
            return
    else:
        write_config(folder, new)
    write_json(folder / DATA, facts)


def check_same_run(
    folder: Path, saved: Mapping[str, Any], now: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Raise ValueError, naming the differences, unless a checkpoint is of the same run.

    Args:
      folder: of the run.
      saved: the `identity` in its checkpoint.
      now: the `identity` of the run that is to go on.
      facts: `Task.data` of that run.
    """
    found = _differences(saved, now["config"], now["paths"])
    if found:
        edited = ""
        if (folder / CONFIG).exists() and _edited(folder, saved):
            edited = f" ({CONFIG} was edited after the last checkpoint)"
        raise ValueError(
            f"the run in {folder} was made with another config: {found}{edited}. Resume it with "
            "the same one, or train in another folder"
        )
    if (saved["facts"], saved["data"]) != (now["facts"], now["data"]):
        raise ValueError(
            f"the run in {folder} was made on other data{_changed(folder, facts)}. Resume it with "
            "the same data, or train in another folder"
        )


def check_same_data(folder: Path, saved: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise ValueError unless a checkpoint is of a run on data with these facts."""
    if saved["facts"] != digest_facts(facts):
        raise ValueError(
            f"the run in {folder} was made on other data{_changed(folder, facts)}. Make the task "
            "with the same data, or use training.load_model, which needs none"
        )


def check_unedited(folder: Path, saved: Mapping[str, Any]) -> None:
    """Raise ValueError if the config.toml of a run is not that of its checkpoint."""
    if found := _edited(folder, saved):
        raise ValueError(
            f"{folder / CONFIG} was edited after the run: {found}. Put it back as it was"
        )


def _edited(folder: Path, saved: Mapping[str, Any]) -> str:
    return _differences(saved, _compared(read_config(folder)), saved["paths"])


def _differences(
    saved: Mapping[str, Any], now: Mapping[str, Any], paths: list[str] | tuple[str, ...]
) -> str:
    """How a config differs from that in a checkpoint; empty if it does not, or has more steps."""
    old, new = saved["config"], plain(now)
    skipped = {*saved["paths"], *paths}
    names = [n for n in {**old, **new} if n not in skipped and old.get(n) != new.get(n)]
    if names == [_STEPS] and new.get(_STEPS, 0) > old.get(_STEPS, 0):
        return ""
    return "; ".join(
        f"{name} was {old.get(name, 'not given')!r}, is {new.get(name, 'not given')!r}"
        for name in names
    )


def _changed(folder: Path, facts: Mapping[str, Any]) -> str:
    """The short facts about the data in which they differ from those in the folder."""
    try:
        old = read_data(folder)
    except (OSError, ValueError):
        return ""
    new = plain(facts)
    found = [
        f"{name.replace('_', ' ')} was {_short(old[name])}, is {_short(new[name])}"
        for name in old
        if name in new
        and old[name] != new[name]
        and max(len(repr(old[name])), len(repr(new[name]))) <= _SHORT
    ]
    return f": {'; '.join(found)}" if found else ""


def _short(fact: Any) -> str:
    return f"{fact:.6g}" if isinstance(fact, float) else repr(fact)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config, as TOML has them, that must not differ, by dotted name."""
    entries = _entries({name: entry for name, entry in config.items() if name not in _NOT_COMPARED})
    return {name: entry for name, entry in entries if name not in _FREE}


def _entries(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
