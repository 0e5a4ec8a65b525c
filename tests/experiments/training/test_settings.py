import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import RECIPE

from rnnjax.experiments.training import OPTIMIZERS, Settings, resolve
from rnnjax.experiments.training._setup import learning_rates, make_optimizer


def of(**changes):
    return resolve(Settings(**changes), RECIPE)


def test_the_recipe_fills_in_unset_fields():
    full = of(steps=7, clip_norm=2.0)
    assert full.steps == 7
    assert full.clip_norm == 2.0
    for name in ("learning_rate", "schedule", "warmup", "optimizer", "evaluate_every"):
        assert getattr(full, name) == getattr(RECIPE, name)
    assert of().clip_norm == RECIPE.clip_norm
    assert of(clip_norm=math.inf).clip_norm == math.inf
    assert resolve(Settings(), RECIPE._replace(clip_norm=None)).clip_norm == math.inf


def test_every_field_of_a_recipe_can_be_set():
    assert set(RECIPE._fields) <= set(Settings._fields)


def test_no_resolved_field_is_none_and_automatic_ones_are_not_recorded():
    full = of()
    assert full._fields == Settings._fields
    assert None not in full
    automatic = {"compute_dtype", "checkpoint_every", "dispatch"}
    assert set(full.recorded()) == set(Settings._fields) - automatic
    chosen = {"compute_dtype": "bfloat16", "checkpoint_every": 3, "dispatch": 2}
    assert {name: of(**chosen).recorded()[name] for name in chosen} == chosen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adamww"}, "did you mean 'adamw'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"compute_dtype": "bfloat"}, "did you mean 'bfloat16'"),
        ({"optimizer": "sgd", "weight_decay": 0.1}, "has no weight decay.*adamw"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"dispatch": 0}, "dispatch must be at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate must be finite, got inf"),
        ({"clip_norm": math.nan}, "clip_norm must be a real number, got nan"),
        ({"average": 1.0}, "average is a probability in"),
        ({"warmup": 1.5}, "warmup is a probability in"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        of(**changes)


def test_float64_needs_64_bits():
    assert of(compute_dtype="float64").compute_dtype == "float64"
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match="JAX_ENABLE_X64=1, or take float32"),
    ):
        of(compute_dtype="float64")


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rate = learning_rates(of(steps=100, learning_rate=0.3, warmup=0.05))
    np.testing.assert_allclose([rate(n) for n in range(6)], 0.3 * np.array([1, 2, 3, 4, 5, 6]) / 6)
    middle = 0.3 * 0.5 * (1 + np.cos(np.pi * 45 / 95))
    np.testing.assert_allclose(rate(50), middle, rtol=1e-6)
    np.testing.assert_allclose(rate(100), 0, atol=1e-9)


def test_the_rate_stays_at_its_peak_if_constant():
    rate = learning_rates(of(steps=20, learning_rate=0.3, warmup=0.1, schedule="constant"))
    np.testing.assert_allclose([rate(n) for n in (0, 1, 2, 19)], [0.1, 0.2, 0.3, 0.3], rtol=1e-6)
    flat = learning_rates(of(steps=20, learning_rate=0.3, warmup=0.0, schedule="constant"))
    assert [float(flat(n)) for n in (0, 19)] == [0.3, 0.3]
    cosine = learning_rates(of(steps=1, learning_rate=0.3))
    np.testing.assert_allclose(cosine(0), 0.3)


def updates_of(settings, grads, params):
    optimizer = make_optimizer(settings)
    return optimizer.update(grads, optimizer.init(params), params)[0]


@pytest.mark.usefixtures("eager")
def test_clipping_is_by_value_first_and_then_by_norm():
    grads = {"a": jnp.array([10.0, -0.5]), "b": jnp.array([2.0])}
    sgd = {"optimizer": "sgd", "schedule": "constant", "warmup": 0.0, "learning_rate": 1.0}
    found = updates_of(of(**sgd, clip_value=1.0, clip_norm=math.inf), grads, grads)
    np.testing.assert_allclose(found["a"], [-1.0, 0.5])
    found = updates_of(of(**sgd, clip_value=1.0, clip_norm=0.3), grads, grads)
    np.testing.assert_allclose(found["a"], -0.3 / 1.5 * np.array([1.0, -0.5]), rtol=1e-6)
    found = updates_of(of(**sgd, clip_norm=100.0), grads, grads)
    np.testing.assert_allclose(found["a"], -grads["a"])


def test_gradients_too_large_for_their_squares_are_clipped_and_not_lost():
    grads = {"a": jnp.array([3e30, 4e30], jnp.float32)}
    sgd = {"optimizer": "sgd", "schedule": "constant", "warmup": 0.0, "learning_rate": 1.0}
    found = updates_of(of(**sgd, clip_norm=1.0), grads, grads)
    np.testing.assert_allclose(found["a"], [-0.6, -0.8], rtol=1e-5)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_that_of_optax(name):
    params, grads = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.1])
    factory = getattr(optax, name)
    decay = "weight_decay" in inspect.signature(factory).parameters
    options = {"weight_decay": 0.25} if decay else {}
    settings = of(
        optimizer=name,
        learning_rate=0.1,
        schedule="constant",
        warmup=0.0,
        clip_norm=math.inf,
        **options,
    )
    expected = factory(0.1, **options)
    wanted = expected.update(grads, expected.init(params), params)[0]
    np.testing.assert_allclose(updates_of(settings, grads, params), wanted, rtol=1e-6)
    assert np.any(np.asarray(wanted) != 0)
