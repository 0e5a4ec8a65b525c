"""Singular values of long products: against big floats, known spectra and determinants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import normal
from turning_products import turning

from rnnjax.flow import log_singular_values


def orthogonal(rng, *shape):
    return np.linalg.qr(rng.standard_normal(shape))[0]


def known_product(rng, logs):
    """Factors U_t diag(e^logs_t) U_{t-1}ᵀ, whose product has singular values e^Σ logs_t."""
    steps, size = logs.shape
    u = orthogonal(rng, steps + 1, size, size)
    return jnp.asarray(u[1:] * np.exp(logs)[:, None, :] @ np.swapaxes(u[:-1], 1, 2))


@pytest.fixture(scope="module")
def of_four():
    """Four systems of four states over 1000 steps in one program: lags, and logs by name."""
    products = {}
    for name, rates in RATES.items():
        rng = np.random.default_rng(0)
        products[name] = known_product(rng, np.tile(rates, (1000, 1)))
    lags, logs = log_singular_values(jnp.stack([*products.values()], axis=1))
    return lags, dict(zip(products, np.moveaxis(np.asarray(logs), 1, 0), strict=True))


RATES = {
    "decay": (-1.5, -2.0, -2.0, -2.001),
    "both": (2.0, 1.0, 0.0, -2.0),
    "growth": (2.0, 2.0, 1.9, -1.0),
    "orthogonal": (0.0, 0.0, 0.0, 0.0),
}


def test_by_default_twelve_lags_from_one_to_all(of_four):
    assert of_four[0].tolist() == [1, 2, 4, 7, 12, 23, 43, 81, 152, 285, 534, 1000]


@pytest.mark.parametrize("name", RATES)
def test_known_spectra_at_lag_1000(of_four, name):
    lags, logs = of_four[0], of_four[1][name]
    want = np.asarray(RATES[name])[None, :] * np.asarray(lags)[:, None]
    np.testing.assert_allclose(logs[0], want[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(logs[:5], want[:5], rtol=0, atol=1e-13)
    atol = 1e-12 if name == "orthogonal" else 2e-10
    np.testing.assert_allclose(logs[-1], want[-1], rtol=0, atol=atol)


LAGS = (1, 2, 7, 60, 299, 300, 600, 1000)


@pytest.fixture(scope="module")
def of_three():
    """Five systems over 1000 steps in one program, those of two states beside a dead one: logs."""
    rng = np.random.default_rng(1)
    turns = np.concatenate([np.tile([0.02, -0.01], (300, 1)), np.tile([-0.03, 0.02], (300, 1))])
    stacked = np.zeros((1000, 2, 2))
    stacked[:, 0, 0], stacked[:, 1, 1], stacked[:, 1, 0] = np.exp(-2.0), np.exp(-0.5), 0.7
    broken = np.array(known_product(rng, np.tile([0.01, -0.02], (1000, 1))))
    broken[-300, 0, 0] = np.nan
    pairs = np.zeros((1000, 3, 3, 3))
    pairs[..., :2, :2] = np.stack(
        [np.concatenate([stacked[:400], known_product(rng, turns)]), stacked, broken], axis=1
    )
    normal = np.random.default_rng(2).standard_normal((1000, 3, 3))
    small, large = 0.2 * normal[:, None], 4 * normal[:, None]
    every = np.concatenate([pairs, small, large], axis=1)
    lags, logs = log_singular_values(jnp.asarray(every), [*LAGS, 7])
    assert lags.tolist() == [*LAGS]
    return dict(
        zip(
            ("turns", "stack", "nan", "small", "large"),
            np.moveaxis(np.asarray(logs), 1, 0),
            strict=True,
        )
    )


def test_directions_that_take_turns(of_three):
    """What grows in the first half shrinks in the second, so that the order changes midway."""
    found = of_three["turns"][5:7]
    assert np.all(found[:, 2] == -np.inf)
    np.testing.assert_allclose(found[:, :2], [[6.0, -9.0], [3.0, -3.0]], rtol=0, atol=1e-9)


# From products in arithmetic of 2500 digits. Factors 0.2 N(0, 1), and twenty times those.
RANDOM = np.array(
    [
        [-0.38254495758933347, -1.4700681917998679, -1.919628745696346],
        [-1.2875922318696283, -2.3437487617593084, -4.1860334238574933],
        [-7.2320162614028769, -12.571967723197884, -14.122736150815956],
        [-73.951230545909736, -86.63912511158409, -116.50365692306757],
        [-1237.6238132041897, -1520.6894124502808, -2261.4882074715287],
    ]
)


def test_random_products_of_many_lags(of_three):
    chosen = [0, 1, 2, 3, 7]
    np.testing.assert_allclose(of_three["small"][chosen], RANDOM, rtol=1e-13, atol=1e-13)
    growth = np.log(20) * np.array(LAGS)[chosen, None]
    np.testing.assert_allclose(of_three["large"][chosen], RANDOM + growth, rtol=2e-13, atol=1e-13)
    assert of_three["large"][-1, 0] > 1000


# From products in arithmetic of 400 digits.
TURNING = {
    "diagonal": (-96.317824346074876, -96.317824346074876, -96.317824346074876),
    "permuted": (-94.120599768738657, -96.317824346074876, -98.515048923411096),
    "block diagonal": (-21.041032804195918, -96.317824346074876, -193.86046279071818),
    "lower triangular": (-8.1575199557106211, -95.210228562312507, -185.5857245202015),
    "upper triangular": (-94.65142029536576, -96.352787830540995, -97.949264912317874),
    "lower, weak": (-31.952865320234947, -96.317824345896729, -160.68278337209295),
    "weak": (-27.347695140285034, -96.317824157172762, -165.28795364915741),
    "strong": (-9.4092398346522881, -33.178369457407106, -105.6418391855192),
}


@pytest.fixture(scope="module")
def of_turning():
    """Singular values over all steps, by name."""
    products = turning()
    found = log_singular_values(jnp.asarray(np.stack([*products.values()], axis=1)), [80]).logs
    return dict(zip(products, found[0], strict=True))


@pytest.mark.parametrize("name", TURNING)
def test_the_dominant_direction_changes_midway(of_turning, name):
    """Whether states mix, weakly or not at all, in one direction or both, in any order."""
    np.testing.assert_allclose(of_turning[name], TURNING[name], rtol=0, atol=2e-13)


def test_small_lags_are_the_svd_of_the_product_for_every_example():
    rng = np.random.default_rng(3)
    J = rng.standard_normal((4, 2, 3, 7, 7))  # an odd size, two batch dimensions
    found = log_singular_values(jnp.asarray(J))
    assert found.lags.tolist() == [1, 2, 3, 4]
    product = np.broadcast_to(np.eye(7), J.shape[1:])
    for lag in range(1, 5):
        product = product @ J[-lag]
        want = np.log(np.linalg.svd(product, compute_uv=False))
        np.testing.assert_allclose(found.logs[lag - 1], want, rtol=0, atol=1e-11)
    J[0, 1, 2, 0, 0] = np.nan  # and one example does not end the rotations of the others
    broken = np.array(log_singular_values(jnp.asarray(J)).logs)
    assert np.isnan(broken[3, 1, 2]).all()
    broken[3, 1, 2] = found.logs[3, 1, 2]
    np.testing.assert_allclose(broken, found.logs, rtol=0, atol=1e-11)


def test_the_sum_is_the_log_determinant_at_a_size_of_64():
    rng = np.random.default_rng(4)
    J = rng.standard_normal((100, 64, 64)) / 8
    found = log_singular_values(jnp.asarray(J), [1, 100]).logs
    determinants = np.linalg.slogdet(J)[1]
    np.testing.assert_allclose(found[0].sum(), determinants[-1], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[1].sum(), determinants.sum(), rtol=0, atol=1e-9)
    want = np.log(np.linalg.svd(J[-1], compute_uv=False))
    np.testing.assert_allclose(found[0], want, rtol=0, atol=1e-12)


def test_the_upper_layer_of_a_stack_may_be_the_slower_one(of_three):
    """Block triangular: the lower layer forgets at once, and nothing leads back to it."""
    found = of_three["stack"][-1, :2]
    # Over 1000 steps: P = [[e^-2000, 0], [g, e^-500]], and so σ_1² = g² + e^-1000.
    g = 0.7 * np.exp(-999 * 0.5) / (1 - np.exp(-1.5))
    want = np.log(np.hypot(g * np.exp(300), np.exp(-200))) - 300
    np.testing.assert_allclose(found, [want, -2500 - want], rtol=0, atol=1e-9)


def test_closed_directions_are_minus_infinity_and_never_nan():
    rng = np.random.default_rng(6)
    J = rng.standard_normal((40, 9, 9))
    J[:, ::3] = 0  # three dead units
    found = np.asarray(log_singular_values(jnp.asarray(J), [1, 5, 40]).logs)
    assert np.isfinite(found[:, :6]).all()
    assert np.all(found[:, 6:] == -np.inf)
    kept = np.delete(np.arange(9), [0, 3, 6])
    want = np.log(np.linalg.svd(J[-1], compute_uv=False)[:6])
    np.testing.assert_allclose(found[0, :6], want, rtol=0, atol=1e-12)
    # Π σ_i over the living: the first step reads all nine units, the others six.
    alive = np.linalg.slogdet(J[1:, kept][:, :, kept])[1].sum()
    alive += np.linalg.slogdet(J[0, kept] @ J[0, kept].T)[1] / 2
    np.testing.assert_allclose(found[2, :6].sum(), alive, rtol=0, atol=1e-10)
    J[20] = 0
    found = np.asarray(log_singular_values(jnp.asarray(J), [1, 5, 40]).logs)
    assert np.isfinite(found[1, :6]).all()
    assert np.all(found[2] == -np.inf)
    assert np.all(log_singular_values(jnp.zeros((1000, 1, 1)), [3, 1000]).logs == -np.inf)


def test_nan_is_not_hidden_and_stays_in_its_example(of_three):
    """The others are those of the tests above, to the last digit."""
    found = of_three["nan"]
    np.testing.assert_allclose(found[0, :2], [0.01, -0.02], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[4, :2], [2.99, -5.98], rtol=0, atol=1e-11)
    assert np.isnan(found[5:]).all()


def test_float32_within_a_program_and_one_by_one():
    rng = np.random.default_rng(7)
    logs = np.tile((-1.0, -2.0), (1000, 1))
    J = known_product(rng, logs).astype(jnp.float32)
    found = jax.jit(lambda J: log_singular_values(J, [1000]).logs)(J)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[0], [-1000, -2000], rtol=0, atol=0.05)
    single = log_singular_values(jnp.full((1000, 1, 1), jnp.exp(-2.0)), [3, 1000]).logs
    np.testing.assert_allclose(single, [[-6.0], [-2000.0]], rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((jnp.ones((3, 2, 4)),), ValueError, r"must be \[T, ..., S, S\], got shape \(3, 2, 4\)"),
        ((jnp.ones((3, 2, 2), int),), TypeError, "must be floating point"),
        ((jnp.ones((0, 2, 2)),), ValueError, "T = 0"),
        ((jnp.ones((3, 2, 2)), [4]), ValueError, r"lags must lie in 1..3 .*from 4 to 4"),
        ((jnp.ones((3, 2, 2)), [0, 1]), ValueError, "from 0 to 1"),
        ((jnp.ones((3, 2, 2)), [1.0]), TypeError, "lags must be integers"),
        ((jnp.ones((3, 2, 2)), []), ValueError, "lags is empty"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        log_singular_values(*arguments)


def test_lengths_end_each_product_at_its_own_last_step():
    steps = normal(3, 7, 2, 3, 3)
    found = log_singular_values(steps, [1, 4, 6], lengths=jnp.array([7, 4]))
    for example, last in ((0, 7), (1, 4)):
        lags = [lag for lag in (1, 4, 6) if lag <= last]
        want = log_singular_values(steps[:last, example], lags).logs
        np.testing.assert_allclose(found.logs[: len(lags), example], want, rtol=1e-12)
    assert np.all(np.isnan(found.logs[2, 1]))
    with pytest.raises(ValueError, match=r"0..7 \(T of jacobians\)"):
        log_singular_values(steps, [1], lengths=jnp.array([8, 1]))
