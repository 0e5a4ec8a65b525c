import functools

import jax
import numpy as np
import pytest

import rnnjax
import rnnjax.experiments.training._batches as batching
from rnnjax import flow
from rnnjax.experiments.tasks import Recurrence
from rnnjax.experiments.training import (
    CONTENDERS,
    ComparisonSettings,
    NoRecurrenceError,
    Settings,
    cached_batches,
    comparison_task,
    fit,
    measure_flow,
    peak_learning_rate,
    train_and_measure,
)

TINY = ComparisonSettings(hidden=5, steps=60, flow_examples=4)
NO_SINGULAR_VALUES = flow.SingularValues(np.zeros(1), np.zeros((1, 2)))


@functools.cache
def digits_task(cell, hidden, gradient):
    return comparison_task("digits", cell, hidden, {"batch_size": 16}, gradient)


def on_digits(cell, settings=TINY, *progress):
    task = digits_task(cell, settings.hidden, settings.gradient)
    return train_and_measure(cell, task, settings, *progress)


@pytest.fixture
def without_singular_values(monkeypatch):
    """Measure no singular values, whose program takes a second to compile for each shape."""
    monkeypatch.setattr(flow, "log_singular_values", lambda jacobians: NO_SINGULAR_VALUES)


@pytest.fixture(scope="module")
def gru():
    return on_digits("gru")


@pytest.fixture(scope="module")
def identity():
    seen = []
    return on_digits("identity_rnn", TINY._replace(steps=45), seen.append), seen


def test_same_seed_same_numbers(gru):
    again = on_digits("gru")
    np.testing.assert_array_equal(gru.cost, again.cost)
    np.testing.assert_array_equal(gru.curve, again.curve)
    np.testing.assert_array_equal(gru.after.norms, again.after.norms)
    assert gru.after.verdict == again.after.verdict


def test_vmapped_seeds_are_the_single_runs(gru):
    both = on_digits("gru", TINY._replace(seeds=2))
    second = on_digits("gru", TINY._replace(seed=1))
    np.testing.assert_allclose(both.cost[0], gru.cost[0], rtol=1e-6)
    np.testing.assert_allclose(both.cost[1], second.cost[0], rtol=1e-6)
    assert not np.allclose(both.cost[0], both.cost[1], rtol=1e-3)


def test_training_by_bptt_and_by_autodiff_is_the_same(gru):
    autodiff = on_digits("gru", TINY._replace(gradient="autodiff"))
    np.testing.assert_allclose(autodiff.cost, gru.cost, rtol=1e-6)


def test_training_learns_and_its_curves_cover_every_step(gru):
    assert gru.cost.shape == (1, 6)
    assert gru.cost_every == 10
    assert gru.curve_steps.tolist() == [10, 20, 30, 40, 50, 60]
    assert gru.cost[0, -1] < gru.cost[0, 0]
    assert gru.scores[0] == gru.curve[0, -1]


def test_progress_counts_every_step(identity):
    assert identity[1] == [10, 10, 10, 10, 5]


def test_identity_is_constant_to_machine_precision(identity):
    result, _ = identity
    for measures in (result.before, result.after):
        assert measures.verdict.label == "constant"
        assert measures.verdict.half_life == np.inf
        assert measures.verdict.log10_ratio == 0
        assert abs(measures.lyapunov) < 1e-6
        np.testing.assert_array_equal(measures.norms, np.broadcast_to(measures.norms[-1], (64, 4)))
        np.testing.assert_allclose(measures.log_singular_values, 0, atol=1e-5)
    assert result.bounds is None


@pytest.mark.usefixtures("without_singular_values")
def test_vanilla_vanishes_within_its_bound():
    before = on_digits("vanilla", TINY._replace(hidden=16, steps=1)).before
    assert before.verdict.label == "vanishes"
    assert before.verdict.log10_ratio < -8
    assert before.lyapunov < -0.3


def test_contenders_are_the_six_cells():
    assert list(CONTENDERS) == ["vanilla", "irnn", "identity_rnn", "lstm_1997", "lstm", "gru"]


PARITY = {"max_length": 6, "test_length": 10, "batch_size": 40, "test_size": 20}


@pytest.mark.usefixtures("eager", "without_singular_values")
def test_the_verdict_is_of_one_error_where_every_step_has_a_cost():
    """An identity net, whose sum of errors grows with the lag; the last step has no target."""
    cell = rnnjax.identity_rnn(2)
    params = cell.init(jax.random.key(0), 1)
    xs = jax.numpy.ones((4, 2, 1))
    net = Recurrence(cell, params, xs, lambda carry, ys: jax.numpy.sum(ys[:3]))
    measures = measure_flow(net, 2)
    assert measures.verdict[:5] == ("constant", np.inf, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(measures.norms, np.full((3, 2), 2**0.5), rtol=1e-6)
    assert measures.sensitivity.shape == (4, 4)
    none = measure_flow(net._replace(cost=lambda carry, ys: 0.0 * jax.numpy.sum(ys)), 2)
    assert none.verdict.label == "no gradient"
    assert none.norms.shape == (4, 2)


@pytest.mark.usefixtures("eager", "without_singular_values")
def test_the_paths_of_a_gated_cell_are_measured_along_its_memory():
    cell = rnnjax.gru(2)
    params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((4, 3, 1))
    net = Recurrence(cell, params, xs, lambda carry, ys: jax.numpy.sum(ys[-1] ** 2))
    measures = measure_flow(net, 2)
    assert list(measures.paths) == ["whole", "leak", "r", "z", "n"]
    np.testing.assert_allclose(measures.paths["whole"], measures.norms, rtol=1e-12)
    assert all(norms.shape == (4, 2) and norms[0].all() for norms in measures.paths.values())


@pytest.fixture(scope="module")
def on_parity():
    task = comparison_task("parity", "gru", 4, PARITY)
    seen = []
    settings = TINY._replace(steps=40, seeds=2, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "log_singular_values", lambda jacobians: NO_SINGULAR_VALUES)
        result = train_and_measure("gru", task, settings, seen.append)
    plain = Settings(steps=40, optimizer="adam", seed=3, seeds=2, evaluate_every=10, log_every=10)
    return task, result, seen, fit(task, plain, quiet=True)


def test_a_comparison_trains_as_fit_does(on_parity):
    task, result, seen, expected = on_parity
    np.testing.assert_array_equal(result.scores, expected.metrics["accuracy_10"])
    costs = np.stack([entry["cost"] for entry in expected.history], axis=1)
    np.testing.assert_array_equal(result.cost, costs)
    assert result.curve_steps.tolist() == [10, 20, 30, 40]
    assert result.curve.shape == (2, 4)
    assert result.metric == task.metric
    assert result.cost_every == 10
    assert seen == [10, 10, 10, 10]


def test_flow_is_measured_on_the_longest_of_the_batch_after_the_last(on_parity):
    task, result, _, expected = on_parity
    batch = task.batches(3)[40]
    net = task.recurrence(jax.tree.map(lambda x: x[0], expected.state.params), batch)
    lengths = np.asarray(batch.lengths)

    def last_alone(carry, ys):  # parity has a target at every step
        earlier = (np.arange(len(ys))[:, None] < lengths[None] - 1)[..., None]
        return net.cost(carry, jax.numpy.where(earlier, jax.lax.stop_gradient(ys), ys))

    recording = flow.record(net.cell, net.params, net.xs, last_alone, lengths=net.lengths)
    norms = np.asarray(flow.gradient_norms(recording, "h"))
    longest = np.flatnonzero(np.asarray(batch.lengths) == 6)[:4]
    assert len(longest) > 1
    np.testing.assert_allclose(result.after.norms, norms[:, longest], rtol=1e-5)
    assert result.after.sensitivity.shape == (6, 6)


@pytest.mark.usefixtures("without_singular_values")
def test_the_irnn_has_a_tenth_of_the_rate_and_the_vanilla_cell_a_bound():
    task = comparison_task("parity", "irnn", 4, PARITY)
    settings = TINY._replace(steps=10)
    result = train_and_measure("irnn", task, settings)
    rate = task.recipe.learning_rate / 10
    expected = fit(
        task, Settings(steps=10, learning_rate=rate, optimizer="adam", log_every=10), quiet=True
    )
    np.testing.assert_array_equal(result.cost[0], [expected.history[0]["cost"]])
    assert result.bounds is not None
    np.testing.assert_allclose(result.bounds[0], 1, rtol=1e-6)  # the identity, and a ReLU


def test_a_comparison_task_has_one_unidirectional_layer(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = [f"a {word} film,{label}" for word, label in (("good", "pos"), ("bad", "neg"))] * 20
    path.write_text("text,label\n" + "\n".join(rows) + "\n", "utf-8")
    options = {"data": path, "layers": 3, "bidirectional": True, "hidden": 9}
    task = comparison_task("sentiment", "gru", 4, options)
    net = task.recurrence(task.init(jax.random.key(0)), task.batches(0)[0])
    assert net.params.w_h.shape == (4, 12)
    with pytest.raises(ValueError, match="did you mean 'parity'"):
        comparison_task("parit", "gru", 4, {})
    for wrong in (
        lambda: peak_learning_rate("lstn", task.recipe),
        lambda: train_and_measure("lstn", task, TINY),
    ):
        with pytest.raises(
            ValueError, match=r"cell must be one of 'vanilla'.* did you mean 'lstm'"
        ):
            wrong()


def test_a_task_that_does_not_expose_its_cell_cannot_be_compared():
    options = {"pictures": 4, "test_pictures": 2, "side": 8}
    with pytest.raises(NoRecurrenceError, match="'caption' does not expose its recurrent cell"):
        comparison_task("caption", "gru", 4, options)


def test_cached_batches_are_drawn_once_within_a_budget(monkeypatch):
    monkeypatch.setattr(batching, "_CACHE_BYTES", 3 * 8)
    drawn = []

    class Batches:
        def __init__(self, seed):
            self.seed = seed

        def __getitem__(self, step):
            drawn.append((self.seed, step))
            return np.array(10.0 * self.seed + step)

    cached = cached_batches(Batches)
    for _ in range(2):  # as two cells take them
        assert [float(cached(seed)[step]) for seed in (0, 1) for step in (0, 1)] == [0, 1, 10, 11]
    assert drawn == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 1)]  # the fourth did not fit
