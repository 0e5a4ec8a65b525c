"""Batches: grouped, prefetched, stacked and padded."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_task import tiny_task

import rnnjax.experiments.training._dispatch as dispatch
from rnnjax.experiments.data.audio import synthetic_recordings
from rnnjax.experiments.tasks import sentiment, speech
from rnnjax.experiments.tasks.spoken import _speech
from rnnjax.experiments.training import Settings, fit
from rnnjax.experiments.training._batches import batch_source, prefetched
from rnnjax.experiments.training._settings import resolve


class Ragged(NamedTuple):
    xs: Any
    targets: Any
    lengths: Any


def test_batches_of_one_shape_are_grouped_and_others_are_not():
    shapes = iter([2, 2, 2, 2, 3, 2, 2, 2, 2])
    batches = (np.zeros(size) for size in shapes)
    groups = list(dispatch.grouped(batches, 8, 3))
    assert [[len(group) for group in item] for item in groups] == [[3], [1, 1, 1], [1], [1]]
    assert len(next(batches)) == 2  # none was taken too many


def test_batches_too_large_to_copy_are_not_grouped(monkeypatch):
    monkeypatch.setattr(dispatch, "_LARGE", 2 * 8 * 4 - 1)
    groups = list(dispatch.grouped(iter([np.zeros(4)] * 4), 4, 2))
    assert [[len(group) for group in item] for item in groups] == [[1, 1], [1, 1]]


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["host", "device"])
def test_batches_come_in_order_and_on_the_device(convert):
    asked = []

    def draw(step):
        asked.append(step)
        return convert(step)

    with prefetched(draw, range(3, 30)) as batches:
        taken = [next(batches) for _ in range(10)]
    assert [int(x) for x in taken] == list(range(3, 13))
    assert all(isinstance(x, jax.Array) for x in taken)
    assert asked == list(range(3, 3 + len(asked)))
    assert len(asked) < 20
    with prefetched(draw, range(0)) as batches:
        assert list(batches) == []


def test_batches_are_drawn_ahead_under_the_caller_s_contexts_of_jax():
    """They are those of one thread, and a fit inside `enable_x64` is to see 64 bits throughout."""
    device = jax.devices()[0]
    seen = []

    def draw(step):
        config: Any = jax.config
        seen.append((config.jax_default_device, config.jax_default_matmul_precision))
        return np.int64(2**40 + step)

    for wide, dtype in ((True, np.int64), (False, np.int32)):
        precise = jax.default_matmul_precision("highest")
        ahead = prefetched(draw, range(4))
        with jax.enable_x64(wide), precise, jax.default_device(device), ahead as batches:
            taken = list(batches)
        assert [x.dtype for x in taken] == [dtype] * 4
        if wide:
            assert [int(x) for x in taken] == [2**40 + step for step in range(4)]
    assert seen == [(device, "highest")] * 8


@pytest.fixture(autouse=True)
def _few_recordings(monkeypatch):
    monkeypatch.setattr(_speech, "synthetic_recordings", lambda *_: synthetic_recordings(5, 1))


def reviews(folder):
    """A sentiment task on texts of 3 to 12 words."""
    random = np.random.default_rng(0)
    for name, word in (("neg", "dull"), ("pos", "fun")):
        counts = np.sort(random.integers(1, 10, 24))
        lines = [" ".join(["a", word, f"{name}{k}"] + ["film"] * n) for k, n in enumerate(counts)]
        (folder / f"rt.{name}").write_text("\n".join(lines))
    return sentiment(data=folder, hidden=3, batch_size=4)


TASKS = {
    "sentiment": reviews,
    "word": lambda folder: speech(hidden=3, batch_size=4),
    "ctc": lambda folder: speech(mode="ctc", hidden=3, batch_size=4),
}


@pytest.mark.parametrize("name", TASKS)
def test_padding_to_the_longest_of_a_step_does_not_change_the_loss(name, tmp_path):
    task = TASKS[name](tmp_path)
    params = task.init(jax.random.key(0))
    settings = Settings(seeds=2, accumulate=2)
    graded = jax.jit(jax.value_and_grad(lambda *args: task.loss(*args, None)[0]), static_argnums=1)
    stacked = batch_source(task, settings)(0)
    lengths = set()
    for seed in range(2):
        for n in range(2):
            alone = task.batches(seed)[n]
            padded = jax.tree.map(lambda x, at=(seed, n): x[at], stacked)
            lengths.add(jax.tree.leaves(alone)[0].shape[0])
            one, other = (graded(params, None, batch) for batch in (alone, padded))
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, other
            )
    assert len(lengths) > 1
    assert jax.tree.leaves(stacked)[0].shape[:3] == (2, 2, max(lengths))


def test_batches_of_recordings_are_all_of_one_size():
    """In every epoch, so that several seeds or accumulated batches can be stacked."""
    task = speech(hidden=3, batch_size=3)
    recordings = task.data["training_recordings"]
    assert recordings % 3
    sizes = {len(task.batches(seed)[step].labels) for seed in (0, 1) for step in range(recordings)}
    assert sizes == {3}
    stacked = batch_source(task, resolve(Settings(seeds=2, accumulate=2), task.recipe))
    assert {stacked(step).labels.shape for step in range(recordings)} == {(2, 2, 3)}
    every = speech(hidden=3, batch_size=10 * recordings)
    assert len(every.batches(0)[0].labels) == recordings


def test_batches_of_different_sizes_are_named_as_such():
    def sized(*sizes):
        batches = [tiny_task().batches(0)[0]._replace(targets=np.zeros(size)) for size in sizes]
        return [Ragged(*batch, np.ones(len(batch.targets))) for batch in batches]

    task = tiny_task()._replace(batches=lambda seed: sized(4, 4, 3))
    draw = batch_source(task, Settings(accumulate=3))
    with pytest.raises(
        ValueError, match=r"batches of one size, got 4 and 3 examples: .*drop_remainder=True"
    ):
        draw(0)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("options", [{"seeds": 2}, {"accumulate": 2}])
def test_reviews_of_several_lengths_train_side_by_side(options, tmp_path):
    result = fit(reviews(tmp_path), Settings(steps=1, **options), quiet=True)
    assert np.shape(result.metrics["accuracy"]) == ((2,) if "seeds" in options else ())
    assert np.all(np.isfinite(result.history[-1]["cost"]))
