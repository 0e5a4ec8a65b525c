"""Forecasting: the nets against loops written out, the parts kept apart, the baselines."""

import gzip
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learning import trained

from rnnjax.experiments.data import mackey_glass
from rnnjax.experiments.data.series import split_series
from rnnjax.experiments.tasks.forecasting import series

SMALL = {"horizon": 4, "window": 9, "hidden": 5, "batch_size": 3}


def shaken(params):
    """Params far from their start, at which the head is zero."""
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [x + 0.3 * random.normal(size=x.shape) for x in leaves])


def made(tmp_path, values, **options):
    path = tmp_path / "t.csv"
    path.write_text("t,x\n" + "".join(f"{t},{x!r}\n" for t, x in enumerate(values.tolist())))
    return series(csv=path, **{**SMALL, **options})


def walk(count=300, seed=0):
    return 50 + np.cumsum(np.random.default_rng(seed).normal(size=count))


@cache
def step_of(cell):
    return jax.jit(cell.step)


def by_hand(task, params, values):
    """The outputs of the head after each value, step by step."""
    recurrence = task.recurrence(params, task.batches(0)[0])
    carry, outputs = recurrence.cell.initial_carry(recurrence.params, (1,)), []
    head = params.head["params"]
    for value in values:
        carry, y = step_of(recurrence.cell)(recurrence.params, carry, jnp.full((1, 1), value))
        outputs.append(np.asarray(y @ head["kernel"])[0] + np.asarray(head["bias"]))
    return carry, outputs


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("season", [None, 3])
def test_direct_forecast_is_the_naive_one_and_the_nets_change(tmp_path, season):
    values = walk()
    task = made(tmp_path, values, season=season)
    params = shaken(task.init(jax.random.key(0)))
    mean, scale = values[:210].mean(), values[:210].std()
    known = (values[-9:] - mean) / scale
    change = by_hand(task, params, known)[1][-1]
    base = [known[-1]] * 4 if season is None else [known[-3], known[-2], known[-1], known[-3]]
    found = task.infer["forecast"](params)
    np.testing.assert_allclose(found, (base + change) * scale + mean, rtol=1e-9)


def test_beyond_the_horizon_forecasts_are_read_as_values(tmp_path):
    values = walk()
    task = made(tmp_path, values)
    params = shaken(task.init(jax.random.key(0)))
    forecast = partial(task.infer["forecast"], params)
    far = forecast(steps=10)
    assert far.shape == (10,)
    np.testing.assert_allclose(far[:4], forecast())
    more = np.concatenate([values, far[:8]])
    np.testing.assert_allclose(far[8:], forecast(steps=2, history=more), rtol=1e-9)
    np.testing.assert_allclose(far[:3], forecast(steps=3, history=values[-9:]), rtol=1e-9)


@pytest.mark.usefixtures("eager")
def test_closed_loop_is_a_loop(tmp_path):
    values = walk()
    task = made(tmp_path, values, mode="closed_loop", cell="gru")
    params = shaken(task.init(jax.random.key(0)))
    mean, scale = values[:210].mean(), values[:210].std()
    known = list((values[-9:] - mean) / scale)
    for _ in range(4):  # from the start each time, with all that has been forecast
        known.append(known[-1] + by_hand(task, params, known)[1][-1][0])
    found = task.infer["forecast"](params)
    np.testing.assert_allclose(found, np.array(known[9:]) * scale + mean, rtol=1e-9)


@pytest.mark.usefixtures("eager")
def test_cost_of_direct_forecasts_from_the_second_half(tmp_path):
    task = made(tmp_path, walk())
    params = shaken(task.init(jax.random.key(0)))
    batch = task.batches(0)[2]
    costs = []
    for values in np.asarray(batch.values).T:
        outputs = by_hand(task, params, values[:9])[1]
        for t in range(4, 9):
            costs.append(np.mean((values[t] + outputs[t] - values[t + 1 : t + 5]) ** 2))
    cost, (carry, _) = task.loss(params, None, batch, None)
    assert carry is None
    assert float(cost) == pytest.approx(np.mean(costs), rel=1e-9)
    recurrence = task.recurrence(params, batch)
    _, ys = recurrence_outputs(recurrence)
    assert float(recurrence.cost(None, ys)) == pytest.approx(3 * float(cost), rel=1e-9)


def test_cost_in_closed_loop(tmp_path):
    task = made(tmp_path, walk(), mode="closed_loop")
    params = shaken(task.init(jax.random.key(0)))
    batch = task.batches(0)[2]
    next_costs, free_costs = [], []
    for values in np.asarray(batch.values).T:
        outputs = by_hand(task, params, values[:8])[1]
        next_costs += [(values[t] + outputs[t][0] - values[t + 1]) ** 2 for t in range(4, 8)]
        known = list(values[:9])
        for _ in range(4):
            known.append(known[-1] + by_hand(task, params, known)[1][-1][0])
        free_costs += list((np.array(known[9:]) - values[9:]) ** 2)
    cost = task.loss(params, None, batch, None)[0]
    assert float(cost) == pytest.approx(np.mean(next_costs) + np.mean(free_costs), rel=1e-9)
    recurrence = task.recurrence(params, batch)
    _, ys = recurrence_outputs(recurrence)
    assert float(recurrence.cost(None, ys)) == pytest.approx(3 * np.mean(next_costs), rel=1e-9)


def recurrence_outputs(recurrence):
    cell, params = recurrence.cell, recurrence.params
    carry = cell.initial_carry(params, recurrence.xs.shape[1:2])
    return jax.lax.scan(partial(cell.step, params), carry, recurrence.xs)


@pytest.mark.parametrize(
    ("options", "baseline"),
    [
        ({}, "last value"),
        ({"season": 6}, "last season"),
        ({"mode": "closed_loop", "season": 6}, "last value"),
    ],
)
def test_training_starts_from_the_naive_forecast(tmp_path, options, baseline):
    task = made(tmp_path, walk(), **options)
    scores = task.evaluate(task.init(jax.random.key(0)))
    assert scores["mae"] == pytest.approx(task.baselines[baseline], rel=1e-9)
    assert set(task.baselines) == {"last value", "linear"} | (
        {"last season"} if "season" in options else set()
    )


def test_scores_of_the_naive_forecast_by_hand(tmp_path):
    values = walk()
    task = made(tmp_path, values)
    scores = task.evaluate(task.init(jax.random.key(0)))
    off = [values[t : t + 4] - values[t - 1] for t in range(240, 297)]
    assert scores["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-9)
    assert scores["rmse"] == pytest.approx(np.sqrt(np.square(off).mean()), rel=1e-9)
    step = np.abs(np.diff(values[:210])).mean()
    assert scores["mase"] == pytest.approx(np.abs(off).mean() / step, rel=1e-9)
    off = [values[t : t + 4] - values[t - 1] for t in range(210, 237)]
    assert scores["valid_mae"] == pytest.approx(np.abs(off).mean(), rel=1e-9)
    assert task.select == ("valid_mae", "min", "")


def test_linear_baseline_is_exact_on_a_sine(tmp_path):
    t = np.arange(600)
    values = 20 + 3 * np.sin(t / 5) + np.cos(t / 3)
    task = made(tmp_path, values)
    assert task.baselines["linear"] < 1e-3 * task.baselines["last value"]


def test_training_sees_nothing_of_validation_and_test(tmp_path):
    values = walk()
    future = np.where(np.arange(300) < 210, values, 1e3)
    one = made(tmp_path, values).batches(1)
    seen = [np.asarray(one[step].values) for step in range(70)]
    other = made(tmp_path, future).batches(1)
    for step in (0, 33, 69):
        np.testing.assert_array_equal(seen[step], other[step].values)
    known = (values - values[:210].mean()) / values[:210].std()
    stretches = {tuple(known[t : t + 13].round(9)) for t in range(198)}
    drawn = [tuple(x) for batch in seen[:66] for x in batch.T.round(9)]
    assert set(drawn) == stretches  # each window once in the first epoch of 198
    assert len(drawn) == 198


def test_batches_belong_to_their_seed_and_step(tmp_path):
    task = made(tmp_path, walk())
    late = task.batches(5)[1000].values
    np.testing.assert_array_equal(late, task.batches(5)[1000].values)
    assert not np.array_equal(late, task.batches(6)[1000].values)


def test_dropout_is_for_training_with_a_key(tmp_path):
    task = made(tmp_path, walk(), dropout=0.5)
    params, batch = shaken(task.init(jax.random.key(0))), task.batches(0)[0]
    costs = [float(task.loss(params, None, batch, key)[0]) for key in (None, None)]
    drops = [float(task.loss(params, None, batch, jax.random.key(k))[0]) for k in (0, 1)]
    assert costs[0] == costs[1]
    assert len({*costs, *drops}) == 3


def test_it_learns_the_generated_series():
    task = series(horizon=6, window=24, hidden=12, batch_size=16)
    params = trained(task, 120, 1e-2)
    mae = task.evaluate(params)["mae"]
    assert mae < 0.5 * task.baselines["last value"]
    ahead = task.infer["forecast"](params, steps=6)
    np.testing.assert_allclose(ahead, mackey_glass(6006)[-6:], atol=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "closedloop"}, "did you mean 'closed_loop'"),
        ({"season": 10}, "season must be at most window, got 10 and 9"),
        ({"window": 1}, "window must be at least 2"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"dropout": 1.0}, "dropout"),
        ({"cell": "lstn"}, "did you mean 'lstm'"),
        ({"window": 300}, "column 'x', is too short: of its 300 values 210 are the training part"),
        ({"column": "y"}, "line 1: no column 'y' in 't', 'x'"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, walk(), **options)


@pytest.mark.parametrize(
    "history",
    [np.ones(8), np.ones((9, 1)), np.full(9, np.nan), ["a"] * 9, [None] * 9, [[1, 2], [3]], [{}]],
)
def test_wrong_history(tmp_path, history):
    task = made(tmp_path, walk())
    with pytest.raises(ValueError, match="at least window = 9 finite values"):
        task.infer["forecast"](task.init(jax.random.key(0)), history=history)


def test_a_history_or_forecast_that_overflows(tmp_path):
    task = made(tmp_path, walk() * 1e-10)
    params = task.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"a value of 1e\+302, too far for float64"):
        task.infer["forecast"](params, history=[*range(8), 1e302])
    lost = jax.tree.map(lambda x: x * np.nan, params)
    with pytest.raises(FloatingPointError, match="the forecast has NaN or Inf"):
        task.infer["forecast"](lost)


@pytest.mark.parametrize("unit", [1e-200, 1e-9, 1, 1e12, 1e149])
def test_the_unit_of_a_series_makes_no_difference(tmp_path, unit):
    values = walk()
    data = split_series(
        "x", values * unit, window=9, horizon=4, season=None, valid_fraction=0.1, test_fraction=0.2
    )
    assert data.mean / unit == pytest.approx(values[:210].mean(), rel=1e-12)
    assert data.scale / unit == pytest.approx(values[:210].std(), rel=1e-12)


def test_notes_and_facts_say_what_was_chosen(tmp_path):
    values = 1e12 + walk()
    task = made(tmp_path, values)
    column, split = task.notes
    assert column.startswith(f"column 'x' of {tmp_path / 't.csv'}, the last with a number")
    low, high = (f"{end:.4f}".rstrip("0") for end in (values.min(), values.max()))
    assert split == (
        f"{tmp_path / 't.csv'}, column 'x': 300 values from {low} to {high}; 210 for training, 30 "
        "for validation, 60 for testing"
    )
    assert task.data["smallest"] == values.min()
    assert task.data["largest"] == values.max()
    (generated,) = series(**SMALL).notes
    assert re.match("the series: 6,000 values from 0.41826 to 1.3184; 4,200 for", generated)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("column", "x"),
        ("header", False),
        ("decimal", ","),
        ("thousands", "."),
        ("percent", True),
        ("missing", "previous"),
        ("encoding", "latin-1"),
        ("compression", "gzip"),
    ],
)
def test_options_of_a_file_without_a_file(name, value):
    with pytest.raises(
        ValueError, match=re.escape(f"{name}={value!r} has no effect without csv: leave")
    ):
        series(**{name: value})


def test_options_of_a_file_reach_it(tmp_path):
    path = tmp_path / "t.dat"
    rows = "".join(f"{value:.3f} %;x\n".replace(".", ",") for value in walk())
    path.write_bytes(gzip.compress(rows.encode("latin-1")))
    options = {"header": False, "decimal": ",", "percent": True, "compression": "gzip"}
    task = series(csv=path, column="0", encoding="latin-1", **options, **SMALL)
    assert task.data["last"] == pytest.approx(walk()[-9:], abs=1e-3)
