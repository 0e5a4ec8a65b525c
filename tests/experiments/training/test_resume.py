"""What a run may be resumed on and from, what it says, and what is left when it is stopped."""

import copy
import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_task import tiny_task

from rnnjax.experiments.training import (
    Interrupted,
    Settings,
    check_writable,
    fit,
    load,
    read_config,
    read_metrics,
)
from rnnjax.experiments.training._lock import locked
from rnnjax.experiments.training._log import Log

SETTINGS = Settings(steps=20, evaluate_every=10, log_every=10, dispatch=2)
TIMES = ("seconds", "steps_per_second")


def run(folder, settings=SETTINGS, *, task=None, quiet=True, **options):
    return fit(task or tiny_task(), settings, folder, quiet=quiet, **options)


def lines(folder):
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in read_metrics(folder)
    ]


def signalled(step, number=signal.SIGINT):
    """The tiny task, whose process receives a signal when it draws the batch of a step."""
    good = tiny_task().batches(0)

    class Batches:
        def __getitem__(self, n):
            if n == step:
                signal.raise_signal(number)
            return jax.tree.map(jax.numpy.asarray, good[n])  # drawn where they are used

    return tiny_task()._replace(batches=lambda seed: Batches(), digest=lambda: "tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run(folder, task=signalled(None))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_has_the_lines_of_an_uninterrupted_one(number, whole, tmp_path):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"after step 6 of 20.*checkpoints/6\.npz") as info:
        run(tmp_path, task=signalled(5, number))
    assert info.value.signal == number
    assert signal.getsignal(number) is before
    assert lines(tmp_path) == []
    with pytest.raises(Interrupted, match="after step 14 of 20"):
        run(tmp_path, task=signalled(12, number), resume=True)
    assert [line["step"] for line in lines(tmp_path)] == [10]
    rest = run(tmp_path, task=signalled(None), resume=True)
    assert lines(tmp_path) == lines(whole[0])
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole[1].params)


def test_an_interruption_goes_from_process_to_process():
    with pytest.raises(Interrupted) as info:
        fit(signalled(3, signal.SIGTERM), SETTINGS, quiet=True)
    for again in (copy.copy(info.value), pickle.loads(pickle.dumps(info.value))):
        assert isinstance(again, Interrupted)
        assert str(again) == "interrupted after step 4 of 20"
        assert again.signal == signal.SIGTERM
        jax.tree.map(np.testing.assert_array_equal, again.result.params, info.value.result.params)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = fit(signalled(5), SETTINGS, quiet=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert int(result.state.step) == 20


def test_a_run_says_where_it_begins(tmp_path, capsys):
    def told(settings, **options):
        run(tmp_path, settings, quiet=False, **options)
        return capsys.readouterr().err.splitlines()[0]

    few = SETTINGS._replace(steps=4)
    assert told(few, resume=True) == f"no checkpoint in {tmp_path}: starting at step 0 of 4"
    assert told(few, resume=True) == f"the run is finished: step 4 of 4 is in {tmp_path}"
    more = "resuming from step 4 of 6, 2 more than before, at the rates of a run of 6 steps"
    assert told(SETTINGS._replace(steps=6), resume=True) == more
    assert capsys.readouterr().err == ""


def test_an_interrupted_run_may_be_given_more_steps(tmp_path):
    constant = SETTINGS._replace(schedule="constant", warmup=0.0)
    with pytest.raises(Interrupted):
        run(tmp_path / "two", constant._replace(steps=10), task=signalled(5))
    two = run(tmp_path / "two", constant, task=signalled(None), resume=True)
    one = run(tmp_path / "one", constant, task=signalled(None))
    jax.tree.map(np.testing.assert_array_equal, two.params, one.params)
    assert lines(tmp_path / "two") == lines(tmp_path / "one")
    assert read_config(tmp_path / "two")["settings"]["steps"] == 20
    with pytest.raises(ValueError, match=r"settings\.steps was 20, is 10"):
        run(tmp_path / "two", constant._replace(steps=10), task=signalled(None), resume=True)


def test_more_steps_at_other_rates_are_recorded_in_the_config(tmp_path):
    def extended(steps, **changes):
        run(tmp_path, SETTINGS._replace(steps=steps, **changes), resume=True)
        return read_config(tmp_path).get("extended")

    assert extended(4) is None
    assert extended(6) == [{"after": 4, "steps": 4}]
    text = (tmp_path / "config.toml").read_text("utf-8")
    assert text.startswith("# This run was given more steps than it began with: up to the step `a")
    assert extended(6) == [{"after": 4, "steps": 4}]
    (tmp_path / "checkpoints" / "6.npz").unlink()  # as if killed before it
    (tmp_path / "results.json").unlink()
    assert extended(6) == [{"after": 4, "steps": 4}]
    assert extended(8) == [{"after": 4, "steps": 4}, {"after": 6, "steps": 6}]
    load(tmp_path, tiny_task())


def test_more_steps_at_the_same_rates_are_not_recorded(tmp_path):
    constant = SETTINGS._replace(schedule="constant", warmup=0.0)
    for steps in (4, 6):
        run(tmp_path / "flat", constant._replace(steps=steps), resume=True)
        run(tmp_path / "rising", constant._replace(steps=steps, warmup=0.5), resume=True)
    assert "extended" not in read_config(tmp_path / "flat")
    assert read_config(tmp_path / "rising")["extended"] == [{"after": 4, "steps": 4}]


@pytest.mark.parametrize(
    ("old", "new"), [("learning_rate = 0.02", "learning_rate = 0.05"), ("seed = 0", "seed = 3")]
)
def test_a_config_edited_by_hand_is_found(old, new, tmp_path):
    settings = SETTINGS._replace(steps=2)
    run(tmp_path, settings)
    path = tmp_path / "config.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace(old, new), "utf-8")
    name, _, value = new.partition(" = ")
    edit = f"settings.{name} was {old.partition(' = ')[2]}, is {value}"
    with pytest.raises(ValueError, match=f"config.toml was edited after the run: {edit}. Put"):
        load(tmp_path, tiny_task())
    edited = settings._replace(**{name: float(value) if "." in value else int(value)})
    with pytest.raises(ValueError, match=rf"{edit} \(config\.toml was edited after the last"):
        run(tmp_path, edited, resume=True)
    run(tmp_path, settings, resume=True)
    assert path.read_text("utf-8") == text


def test_a_path_in_the_config_may_change_if_the_data_do_not(tmp_path):
    settings = SETTINGS._replace(steps=2)
    run(tmp_path, settings, config={"options": {"data": Path("here"), "hidden": 4}})
    run(tmp_path, settings, config={"options": {"data": Path("there"), "hidden": 4}}, resume=True)
    assert read_config(tmp_path)["options"]["data"] == "there"
    load(tmp_path, tiny_task())
    config = {"options": {"data": Path("there"), "hidden": 5}}
    with pytest.raises(ValueError, match=r"options\.hidden was 4, is 5\."):
        run(tmp_path, settings, config=config, resume=True)


@pytest.mark.parametrize("name", ["lr[0.1]", "a b*?", "ä μ", "x.npz", "7", "{x}$HOME"])
def test_any_path_is_a_path(name, tmp_path):
    settings = SETTINGS._replace(steps=2)
    folder = tmp_path / name / name
    result = run(folder, settings)
    jax.tree.map(np.testing.assert_array_equal, load(folder, tiny_task()), result.params)
    assert int(run(folder, settings._replace(steps=4), resume=True).state.step) == 4


def test_results_without_checkpoints_are_not_overwritten(tmp_path):
    run(tmp_path, SETTINGS._replace(steps=2))
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="holds the results of a run but none of its checkpoints"):
        run(tmp_path, SETTINGS._replace(steps=2), resume=True)
    assert read_metrics(tmp_path)


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from rnnjax.experiments.training._lock import locked\n"
        "with locked(Path(sys.argv[1])): print('has it', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "has it\n"
        message = f"run is in use by process {process.pid} on .*: wait until it has ended, or"
        for use in (lambda: run(tmp_path / "run"), lambda: check_writable(tmp_path / "run")):
            with pytest.raises(BlockingIOError, match=message):
                use()
        process.kill()
    check_writable(tmp_path / "run")
    run(tmp_path / "run", SETTINGS._replace(steps=2))


def test_a_folder_that_cannot_be_written_is_known_before_anything_is_done(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(NotADirectoryError, match=f"cannot be written: {tmp_path}/file is a"):
            check_writable(folder)
    check_writable(tmp_path / "new" / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(PermissionError, match=f"new/run cannot be written: {tmp_path} is read-on"):
        check_writable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def fill_the_disk_of_the_log(patch):
    begin = Log.__init__

    def full(self, *arguments):
        begin(self, *arguments)
        self._file.close()
        self._file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115

    patch.setattr(Log, "__init__", full)
    return "/dev/full"


def fill_the_disk_of_checkpoints(patch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr("numpy.lib.format.write_array", full)
    return "checkpoints/8.npz"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it stands for a full disk")
@pytest.mark.parametrize("fill", [fill_the_disk_of_the_log, fill_the_disk_of_checkpoints])
def test_a_full_disk_is_one_error_and_the_run_goes_on_afterwards(fill, tmp_path, whole):
    settings = SETTINGS._replace(checkpoint_every=4)
    with pytest.raises(Interrupted):
        run(tmp_path, settings, task=signalled(5))
    with pytest.MonkeyPatch.context() as patch:
        name = fill(patch)
        with pytest.raises(OSError, match="No space left on device") as info:
            run(tmp_path, settings, task=signalled(None), resume=True)
    assert info.value.filename.endswith(name)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {"4.npz", "6.npz"} <= names
    assert not [each for each in names if "partial" in each]
    rest = run(tmp_path, settings, task=signalled(None), resume=True)
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole[1].params)


def test_a_run_is_not_resumed_in_another_precision(tmp_path):
    settings = SETTINGS._replace(steps=2)
    run(tmp_path, settings)
    init = tiny_task().init
    task = tiny_task()._replace(init=lambda key: jax.tree.map(lambda x: x.astype(float), init(key)))
    message = "cell.b is float32 in the checkpoint, float64 in the task; JAX_ENABLE_X64 decides"
    with pytest.raises(ValueError, match=rf"checkpoints/2\.npz does not fit the task: {message}"):
        run(tmp_path, settings, task=task, resume=True)
    assert load(tmp_path, task).out.dtype == np.float64


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the open file by /proc")
def test_a_process_that_was_forked_during_a_run_does_not_keep_its_folder(tmp_path):
    """It inherits the lock's file; here a fork is a second file of the same opening."""
    with locked(tmp_path):
        opened = [each for each in [*Path("/proc/self/fd").iterdir()] if each.exists()]
        lock = [each for each in opened if each.samefile(tmp_path / ".lock")]
        inherited = [os.dup(int(each.name)) for each in lock]
    try:
        assert len(inherited) == 1
        with locked(tmp_path):
            pass
    finally:
        for each in inherited:
            os.close(each)
