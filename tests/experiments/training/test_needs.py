"""The memory that training takes: as counted by hand, and refused before any array is made."""

import jax
import pytest

from rnnjax._names import spelled
from rnnjax.experiments.tasks import adding, delayed_xor
from rnnjax.experiments.tasks._options import check_spread
from rnnjax.experiments.training import Settings, _needs, check_memory, resolve

HUGE = 20_000_000


def needs(task, **settings):
    return _needs.training_needs(task, resolve(Settings(**settings), task.recipe))


def test_the_state_is_weights_gradients_updates_and_moments():
    task = delayed_xor(cell="identity_rnn", hidden=HUGE, length=10, batch_size=3)
    inputs = task.batches(0)[0].xs.shape[-1]
    weights = sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(task.init, jax.random.key(0)))
    )
    assert weights > (inputs + 2) * HUGE
    plain = needs(task, optimizer="sgd")
    assert 0 <= plain.state - 3 * 8 * weights < 100  # counters
    assert needs(task, optimizer="adam").state - plain.state == 2 * 8 * weights + 4
    assert needs(task, optimizer="sgd", average=0.5).state - plain.state == 8 * weights


def test_a_step_keeps_the_activations_of_every_time_step_seed_and_batch():
    task = delayed_xor(cell="irnn", hidden=100, length=50, batch_size=64)
    once = needs(task).steps
    assert once > 8 * 50 * 64 * 100
    assert needs(delayed_xor(cell="irnn", hidden=100, length=500, batch_size=64)).steps > 9 * once
    assert needs(task, seeds=3) == tuple(3 * size for size in needs(task))
    assert once < needs(task, accumulate=4).steps < 2 * once


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        ({"hidden": HUGE}, {"seed": 7}, "--hidden 20000000: training would take 18.0 PB of memory"),
        ({"batch_size": 10**9}, {}, "--batch-size 1000000000: training would take"),
        ({"hidden": 64}, {"seeds": 10**9}, "--seeds 1000000000, --hidden 64: training would"),
        ({}, {}, None),
    ],
)
def test_what_does_not_fit_is_refused_with_its_flags(options, settings, said, monkeypatch):
    monkeypatch.setattr(_needs, "available_memory", lambda: 10**9)
    task = adding(length=5, **options)
    full = resolve(Settings(**settings), task.recipe)
    flags = {"hidden": "--hidden", "batch_size": "--batch-size", "seeds": "--seeds"}
    with spelled(flags):
        if said is None:
            check_memory(task, full, {})
            return
        with pytest.raises(ValueError, match="but 1 GB are available") as refused:
            check_memory(task, full, {**options, **settings})
    assert said.split(" take ")[0] in str(refused.value)


@pytest.mark.parametrize("size", [2**31, 10**20])
def test_sizes_beyond_the_indices_of_jax_are_refused(size):
    with pytest.raises(ValueError, match=f"hidden must be below 2\\^31, got {size}"):
        adding(hidden=size)
    with pytest.raises(ValueError, match="steps must be below 2"):
        resolve(Settings(steps=size), adding(length=5).recipe)


def test_test_sets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"test_size: the test sequences would take [0-9.]+ TB"):
        adding(test_size=2 * 10**9)


@pytest.mark.parametrize("noise", [-1.0, float("inf")])
def test_a_spread_is_finite(noise):
    with pytest.raises(ValueError, match="noise is a standard deviation"):
        check_spread("noise", noise)
