import numpy as np
import pytest

from rnnjax.tasks import digits
from rnnjax.training import CONTENDERS, ComparisonSettings, train_and_measure

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
    assert gru.accuracy[0] == gru.curve[0, -1]


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
