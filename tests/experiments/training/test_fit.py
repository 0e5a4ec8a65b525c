"""What `fit` computes, logs and reports."""

import math
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import RECIPE, B, N, TinyBatch, batch_of, shuffled, tiny_task

from rnnjax.experiments.training import Interrupted, Settings, fit, read_metrics
from rnnjax.experiments.training._dispatch import make_dispatch
from rnnjax.experiments.training._log import logged_mean, logged_values
from rnnjax.experiments.training._settings import resolve
from rnnjax.experiments.training._setup import initial_state

SCHEDULE = optax.warmup_cosine_decay_schedule(0.02 / 5, 0.02, 4, 40)  # of RECIPE


def trained(task, folder=None, callbacks=(), **settings):
    return fit(task, Settings(**settings), folder, callbacks, quiet=True)


@pytest.fixture(scope="module")
def plain():
    return trained(tiny_task(), log_every=5)


def close(one, other, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), one, other)


class Spy(NamedTuple):
    every: int
    seen: list

    def __call__(self, step, state, batch, task):
        self.seen.append((step, jax.tree.map(jnp.copy, state), batch, task.name))
        return {"first": float(state.params.out[0])}


def test_fit_is_a_plain_optax_loop(plain):
    task = tiny_task()
    batches = task.batches(0)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(SCHEDULE, weight_decay=0))
    params = initial_state(task, resolve(Settings(), RECIPE)).params
    state = optimizer.init(params)
    costs, norms = [], []
    differentiated = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    update = jax.jit(optimizer.update)
    for n in range(40):
        (cost, _), grads = differentiated(params, None, batches[n], None)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        costs.append(float(cost))
        norms.append(float(optax.tree.norm(grads)))
    close(plain.params, params, rtol=1e-4)
    costs, norms = (np.array(values).reshape(-1, 5) for values in (costs, norms))
    for entry, cost, norm, last in zip(plain.history, costs, norms, range(5, 41, 5), strict=True):
        assert entry["step"] == last
        np.testing.assert_allclose(entry["cost"], cost.mean(), rtol=1e-4)
        np.testing.assert_allclose(entry["gradient_norm"], norm.mean(), rtol=1e-4)
        np.testing.assert_allclose(entry["clip_rate"], (norm > 0.5).mean())
        np.testing.assert_allclose(entry["learning_rate"], SCHEDULE(last - 1), rtol=1e-5)
    assert 0 < np.mean([entry["clip_rate"] for entry in plain.history]) <= 1


def test_it_evaluates_at_its_interval_and_at_the_end(plain):
    assert [e["step"] for e in plain.history if "evaluation" in e] == [20, 40]
    uneven = trained(tiny_task(), steps=9, evaluate_every=4)
    assert [e["step"] for e in uneven.history] == [4, 8, 9]
    assert all("evaluation" in e for e in uneven.history)
    assert uneven.metrics == uneven.history[-1]["evaluation"]
    np.testing.assert_allclose(
        plain.metrics["mse"], tiny_task().evaluate(plain.params)["mse"], rtol=1e-6
    )
    assert plain.metrics["mse"] < plain.history[3]["evaluation"]["mse"]
    assert plain.best == {"step": 40, "value": plain.metrics["mse"]}


def test_best_follows_the_goal_of_the_metric():
    task = tiny_task()
    values = iter([3.0, 1.0, math.nan, 2.0])
    scripted = task._replace(evaluate=lambda params: {"mse": next(values)})
    result = trained(scripted, steps=4, evaluate_every=1)
    assert result.best == {"step": 2, "value": 1.0}
    assert result.history[2]["evaluation"] == {"mse": None}
    values = iter([3.0, 1.0, math.inf, 2.0])
    scripted = scripted._replace(metric=task.metric._replace(goal="max"))
    assert trained(scripted, steps=4, evaluate_every=1).best == {"step": 3, "value": math.inf}


@pytest.mark.usefixtures("eager")
def test_numbers_in_names_are_in_order(tmp_path):
    names = ["mse", "mse_100", "mse_20"]
    task = tiny_task()._replace(evaluate=lambda params: dict.fromkeys(names, 1.0))

    class Lags:
        every = 1

        def __call__(self, *_):
            return {f"lag_{lag}": lag for lag in (0, 16, 2)}

    result = trained(task, tmp_path, [Lags()], steps=1)
    assert [*result.metrics] == ["mse", "mse_20", "mse_100"]
    (line,) = read_metrics(tmp_path)
    assert [*line["evaluation"]] == ["mse", "mse_20", "mse_100"]
    assert [*line["callbacks"]] == ["lag_0", "lag_2", "lag_16"]


@pytest.mark.usefixtures("eager")
def test_nonfinite_metrics_are_logged_and_shown(tmp_path, capsys):
    values = iter([math.nan, math.inf, -math.inf, math.inf])
    task = tiny_task()._replace(evaluate=lambda params: {"mse": next(values)})
    fit(task, Settings(steps=1), tmp_path / "one", tensorboard=True)
    fit(task, Settings(steps=1, seeds=2), tmp_path / "two", tensorboard=True)
    shown = [line.rsplit(maxsplit=1)[1] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["nan", "nan"]
    assert next(values) == math.inf


def test_logged_values_are_read_as_floats():
    np.testing.assert_array_equal(
        logged_values([None, "inf", "-inf", 2.5]), [np.nan, np.inf, -np.inf, 2.5]
    )
    np.testing.assert_array_equal(logged_values("-inf"), [-np.inf])
    assert logged_mean([1.0, 2.0]) == 1.5
    assert logged_mean([1.0, "inf"]) == math.inf
    assert math.isnan(logged_mean(["-inf", "inf"]))
    assert math.isnan(logged_mean(None))


def test_the_number_of_steps_per_dispatch_changes_nothing(plain):
    for dispatch in (1, 3, 5):
        other = trained(tiny_task(), log_every=5, dispatch=dispatch)
        close(other.params, plain.params)
        for entry, expected in zip(other.history, plain.history, strict=True):
            np.testing.assert_allclose(entry["cost"], expected["cost"], rtol=1e-5)


def test_runs_that_pause_at_other_steps_share_their_programs():
    task, settings = tiny_task(), resolve(Settings(), RECIPE)
    often = {"log_every": 7, "evaluate_every": 3, "checkpoint_every": 2, "dispatch": 5}
    given = initial_state(task, settings), task.batches(0)[0]
    one, other = (
        make_dispatch(task, each, *given) for each in (settings, settings._replace(seed=1, **often))
    )
    assert one.run is other.run
    assert one.rates is other.rates
    assert (one.group, other.group) == (10, 5)


def ragged(seed):
    class Lengths(NamedTuple):
        def __getitem__(self, step):
            batch = batch_of(np.arange(4) + step)
            return batch._replace(xs=batch.xs[: 3 + step % 2])

    return Lengths()


@pytest.mark.usefixtures("eager")
def test_batches_of_several_shapes_train():
    result = trained(tiny_task(batches=ragged), steps=6, log_every=6, dispatch=3)
    single = trained(tiny_task(batches=ragged), steps=6, log_every=6, dispatch=1)
    jax.tree.map(np.testing.assert_array_equal, result.params, single.params)
    for options in ({"accumulate": 2}, {"seeds": 2}):
        shifted = tiny_task(batches=lambda seed: [ragged(0)[n + seed] for n in range(9)])
        with pytest.raises(ValueError, match=r"need batches of one shape.*set both to 1"):
            trained(shifted, steps=2, **options)


def test_seeds_at_once_are_the_single_runs():
    both = trained(tiny_task(dropout=0.1), steps=20, seeds=2, seed=3, average=0.9)
    for n in range(2):
        single = trained(tiny_task(dropout=0.1), steps=20, seed=3 + n, average=0.9)
        close(jax.tree.map(lambda x, n=n: x[n], both.params), single.params)
        np.testing.assert_allclose(both.metrics["mse"][n], single.metrics["mse"], rtol=1e-5)
        np.testing.assert_allclose(both.history[-1]["cost"][n], single.history[-1]["cost"], 1e-5)
    assert both.metrics["mse"][0] != both.metrics["mse"][1]


def in_halves(seed):
    def half(batch, n):
        part = slice(n * B // 2, (n + 1) * B // 2)
        return TinyBatch(batch.xs[:, part], batch.targets[part])

    return [half(shuffled(seed)[n // 2], n % 2) for n in range(20)]


def test_accumulated_batches_are_consecutive():
    whole = trained(tiny_task(), steps=10)
    split = trained(tiny_task(batches=in_halves), steps=10, accumulate=2)
    close(split.params, whole.params, rtol=1e-4)


def test_the_average_is_what_is_evaluated_and_returned():
    result = trained(tiny_task(), average=0.9)
    jax.tree.map(np.testing.assert_array_equal, result.params, result.state.average)
    assert not np.array_equal(result.params.out, result.state.params.out)
    expected = tiny_task().evaluate(result.state.average)["mse"]
    np.testing.assert_allclose(result.metrics["mse"], expected, rtol=1e-6)


@pytest.mark.usefixtures("eager")
def test_the_carry_goes_from_batch_to_batch():
    task = tiny_task(stateful=True)
    result = trained(task, steps=3, learning_rate=1e-30)
    carry = task.initial_carry()
    for n in range(3):
        cost, (carry, _) = task.loss(result.params, carry, task.batches(0)[n], None)
    close(result.state.carry, carry)
    last = trained(task, steps=3, learning_rate=1e-30, log_every=1).history[-1]
    np.testing.assert_allclose(last["cost"], cost, rtol=1e-5)
    fresh = task.loss(result.params, task.initial_carry(), task.batches(0)[2], None)[0]
    assert not np.allclose(fresh, cost, rtol=1e-3)


def test_dropout_is_drawn_from_the_seed_alone():
    one, same, other = (trained(tiny_task(dropout=0.5), steps=5, seed=seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one.params, same.params)
    assert not np.allclose(one.params.out, other.params.out)
    assert not np.allclose(one.params.out, trained(tiny_task(), steps=5).params.out)


@pytest.mark.usefixtures("eager")
def test_callbacks_see_the_step_its_state_and_its_batch(plain):
    every_two, every_three = Spy(2, []), Spy(3, [])
    result = trained(tiny_task(), callbacks=[every_two, every_three], steps=6, dispatch=2)
    assert [step for step, *_ in every_two.seen] == [2, 4, 6]
    assert [step for step, *_ in every_three.seen] == [3, 6]
    assert [entry["step"] for entry in result.history] == [2, 3, 4, 6]
    assert ["callbacks" in entry for entry in result.history] == [True] * 4
    _, state, batch, name = every_two.seen[1]
    assert (int(state.step), name) == (4, "tiny")
    jax.tree.map(np.testing.assert_array_equal, batch, tiny_task().batches(0)[3])
    assert result.history[2]["callbacks"] == {"first": float(state.params.out[0])}


@pytest.mark.usefixtures("eager")
def test_callbacks_see_the_first_seed_and_the_first_accumulated_batch():
    spy = Spy(2, [])
    trained(tiny_task(), callbacks=[spy], steps=2, seeds=2, accumulate=3, seed=5)
    _, state, batch, _ = spy.seen[0]
    assert state.params.out.ndim == 1
    jax.tree.map(np.testing.assert_array_equal, batch, tiny_task().batches(5)[3])


def poisoned(at, where="targets"):
    """Batches with NaN targets at one step."""

    def batches(seed):
        good = shuffled(seed)

        class Poisoned(NamedTuple):
            def __getitem__(self, step):
                batch = good[step]
                return batch._replace(targets=batch.targets * np.nan) if step == at else batch

        return Poisoned()

    return batches


def test_nan_stops_at_its_step_and_names_the_leaf():
    with pytest.raises(
        FloatingPointError,
        match=r"step 18: the gradient of params\.cell\.w_x holds NaN.*cost nan.*no checkpoint",
    ):
        trained(tiny_task(batches=poisoned(17)))
    with pytest.raises(FloatingPointError, match="step 4 of seed 0: "):
        trained(tiny_task(batches=poisoned(3)), seeds=2)


def test_nonfinite_updates_are_skipped_and_counted_on_request():
    result = trained(tiny_task(batches=poisoned(17)), skip_nonfinite=True, log_every=5)
    assert [entry["skipped"] for entry in result.history] == [0] * 3 + [1] * 5
    assert all(np.isfinite(entry["cost"]) for entry in result.history)
    assert int(result.state.skipped) == 1
    assert int(result.state.step) == 40
    rates = [entry["learning_rate"] for entry in result.history]
    expected = [SCHEDULE(n) for n in (4, 9, 14, 18, 23, 28, 33, 38)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    both = trained(tiny_task(batches=poisoned(1)), skip_nonfinite=True, seeds=2, steps=3)
    assert len(both.history[-1]["learning_rate"]) == 2


def test_params_that_overflow_are_not_saved(tmp_path):
    task = tiny_task()._replace(loss=lambda params, carry, batch, key: (params.out[0], (None, {})))
    settings = Settings(steps=1, learning_rate=1e38, optimizer="sgd", clip_norm=math.inf)
    out = jnp.full(4, -3.4e38, jnp.float32)
    huge = task._replace(init=lambda key: tiny_task().init(key)._replace(out=out))
    with pytest.raises(FloatingPointError, match="step 1: the params hold NaN or Inf"):
        fit(huge, settings, tmp_path, quiet=True)


def test_an_error_in_a_batch_reaches_the_caller():
    def failing(seed):
        good = shuffled(seed)

        class Failing(NamedTuple):
            def __getitem__(self, step):
                if step == 13:
                    raise OSError("line 13 is not a picture")
                return good[step]

        return Failing()

    with pytest.raises(OSError, match="line 13"):
        trained(tiny_task(batches=failing))


class PressCtrlC(NamedTuple):
    every: int = 7

    def __call__(self, step, state, batch, task):
        signal.raise_signal(signal.SIGINT)
        return {}


def test_ctrl_c_ends_between_two_steps_with_a_checkpoint(tmp_path):
    task = tiny_task(dropout=0.1)
    handler = signal.getsignal(signal.SIGINT)
    settings = Settings(log_every=5)
    with pytest.raises(Interrupted, match=f"after step 7 of 40.*{tmp_path}/checkpoints/7") as info:
        fit(task, settings, tmp_path, [PressCtrlC()], quiet=True)
    assert signal.getsignal(signal.SIGINT) is handler
    assert isinstance(info.value, KeyboardInterrupt)
    assert int(info.value.result.state.step) == 7
    assert info.value.result.folder == tmp_path
    assert not (tmp_path / "results.json").exists()
    rest = fit(task, settings, tmp_path, resume=True, quiet=True)
    whole = fit(task, settings, quiet=True)
    close(rest.params, whole.params)
    assert [entry["step"] for entry in rest.history] == [5, 7, *range(10, 41, 5)]


@pytest.mark.usefixtures("eager")
def test_one_line_per_evaluation_unless_quiet(capsys):
    fit(tiny_task(), Settings(steps=4, evaluate_every=2, log_every=1))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["tiny", "2/4"], ["tiny", "4/4"]]
    assert "mse" in lines[0]
    fit(tiny_task(), Settings(steps=4), quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_progress_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    fit(tiny_task(), Settings(steps=4, evaluate_every=2))
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "steps/s" in shown
    assert "mse" in shown


def test_the_size_of_the_tiny_task():
    assert batch_of(np.arange(N)).xs.shape[1] == N
    assert tiny_task().batches(0)[0].targets.shape == (B,)
