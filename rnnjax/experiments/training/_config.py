"""config.toml in a run's folder: everything needed to repeat the run."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._extras import optional
from rnnjax._files import replace_file
from rnnjax.experiments._parsing import read_toml_file
from rnnjax.experiments.tasks import Task

CONFIG = "config.toml"
CHECKPOINTS = "checkpoints"
RESULTS = "results.json"
NAMES = "names"  # a hash of the task's names (words or classes), if it has any
# Tables that may differ when a run is resumed: package versions, and what is logged.
VERSIONS, RUN = "versions", "run"
_NOT_COMPARED = (VERSIONS, RUN)
_FREE = tuple(f"settings.{name}" for name in ("skip_nonfinite", "log_every", "checkpoint_every"))
_STEPS = "settings.steps"  # a finished run may be given more

OTHER_NAMES = (
    "was trained on data with other words or classes than the present data: use the same data, or "
    "train in another folder"
)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config` as TOML, atomically. Entries that are None are left out."""
    text = optional("tomli_w").dumps(_plain(config))
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


def names_of(task: Task) -> dict[str, str]:
    """A config entry that identifies the words or classes that rows of the params stand for."""
    if not task.data:
        return {}
    text = json.dumps(task.data)
    return {NAMES: hashlib.sha256(text.encode()).hexdigest()[:16]}


def open_run(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Create a run's folder, or check that the run in it can be resumed with this config.

    Raises:
      ValueError: the folder holds a run and `resume` is False, or a run with another config, or
        checkpoints without a config.
      OSError: the folder cannot be written.
    """
    if not (folder / CONFIG).exists() and _has_checkpoint(folder):
        raise ValueError(
            f"{folder} holds {CHECKPOINTS} but no {CONFIG} to say what run they belong to: put it "
            f"back, delete {folder / CHECKPOINTS}, or train in another folder"
        )
    if not (folder / CONFIG).exists() or is_unused(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, config)
    elif resume:
        _check_same_config(folder, config)
        _update(folder, config)
    else:
        raise ValueError(
            f"{folder} holds a run already: resume it (resume=True), or train in another folder"
        )


@checked_arguments
def is_unused(folder: Path) -> bool:
    """Whether a run's folder holds neither a checkpoint nor a result, so that nothing is lost."""
    return not _has_checkpoint(folder) and not (folder / RESULTS).exists()


def _has_checkpoint(folder: Path) -> bool:
    # A checkpoint that is still being written has another name than its step.
    checkpoints = folder / CHECKPOINTS
    return checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())


def _update(folder: Path, config: Mapping[str, Any]) -> None:
    """Rewrite config.toml if anything that may change on resumption has changed."""
    old = read_config(folder)
    new = {**_plain(config), VERSIONS: old.get(VERSIONS)}
    if new != old:
        write_config(folder, new)


def _check_same_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the differences, unless the folder's run has this config."""
    old, new = (_compared(found) for found in (read_config(folder), _plain(config)))
    if old == new:
        return
    if old.get(NAMES) != new.get(NAMES):
        raise ValueError(f"the run in {folder} {OTHER_NAMES}")
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    finished = (folder / RESULTS).exists()
    if names == [_STEPS] and finished and new[_STEPS] > old[_STEPS]:
        return  # it goes on
    differences = "; ".join(
        f"{name} was {old.get(name, 'not given')!r}, is {new.get(name, 'not given')!r}"
        for name in names
    )
    raise ValueError(
        f"the run in {folder} was made with another config: {differences}. Resume it with the "
        "same one, or train in another folder"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    entries = _entries({name: entry for name, entry in config.items() if name not in _NOT_COMPARED})
    return {name: entry for name, entry in entries if name not in _FREE}


def _entries(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
