"""A series cut in time, measured in pieces, and its windows."""

import numpy as np
import pytest

from rnnjax.experiments.data.series import _windows, extract_windows, forecast_origins, split_series

OPTIONS = {
    "window": 5,
    "horizon": 3,
    "season": None,
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
}


@pytest.mark.parametrize("season", [None, 4])
def test_measures_of_the_training_part_alone(monkeypatch, season):
    monkeypatch.setattr(_windows, "_CHUNK", 7)
    values = np.random.default_rng(0).normal(3, 2, 100)
    data = split_series("x", values, **{**OPTIONS, "season": season})
    train = values[:70]
    assert (data.valid, data.test) == (70, 80)
    assert data.mean == pytest.approx(train.mean(), rel=1e-12)
    assert data.scale == pytest.approx(train.std(), rel=1e-12)
    lag = season or 1
    assert data.naive == pytest.approx(np.abs(train[lag:] - train[:-lag]).mean(), rel=1e-12)
    assert (
        split_series("x", np.where(np.arange(100) < 70, values, 9.0), **OPTIONS)[3:5] == data[3:5]
    )
    np.testing.assert_allclose(data.restore(data.standardise(values)), values, rtol=1e-12)


def test_windows_stand_around_their_origin():
    data = split_series("x", np.arange(100.0) ** 2, **OPTIONS)
    found = data.restore(extract_windows(data, np.array([5, 97]), 5, 3))
    np.testing.assert_allclose(found[:, 0], np.arange(8.0) ** 2, atol=1e-9)
    np.testing.assert_allclose(found[:, 1], np.arange(92.0, 100) ** 2)


def test_origins_keep_targets_within_the_part():
    assert forecast_origins(10, 15, 3).tolist() == [10, 11, 12]
    many = forecast_origins(1000, 101_002, 3)
    assert (len(many), many[0], many[-1]) == (1024, 1000, 100_999)
    assert len(set(np.diff(many))) <= 2


@pytest.mark.parametrize(
    ("total", "changed", "message"),
    [
        (10, {}, "too short: of its 10 values 7 are the training part, which needs 8"),
        (12, {}, "12 values 1 are the validation part, which needs 3"),
        (100, {"horizon": 11}, "10 are the validation part, which needs 11"),
        (100, {"test_fraction": 0.0}, "must be above 0"),
        (100, {"valid_fraction": 0.5, "test_fraction": 0.5}, "together below 1"),
    ],
)
def test_too_short(total, changed, message):
    with pytest.raises(ValueError, match=message):
        split_series("x", np.arange(float(total)), **{**OPTIONS, **changed})


def test_nothing_to_learn():
    with pytest.raises(ValueError, match="repeats itself exactly"):
        split_series("x", np.ones(100), **OPTIONS)
    with pytest.raises(ValueError, match="repeats itself exactly"):
        split_series("x", np.arange(100) % 4.0, **{**OPTIONS, "season": 4})
