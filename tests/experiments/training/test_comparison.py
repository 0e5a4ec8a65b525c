import jax
import numpy as np
import pytest

from rnnjax import flow
from rnnjax.experiments.data import digits
from rnnjax.experiments.training import (
    CONTENDERS,
    ComparisonSettings,
    NoRecurrenceError,
    Settings,
    comparable_task,
    fit,
    train_and_measure,
    train_and_measure_on,
)

TINY = ComparisonSettings(hidden=5, steps=60, batch_size=16, flow_examples=4)


@pytest.fixture(scope="module")
def data():
    return digits(0)


@pytest.fixture(scope="module")
def gru(data):
    return train_and_measure("gru", data, TINY)


def test_same_seed_same_numbers(data, gru):
    again = train_and_measure("gru", data, TINY)
    np.testing.assert_array_equal(gru.cost, again.cost)
    np.testing.assert_array_equal(gru.curve, again.curve)
    np.testing.assert_array_equal(gru.after.norms, again.after.norms)
    assert gru.after.verdict == again.after.verdict


def test_vmapped_seeds_are_the_single_runs(data, gru):
    both = train_and_measure("gru", data, TINY._replace(seeds=2))
    second = train_and_measure("gru", data, TINY._replace(seed=1))
    np.testing.assert_allclose(both.cost[0], gru.cost[0], rtol=1e-6)
    np.testing.assert_allclose(both.cost[1], second.cost[0], rtol=1e-6)
    assert not np.allclose(both.cost[0], both.cost[1], rtol=1e-3)


def test_by_hand_or_by_autodiff_training_is_the_same(data, gru):
    autodiff = train_and_measure("gru", data, TINY._replace(gradient="autodiff"))
    np.testing.assert_allclose(autodiff.cost, gru.cost, rtol=1e-6)


def test_training_learns_and_reports_every_step(data, gru):
    assert gru.cost.shape == (1, 60)
    assert gru.curve_steps.tolist() == [50, 60]
    assert gru.cost[0, -10:].mean() < gru.cost[0, :5].mean()
    assert gru.scores[0] == gru.curve[0, -1]


def test_progress_counts_every_step(data):
    seen = []
    train_and_measure("identity", data, TINY, seen.append)
    assert seen == [50, 10]


def test_identity_is_constant_to_machine_precision(data):
    result = train_and_measure("identity", data, TINY)
    for measures in (result.before, result.after):
        assert measures.verdict.label == "constant"
        assert measures.verdict.half_life == np.inf
        assert measures.verdict.log10_ratio == 0
        assert abs(measures.lyapunov) < 1e-6
        np.testing.assert_array_equal(measures.norms, np.broadcast_to(measures.norms[-1], (64, 4)))
        np.testing.assert_allclose(measures.log_singular_values, 0, atol=1e-5)
    assert result.bounds is None


def test_vanilla_vanishes_within_its_bound(data):
    before = train_and_measure("vanilla", data, TINY._replace(hidden=16)).before
    assert before.verdict.label == "vanishes"
    assert before.verdict.log10_ratio < -8
    assert before.lyapunov < -0.3


def test_contenders_are_the_six_cells():
    assert list(CONTENDERS) == ["vanilla", "irnn", "identity", "lstm_1997", "lstm", "gru"]


PARITY = {"max_length": 6, "test_length": 10, "batch_size": 40, "test_size": 20}


@pytest.fixture(scope="module")
def on_parity():
    task = comparable_task("parity", "gru", 4, PARITY)
    seen = []
    settings = TINY._replace(steps=40, seeds=2, seed=3)
    return task, train_and_measure_on("gru", task, settings, seen.append), seen


def test_any_task_is_trained_as_fit_trains_it(on_parity):
    task, result, seen = on_parity
    settings = Settings(
        steps=40, optimizer="adam", seed=3, seeds=2, evaluate_every=10, log_every=10
    )
    expected = fit(task, settings, quiet=True)
    np.testing.assert_array_equal(result.scores, expected.metrics["accuracy_10"])
    costs = np.stack([entry["cost"] for entry in expected.history], axis=1)
    np.testing.assert_array_equal(result.cost, costs)
    assert result.curve_steps.tolist() == [10, 20, 30, 40]
    assert result.curve.shape == (2, 4)
    assert result.metric == task.metric
    assert result.cost_every == 10
    assert seen == [10, 10, 10, 10]


def test_flow_is_measured_on_the_longest_of_the_batch_after_the_last(on_parity):
    task, result, _ = on_parity
    settings = Settings(steps=40, optimizer="adam", seed=3)
    state = fit(task, settings, quiet=True).state
    batch = task.batches(3)[40]
    net = task.recurrence(state.params, batch)
    recording = flow.record(net.cell, net.params, net.xs, net.cost, lengths=net.lengths)
    norms = np.asarray(flow.gradient_norms(recording.carry_ct, "h"))
    longest = np.flatnonzero(np.asarray(batch.lengths) == 6)[:4]
    assert len(longest) > 1
    np.testing.assert_allclose(result.after.norms, norms[:, longest], rtol=1e-5)
    assert result.after.sensitivity.shape == (6, 6)


def test_the_irnn_has_a_tenth_of_the_rate_and_the_vanilla_cell_a_bound():
    task = comparable_task("parity", "irnn", 4, PARITY)
    settings = TINY._replace(steps=10)
    result = train_and_measure_on("irnn", task, settings)
    rate = task.recipe.learning_rate / 10
    expected = fit(
        task, Settings(steps=10, learning_rate=rate, optimizer="adam", log_every=10), quiet=True
    )
    np.testing.assert_array_equal(result.cost[0], [expected.history[0]["cost"]])
    assert result.bounds is not None
    np.testing.assert_allclose(result.bounds[0], 1, rtol=1e-6)  # the identity, and a ReLU


def test_a_comparable_task_has_one_layer_that_reads_forwards(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = [f"a {word} film,{label}" for word, label in (("good", "pos"), ("bad", "neg"))] * 20
    path.write_text("text,label\n" + "\n".join(rows) + "\n", "utf-8")
    options = {"data": path, "layers": 3, "both_ways": True, "hidden": 9}
    task = comparable_task("sentiment", "gru", 4, options)
    net = task.recurrence(task.init(jax.random.key(0)), task.batches(0)[0])
    assert net.params.w_h.shape == (4, 12)
    with pytest.raises(ValueError, match="did you mean 'parity'"):
        comparable_task("parit", "gru", 4, {})


def test_a_task_without_a_recurrence_cannot_be_compared():
    options = {"pictures": 4, "test_pictures": 2, "side": 8}
    with pytest.raises(NoRecurrenceError, match="'caption' does not say what its recurrence is"):
        comparable_task("caption", "gru", 4, options)
