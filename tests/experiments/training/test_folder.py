"""The folder of a run: its files, and when it can be resumed."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import Settings, fit, load, read_config, read_metrics
from rnnjax.experiments.training._checkpoints import Checkpoints

SHORT = Settings(steps=6, evaluate_every=2, checkpoint_every=2, log_every=1)


def run(folder, settings=SHORT, *, task=None, **options):
    return fit(task or tiny_task(), settings, folder, quiet=True, **options)


def steps_saved(folder):
    return sorted(int(path.stem) for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    options = {"hidden": 4, "data": Path("a/b"), "layers": None, "names": ["x", 'y "z"\n']}
    return folder, run(folder, config={"options": options}, tensorboard=True)


@pytest.mark.usefixtures("eager")
def test_the_config_can_be_read_back(finished):
    config = read_config(finished[0])
    assert config["task"] == "tiny"
    assert config["options"] == {"hidden": 4, "data": "a/b", "names": ["x", 'y "z"\n']}
    given = {k: v for k, v in SHORT._asdict().items() if v is not None}
    assert given.items() <= config["settings"].items()
    assert config["settings"]["learning_rate"] == RECIPE.learning_rate
    assert Settings(**config["settings"])._replace(seed=3).steps == 6


def test_a_run_is_refused_on_data_with_other_facts(tmp_path):
    facts = {"scale": 2.5, "words": ["a", "b"] * 20}
    task = tiny_task()._replace(data=facts)
    run(tmp_path, task=task)
    assert json.loads((tmp_path / "data.json").read_text("utf-8")) == facts
    load(tmp_path, task)
    run(tmp_path, task=task, resume=True)
    for other, told in (
        ({"scale": 2.5, "words": ["b", "a"] * 20}, ""),
        ({**facts, "scale": 7.5}, ": scale was 2.5, is 7.5"),
        ({}, ""),
    ):
        with pytest.raises(ValueError, match=rf"other data{told}\. Make the task with the same"):
            load(tmp_path, task._replace(data=other))
        with pytest.raises(ValueError, match=rf"other data{told}\. Resume it with the same data"):
            run(tmp_path, task=task._replace(data=other), resume=True)


def scaled(batches, factor, kind=np.asarray):
    return [batch._replace(targets=kind(factor * batch.targets)) for batch in batches]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", [np.asarray, jax.numpy.asarray])
def test_a_run_of_ones_own_task_is_refused_on_other_arrays(kind, tmp_path):
    batches = [tiny_task().batches(0)[n] for n in range(8)]
    task = tiny_task()._replace(batches=lambda seed: scaled(batches, 1, kind))
    settings = SHORT._replace(steps=2)
    run(tmp_path, settings, task=task)
    run(tmp_path, settings, task=task, resume=True)
    other = task._replace(batches=lambda seed: scaled(batches, 3, kind))
    with pytest.raises(ValueError, match=r"was made on other data\. Resume it with the same data"):
        run(tmp_path, settings, task=other, resume=True)
    digested = task._replace(digest=lambda: "of a large file")
    with pytest.raises(ValueError, match="was made on other data"):
        run(tmp_path, settings, task=digested, resume=True)


def usable_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def test_results_record_metrics_versions_and_cores(finished):
    folder, result = finished
    content = json.loads((folder / "results.json").read_text("utf-8"))
    assert content["task"] == "tiny"
    assert content["metric"] == {"name": "mse", "goal": "min", "unit": ""}
    assert content["final"] == result.metrics
    assert content["best"] == result.best
    assert content["baselines"] == tiny_task().baselines
    assert content["steps"] == 6
    assert content["jax"] == jax.__version__
    assert content["seconds"] > 0
    assert content["cores"] == read_config(folder)["versions"]["cores"] == usable_cores()


def test_the_history_is_the_log(finished):
    folder, result = finished
    assert read_metrics(folder) == result.history
    assert [line["step"] for line in result.history] == [1, 2, 3, 4, 5, 6]
    assert read_metrics(folder, last=4) == result.history[:4]


def records(path):
    """The records of a TensorBoard event file: length, checksum, bytes, checksum."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        yield data[place + 12 : place + 12 + size]
        place += size + 16


def test_tensorboard_has_the_same_values(finished):
    from tensorboardX.proto.event_pb2 import Event

    folder, result = finished
    (path,) = (folder / "tensorboard").iterdir()
    found = {}
    for record in records(path):
        event = Event.FromString(record)
        for value in event.summary.value:
            found[event.step, value.tag] = value.simple_value
    for line in result.history:
        np.testing.assert_allclose(found[line["step"], "cost"], line["cost"], rtol=1e-6)
    mse = result.history[-1]["evaluation"]["mse"]
    np.testing.assert_allclose(found[6, "evaluation/mse"], mse, rtol=1e-6)


def test_resuming_a_finished_run_changes_nothing(finished, tmp_path):
    folder = tmp_path / "run"
    first = run(folder)
    again = run(folder, resume=True)
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    assert again.metrics == first.metrics
    assert again.history == first.history
    assert not (folder / "tensorboard").exists()


@pytest.mark.usefixtures("eager")
def test_numpy_scalars_are_written_as_numbers(tmp_path):
    settings = SHORT._replace(learning_rate=np.float32(0.25), seed=np.int64(3))
    run(tmp_path, settings, config={"options": {"hidden": np.int32(4), "wide": np.bool_(True)}})
    config = read_config(tmp_path)
    assert config["options"] == {"hidden": 4, "wide": True}
    assert (config["settings"]["learning_rate"], config["settings"]["seed"]) == (0.25, 3)


@pytest.mark.parametrize("bad", ['{"step": 3, "co', "[3]", '{"cost": 1.0}'])
def test_a_bad_line_of_the_log_is_named(bad, tmp_path):
    run(tmp_path)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], bad, *lines[3:]]) + "\n", "utf-8")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3: expected an object with a step"):
        run(tmp_path, resume=True)


def test_another_run_is_not_overwritten(finished):
    before = read_metrics(finished[0])
    with pytest.raises(ValueError, match="holds a run already: resume it"):
        run(finished[0])
    assert read_metrics(finished[0]) == before


def test_another_config_is_refused_and_the_difference_named(tmp_path):
    run(tmp_path, config={"options": {"hidden": 4, "cell": "gru"}})
    with pytest.raises(
        ValueError,
        match=r"options.hidden was 4, is 5; settings.steps was 6, is 8; "
        r"options.layers was 'not given', is 2",
    ):
        run(
            tmp_path,
            SHORT._replace(steps=8),
            resume=True,
            config={"options": {"hidden": 5, "cell": "gru", "layers": 2}},
        )


@pytest.mark.usefixtures("eager")
def test_a_finished_run_goes_on_with_more_steps(tmp_path):
    constant = SHORT._replace(schedule="constant", warmup=0.0)
    run(tmp_path / "two", constant)
    longer = constant._replace(steps=10)
    rest = run(tmp_path / "two", longer, resume=True)
    whole = run(tmp_path / "one", longer)
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole.params)
    assert [line["step"] for line in rest.history] == list(range(1, 11))
    assert read_config(tmp_path / "two")["settings"]["steps"] == 10
    results = json.loads((tmp_path / "two" / "results.json").read_text("utf-8"))
    assert results["steps"] == 10
    with pytest.raises(ValueError, match=r"settings\.steps was 10, is 8"):
        run(tmp_path / "two", constant._replace(steps=8), resume=True)


def test_another_version_of_a_package_may_resume(tmp_path):
    run(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text("utf-8").replace(jax.__version__, "0.0.1"), "utf-8")
    assert read_config(tmp_path)["versions"]["jax"] == "0.0.1"
    assert int(run(tmp_path, resume=True).state.step) == 6


def test_resume_and_tensorboard_need_a_folder():
    for option in ("resume", "tensorboard"):
        with pytest.raises(ValueError, match="need a folder"):
            fit(tiny_task(), SHORT, quiet=True, **{option: True})


@pytest.mark.usefixtures("eager")
def test_lines_after_the_checkpoint_and_truncated_lines_are_dropped(tmp_path):
    whole = run(tmp_path / "whole")
    folder = tmp_path / "killed"
    with pytest.raises(RuntimeError, match="lights out"):
        run(folder, callbacks=[LightsOut(5)])
    log = folder / "metrics.jsonl"
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4]
    with log.open("a") as file:
        file.write('{"step": 5, "cost": 1.0}\n{"step": 6, "co')
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4, 5]
    rest = run(folder, resume=True)
    assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4, 5, 6]
    assert [line["cost"] for line in rest.history] == [line["cost"] for line in whole.history]
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole.params)
    assert rest.seconds > rest.history[3]["seconds"]


@pytest.mark.usefixtures("eager")
def test_the_lines_before_a_checkpoint_are_on_the_disk_before_it(tmp_path, monkeypatch):
    """A power cut may lose what was not synchronised: here all but that."""
    log, on_disk, found = tmp_path / "metrics.jsonl", [""], {}
    usual, save = os.fsync, Checkpoints.save

    def synchronised(number):
        usual(number)
        if log.exists() and os.path.samestat(os.fstat(number), log.stat()):
            on_disk.append(log.read_text("utf-8"))

    def saved(self, step, *args):
        found[step] = [json.loads(line)["step"] for line in on_disk[-1].splitlines()]
        save(self, step, *args)

    monkeypatch.setattr(os, "fsync", synchronised)
    monkeypatch.setattr(Checkpoints, "save", saved)
    run(tmp_path)
    assert found == {2: [1, 2], 4: [1, 2, 3, 4], 6: [1, 2, 3, 4, 5, 6]}


class LightsOut:
    def __init__(self, every):
        self.every = every

    def __call__(self, step, state, batch, task):
        raise RuntimeError("lights out")


def test_a_run_without_a_checkpoint_starts_over(tmp_path):
    with pytest.raises(RuntimeError, match="lights out"):
        run(tmp_path, callbacks=[LightsOut(1)])
    assert steps_saved(tmp_path) == []
    result = run(tmp_path, resume=True)
    assert [line["step"] for line in result.history] == [1, 2, 3, 4, 5, 6]


def test_a_folder_without_a_checkpoint_can_be_reused(tmp_path):
    for resume in (False, True):
        folder = tmp_path / str(resume)
        with pytest.raises(RuntimeError, match="lights out"):
            run(folder, callbacks=[LightsOut(2)], config={"options": {"hidden": 5}})
        assert [line["step"] for line in read_metrics(folder)] == [1]
        run(folder, SHORT._replace(steps=4, learning_rate=0.01), resume=resume)
        assert [line["step"] for line in read_metrics(folder)] == [1, 2, 3, 4]
        assert read_config(folder)["settings"]["learning_rate"] == 0.01
        assert "options" not in read_config(folder)


@pytest.mark.usefixtures("eager")
def test_a_run_stopped_by_nan_resumes_as_its_message_says(tmp_path):
    good = tiny_task().batches(0)
    batches = [
        good[n] if n != 4 else good[n]._replace(targets=good[n].targets * np.nan) for n in range(6)
    ]
    task = tiny_task(batches=lambda seed: batches)
    with pytest.raises(
        FloatingPointError, match=r"step 5: .*checkpoints/4\.npz\. Lower .*"
    ) as info:
        run(tmp_path, task=task)
    assert str(info.value).endswith(
        "Lower learning_rate or clip_norm, in another folder, or resume this run and skip such "
        "updates with skip_nonfinite=True"
    )
    result = run(tmp_path, SHORT._replace(skip_nonfinite=True), task=task, resume=True)
    assert int(result.state.skipped) == 1
    assert [line["step"] for line in result.history] == [1, 2, 3, 4, 5, 6]
    assert read_config(tmp_path)["settings"]["skip_nonfinite"] is True


@pytest.mark.usefixtures("eager")
def test_log_and_checkpoint_intervals_may_change_on_resumption(tmp_path):
    with pytest.raises(RuntimeError, match="lights out"):
        run(tmp_path, callbacks=[LightsOut(3)])
    settings = SHORT._replace(log_every=2, checkpoint_every=None)
    result = run(tmp_path, settings, resume=True)
    assert [line["step"] for line in result.history] == [1, 2, 4, 6]
    assert read_config(tmp_path)["settings"]["log_every"] == 2
    assert "checkpoint_every" not in read_config(tmp_path)["settings"]


def test_checkpoints_without_a_config_are_refused(tmp_path):
    run(tmp_path)
    (tmp_path / "config.toml").unlink()
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"no config\.toml.*put it back, delete .*checkpoints"):
            run(tmp_path, resume=resume)
    assert steps_saved(tmp_path)[-1] == 6
    assert not (tmp_path / "config.toml").exists()


def changed(data, k):
    return data[:k] + bytes([data[k] ^ 1]) + data[k + 1 :]


DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "one bit of an array": lambda data: changed(data, data.index(b"\x93NUMPY") + 150),
    "one bit of the facts": lambda data: changed(data, data.index(b'"score"')),
}


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    return folder, run(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(damage, one_run, tmp_path):
    folder, whole = tmp_path / "run", one_run[1]
    shutil.copytree(one_run[0], folder)
    last = folder / "checkpoints" / "6.npz"
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    with pytest.warns(
        UserWarning, match=r"checkpoints/6\.npz is damaged .*: taking 4\.npz"
    ) as told:
        loaded = load(folder, tiny_task())
    assert len(told) == 1
    assert len(str(told[0].message)) < 500
    with np.load(folder / "checkpoints" / "4.npz") as before:
        np.testing.assert_array_equal(loaded.out, before["params.out"])
    with pytest.warns(UserWarning, match=r"6\.npz is damaged"):
        rest = run(folder, resume=True)
    assert without_times(rest.history) == without_times(whole.history)
    assert (folder / "checkpoints" / "6.damaged").exists()
    jax.tree.map(np.testing.assert_array_equal, rest.params, whole.params)
    jax.tree.map(np.testing.assert_array_equal, load(folder, tiny_task()), rest.params)


def without_times(lines):
    times = ("seconds", "steps_per_second")
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def test_nothing_is_lost_in_silence_if_all_checkpoints_are_damaged(one_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(one_run[0], folder)
    before = read_metrics(folder)
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(b"?")
    for which in ("last", "best"):
        with pytest.raises(OSError, match=r"npz is damaged.*put .* back from a copy"):
            load(folder, tiny_task(), which=which)
    with pytest.raises(OSError, match=r"no other checkpoint is intact: .*delete .*checkpoints to"):
        run(folder, resume=True)
    assert read_metrics(folder) == before


def scripted(values):
    values = iter(values)
    return tiny_task()._replace(evaluate=lambda params: {"mse": next(values)})


def test_the_last_two_and_the_best_are_kept(tmp_path):
    settings = SHORT._replace(steps=12)
    result = run(tmp_path, settings, task=scripted([5, 1, 4, 3, 2, 2.5]))
    assert steps_saved(tmp_path) == [4, 10, 12]
    assert result.best == {"step": 4, "value": 1.0}
    best, last = (load(tmp_path, tiny_task(), which=which) for which in ("best", "last"))
    jax.tree.map(np.testing.assert_array_equal, last, result.params)
    fit(tiny_task(), settings, quiet=True, callbacks=[Keep(4, kept := [])])
    jax.tree.map(np.testing.assert_array_equal, best, kept[0])


@pytest.mark.parametrize("every", [None, 3])
def test_the_best_checkpoint_is_the_reported_best(every, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnjax.experiments.training._record._SAVING_SHARE", 1e-9)
    settings = SHORT._replace(steps=10, checkpoint_every=every)
    task = scripted([5, 4, 1, 1, 2])
    result = run(tmp_path, settings, task=task)
    assert result.best == {"step": 6, "value": 1.0}
    assert 6 in steps_saved(tmp_path)
    best = load(tmp_path, tiny_task(), which="best")
    fit(tiny_task(), settings, quiet=True, callbacks=[Keep(6, kept := [])])
    jax.tree.map(np.testing.assert_array_equal, best, kept[0])


def test_a_resumed_run_remembers_its_best(tmp_path):
    with pytest.raises(RuntimeError, match="lights out"):
        run(tmp_path, SHORT, task=scripted([1, 3]), callbacks=[LightsOut(5)])
    result = run(tmp_path, task=scripted([2]), resume=True)
    assert result.best == {"step": 2, "value": 1.0}
    assert Checkpoints(tmp_path).best() == 2


class Keep:
    def __init__(self, every, kept):
        self.every, self.kept = every, kept

    def __call__(self, step, state, batch, task):
        self.kept.append(jax.tree.map(np.array, state.params))
        return {}


def test_a_nan_score_is_the_worst(tmp_path):
    run(tmp_path, task=scripted([float("nan"), 7.0, float("nan")]))
    assert steps_saved(tmp_path) == [4, 6]
    assert Checkpoints(tmp_path).best() == 4


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    kept = {"checkpoints/8.npz", "other.partial.svg", "scores.partial.json", "a.partial.toml"}
    kept |= {
        "scores.0123abcd.partial.json",
        "config.mine.partial.toml",
        "mine.0123abcd.partial.toml",
    }
    runs_own = ("config.toml", "data.json", "results.json", "metrics.jsonl", "checkpoints/8.npz")
    partials = {name.replace(".", ".0123abcd.partial.") for name in runs_own}
    (tmp_path / "checkpoints").mkdir()
    for name in kept | partials:
        (tmp_path / name).touch()
    assert Checkpoints(tmp_path).steps() == [8]
    assert partials <= found_in(tmp_path)  # nothing is removed by who only reads
    Checkpoints(tmp_path, about={})
    assert found_in(tmp_path) == {"checkpoints", *kept}


def found_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_without_an_interval_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    settings = Settings(steps=120, evaluate_every=1)
    constant = tiny_task()._replace(evaluate=lambda params: {"mse": 0.0})
    saved, save = [], Checkpoints.save

    def spy(self, step, *rest):
        saved.append(step)
        save(self, step, *rest)

    monkeypatch.setattr(Checkpoints, "save", spy)
    run(tmp_path, settings, task=constant)
    assert saved[0] == 1
    assert saved[-1] == 120
    assert len(saved) < 40


@pytest.mark.usefixtures("eager")
def test_load_returns_the_moving_average_of_one_seed(tmp_path):
    result = run(tmp_path, SHORT._replace(seeds=2, average=0.5))
    for member in range(2):
        loaded = load(tmp_path, tiny_task(), member=member)
        jax.tree.map(
            lambda one, all_, n=member: np.testing.assert_array_equal(one, all_[n]),
            loaded,
            result.state.average,
        )
    with pytest.raises(ValueError, match=r"member must lie in 0..1"):
        load(tmp_path, tiny_task(), member=2)


def test_errors_of_load(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        load(tmp_path, tiny_task())
    with pytest.raises(
        ValueError, match=r"do not fit task 'tiny'.*options in .*config\.toml"
    ) as info:
        load(finished[0], tiny_task(hidden=5))
    assert "cell.b is of shape (12,) in the checkpoint, of shape (15,) in the" in str(info.value)
    with pytest.raises(ValueError, match="did you mean 'best'"):
        load(finished[0], tiny_task(), which="bets")


class Absent(NamedTuple):
    """An import hook that makes one package appear missing."""

    package: str

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)


@pytest.mark.parametrize("package", ["tomli_w", "tensorboardX"])
def test_a_missing_package_is_named_with_its_extra(package, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])
    with pytest.raises(ImportError, match=rf"{package} is not installed.*rnnjax\[training\]"):
        run(tmp_path / "run", tensorboard=package == "tensorboardX")
    assert not (tmp_path / "run").exists()
    assert fit(tiny_task(), SHORT, quiet=True).metrics  # in memory nothing is missing


def test_training_is_imported_without_the_extra():
    code = """
import sys
for name in ("tensorboardX", "tomli_w", "typer", "grain", "sklearn", "matplotlib"):
    sys.modules[name] = None
import rnnjax.experiments.training
print(rnnjax.experiments.training.Settings().seed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr
