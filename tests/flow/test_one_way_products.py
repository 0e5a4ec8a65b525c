"""Singular values of products in which states mix in one direction: against big floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_way_products import LENGTH, one_way

from rnnjax.flow import log_singular_values

# From products in arithmetic of 2500 digits.
LOGS = {
    "two layers alike": (
        -28.42219265171684,
        -35.81683735492521,
        -65.63041727440494,
        -73.7882430655887,
        -147.4661433854594,
        -191.1458335830279,
    ),
    "three layers alike": (
        -63.94440674020041,
        -79.26918949716138,
        -103.7856424992237,
        -135.1415825661016,
        -169.9185980410117,
        -185.8746141252747,
    ),
    "the lower layer first": (
        17.38834701922767,
        -16.2466153485983,
        -111.7442984763636,
        -146.9145013094002,
        -195.5367042691358,
        -281.017853165294,
    ),
    "the upper layer first": (
        -55.59487989001603,
        -66.13162004735764,
        -98.29443033908879,
        -101.3250640078443,
        -180.635806700105,
        -191.5268339079565,
    ),
    "transposed": (
        -58.38495891381087,
        -64.05842664984045,
        -108.5887748085011,
        -110.746086784761,
        -188.694991349966,
        -203.5983870426847,
    ),
    "three layers in turn": (
        -11.2759206999492,
        -81.18978014692985,
        -266.1241552023075,
        -277.555345768731,
        -342.8304430645448,
        -374.4342644527006,
    ),
    "growth": (
        141.1341547686439,
        109.5928307715692,
        39.2831898602858,
        -1.106529806618663,
        -45.35302717914655,
        -146.1144456775196,
    ),
    "crossing at times": (
        1.15619674540801,
        -34.7862550910604,
        -96.39353553320583,
        -137.7366647315397,
        -179.9412236179786,
        -256.5530916017751,
    ),
    "coupled midway": (
        21.21431092431141,
        -11.67668401266433,
        -96.50922101617946,
        -128.8906627824924,
        -170.6835323954988,
        -250.8185245645605,
    ),
    "weak": (
        2.13694166059948,
        -44.86843747504158,
        -119.6457420446445,
        -132.476530615843,
        -177.0310541859101,
        -262.1868021603812,
    ),
    "saturated": (
        -351.6325305889778,
        -597.0117409891017,
        -818.5068160663064,
        -1040.560299109429,
        -1266.300452995501,
        -1588.296757041813,
    ),
}
LOGS["shuffled"] = LOGS["the lower layer first"]  # the same states in another order


@pytest.fixture(scope="module")
def found():
    """The logarithms over all steps by name, of factors in float32."""
    products = one_way()
    logs = log_singular_values(np.stack([*products.values()], axis=1), [LENGTH]).logs
    assert logs.dtype == np.float64
    return dict(zip(products, logs[0], strict=True))


@pytest.mark.parametrize("name", LOGS)
def test_the_smallest_have_as_many_digits_as_the_largest(found, name):
    np.testing.assert_allclose(found[name], LOGS[name], rtol=0, atol=5e-13)


def test_under_jit_they_are_nan_rather_than_rounding_errors():
    products = one_way()
    chosen = jnp.stack([jnp.asarray(products[name]) for name in ("transposed", "saturated")], 1)
    coupled = np.random.default_rng(0).standard_normal((LENGTH, 1, 6, 6)).astype(np.float32)
    every = jnp.concatenate([chosen, coupled], axis=1)
    logs = jax.jit(lambda jacobians: log_singular_values(jacobians, [LENGTH]).logs)(every)[0]
    assert np.isnan(logs[:2]).all()
    want = np.linalg.slogdet(coupled[:, 0])[1].sum()
    np.testing.assert_allclose(logs[2].sum(), want, rtol=0, atol=1e-3)


def test_a_stack_with_a_dead_unit_has_a_singular_value_of_zero_and_nan_stays_where_it_is():
    jacobians = np.array(one_way()["two layers alike"], np.float64)
    jacobians[-50, 1] = 0  # for one step, in the lower layer
    jacobians[-80, 0, 0] = np.nan
    logs = np.asarray(log_singular_values(jnp.asarray(jacobians), [20, 49, 50, 79, 80]).logs)
    assert np.isfinite(logs[:2]).all()
    assert np.isfinite(logs[2:4, :5]).all()
    assert np.all(logs[2:4, 5] == -np.inf)
    assert np.isnan(logs[4]).all()
    determinants = np.cumsum(np.linalg.slogdet(jacobians[:-51:-1])[1])[[19, 48]]
    np.testing.assert_allclose(logs[:2].sum(axis=-1), determinants, rtol=0, atol=1e-11)
