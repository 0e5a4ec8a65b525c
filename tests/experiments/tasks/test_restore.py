"""Trained models without their data: what `Task.data` holds is enough."""

import json
import shutil

import jax
import numpy as np
import pytest

from rnnjax.experiments._fields import fields_of
from rnnjax.experiments.data import digest_arrays, digest_files, write_wav
from rnnjax.experiments.tasks import TASKS

SMALL = {"hidden": 3, "batch_size": 4}
OF_TEXT = {**SMALL, "embedding": 3}


def a_table(folder, scale=1.0):
    path = folder / "table.csv"
    rows = (f"{k},{scale * (np.sin(k / 3) + 5):.6f}" for k in range(80))
    path.write_text("day,load\n" + "\n".join(rows) + "\n", "utf-8")
    return {"csv": path, "window": 8, "horizon": 2, **SMALL}


def a_text(folder):
    path = folder / "text.txt"
    path.write_text("a dog and a cat, " * 30, "utf-8")
    return {"text": path, "unroll_steps": 8, **OF_TEXT}


def reviews(folder):
    path = folder / "reviews.csv"
    path.write_text("text,label\n" + "a good film,for\na bad film,against\n" * 10, "utf-8")
    return {"data": path, "subwords": 10, "lowercase": False, **OF_TEXT}


def recordings(folder):
    for word, pitch in (("no", 3), ("yes", 5)):
        for take in range(6):
            samples = np.sin(np.arange(1000 + 50 * take) / pitch).astype(np.float32)
            (folder / word).mkdir(exist_ok=True)
            write_wav(folder / word / f"{take}.wav", samples, 8000)
    return {"data": folder, "filters": 8, **SMALL}


def features(folder):
    np.savez(folder / "f.npz", **{f"{k}.jpg": np.full((2, 3, 4), k) for k in range(10)})
    (folder / "pictures").mkdir()
    lines = [f"{k}.jpg,a dog number {k % 3}" for k in range(10)]
    text = "image,caption\n" + "\n".join(lines) + "\n"
    (folder / "pictures" / "captions.txt").write_text(text, "utf-8")
    of_data = {"data": folder / "pictures", "features": folder / "f.npz"}
    return {**of_data, "channels": 3, **OF_TEXT}


def pictures(folder):
    del folder
    return {"pictures": 8, "test_pictures": 4, "side": 16, "channels": 4, **OF_TEXT}


CASES = {  # inference of the others is compared where they are trained, in cli/test_use.py
    "series": (a_table, None),
    "language": (a_text, None),
    "sentiment": (reviews, None),
    "digits": (
        lambda folder: {"read": "rows", "permuted": True, **SMALL},
        lambda infer, params: infer["classify"](params, [np.eye(8)]),
    ),
    "speech": (recordings, lambda infer, params: infer["classify"](params, infer["a file"])),
    "speech, ctc": (
        lambda folder: {**recordings(folder), "mode": "ctc", "bidirectional": False},
        lambda infer, params: infer["transcribe"](params, infer["a file"]),
    ),
    "caption": (pictures, None),
    "caption, features": (features, None),
}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("case", CASES)
def test_a_model_is_restored_from_the_stored_facts_alone(case, tmp_path):
    entry, (prepare, used) = TASKS[case.split(",")[0]], CASES[case]
    folder = tmp_path / "data"
    folder.mkdir()
    options = prepare(folder)
    task = entry.make(**options)
    stored = json.loads(json.dumps(task.data))
    assert stored == task.data
    file = tmp_path / "said.wav"
    for path in folder.rglob("0.wav"):
        path.rename(file)
    shutil.rmtree(folder)
    defaults = {name: field.default for name, field in fields_of(entry.make).items()}
    restored = entry.restore(stored, **{**defaults, **options})
    shapes, expected = (jax.eval_shape(each.init, jax.random.key(0)) for each in (restored, task))
    assert shapes == expected
    assert restored.infer.keys() == task.infer.keys()
    if used is not None:
        params = task.init(jax.random.key(0))
        each = ({**it.infer, "a file": file} for it in (restored, task))
        found, expected = (used(infer, params) for infer in each)
        assert found == expected


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_reads_data_can_be_restored(name):
    assert (TASKS[name].restore is None) == (TASKS[name].kind == "synthetic")


def other(array):
    changed = array.copy()
    changed.flat[-1] += 1
    return changed


@pytest.mark.parametrize("limit", [1 << 28, 1000])
def test_a_digest_of_arrays_depends_on_values_shapes_and_dtypes(limit, monkeypatch):
    monkeypatch.setattr("rnnjax.experiments.data._digest._LIMIT", limit)
    array = np.arange(60_000).reshape(300, 200)
    all_ = [array, other(array), array.T, array.reshape(200, 300), array.astype(float), array[:-1]]
    assert len({digest_arrays(each) for each in all_}) == len(all_)
    assert digest_arrays(array.copy()) == digest_arrays(array)
    assert digest_arrays(array, array) != digest_arrays(array)


@pytest.mark.parametrize("limit", [1 << 28, 1000])
def test_a_digest_of_files_depends_on_names_and_contents(limit, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnjax.experiments.data._digest._LIMIT", limit)
    one, two = tmp_path / "1.bin", tmp_path / "2.bin"
    one.write_bytes(bytes(90_000))
    two.write_bytes(b"x" * 90_000)
    first = digest_files([one, two])
    assert digest_files([two, one]) == first
    moved = tmp_path / "moved"
    moved.mkdir()
    assert digest_files([shutil.copy(one, moved), shutil.copy(two, moved)]) == first
    one.rename(tmp_path / "3.bin")
    two.rename(one)
    (tmp_path / "3.bin").rename(two)
    assert digest_files([one, two]) != first


@pytest.mark.parametrize("name", ["series", "speech", "caption, features"])
def test_the_digest_of_a_task_changes_with_its_data(name, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    make = TASKS[name.split(",")[0]].make
    options = CASES[name][0](folder)
    before = make(**options).digest()
    assert make(**options).digest() == before
    if name == "series":
        a_table(folder, scale=3.0)
    elif name == "speech":
        shutil.copy(folder / "no" / "0.wav", folder / "yes" / "1.wav")
    else:
        shutil.rmtree(folder / "pictures")
        features(folder)
        np.savez(folder / "f.npz", **{f"{k}.jpg": np.full((2, 3, 4), -k) for k in range(10)})
    assert make(**options).digest() != before
