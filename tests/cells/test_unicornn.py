"""UnICORNN against the loops of the authors' CUDA kernels, forwards and backwards, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax

T, B, D, H = 7, 2, 3, 4
DT, ALPHA = 0.4, 1.3


def sigmoid(c):
    return 1 / (1 + np.exp(-c))


def by_hand(x, u, c, ys_ct):
    """Values and gradients from x = V u_t + b [T, B, H]: states backwards are reconstructed."""
    step, step_c = DT * sigmoid(c), DT * sigmoid(c) * (1 - sigmoid(c))
    y, z, ys = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        z = z - step * (np.tanh(y * u + x[t]) + ALPHA * y)
        y = y + step * z
        ys.append(y)
    last = y, z
    x_ct, u_ct, c_ct = np.zeros_like(x), np.zeros(H), np.zeros(H)
    delta_y, delta_z = ys_ct[-1], np.zeros((B, H))
    for t in reversed(range(T)):
        through_y = delta_y * step_c * z
        y = y - step * z
        force, slope = np.tanh(y * u + x[t]) + ALPHA * y, 1 / np.cosh(y * u + x[t]) ** 2
        z = z + step * force
        delta_z = delta_z + delta_y * step
        u_ct -= (delta_z * step * slope * y).sum(0)
        c_ct += (through_y - delta_z * step_c * force).sum(0)
        x_ct[t] = -delta_z * step * slope
        delta_y = delta_y - delta_z * step * (slope * u + ALPHA) + (ys_ct[t - 1] if t else 0)
    return np.array(ys), last, x_ct, u_ct, c_ct


def test_values_and_gradients_of_the_authors_kernels(eager):
    rng = np.random.default_rng(0)
    xs, ys_ct = rng.normal(size=(T, B, D)), rng.normal(size=(T, B, H))
    cell = rnnjax.unicornn(H, dt=DT, alpha=ALPHA)
    params = jax.tree.map(lambda w: w + rng.normal(size=w.shape), cell.init(jax.random.key(0), D))
    ys, (y, z), x_ct, u_ct, c_ct = by_hand(
        np.einsum("tbd,dh->tbh", xs, params.w_x) + params.b, params.u, params.c, ys_ct
    )

    def cost(params, xs):
        last, found = rnnjax.unroll(cell, params, xs)
        return jnp.sum(ys_ct * found), (last, found)

    (params_ct, xs_ct), (last, found) = jax.grad(cost, (0, 1), has_aux=True)(params, xs)
    pairs = [
        (found, ys),
        (last.y, y),
        (last.z, z),
        (params_ct.u, u_ct),
        (params_ct.c, c_ct),
        (params_ct.b, x_ct.sum((0, 1))),
        (params_ct.w_x, np.einsum("tbd,tbh->dh", xs, x_ct)),
        (xs_ct, np.einsum("tbh,dh->tbd", x_ct, params.w_x)),
    ]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_initial_params_are_those_of_the_authors_code():
    params = rnnjax.unicornn(500).init(jax.random.key(0), D)
    bounds = {"w_x": (-np.sqrt(6 / 65 / D), np.sqrt(6 / 65 / D)), "u": (0, 1), "c": (-0.1, 0.1)}
    for name, (low, high) in bounds.items():
        values = np.asarray(getattr(params, name))
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
    assert not np.any(params.b)


@pytest.mark.parametrize(
    ("options", "message"), [({"dt": 0.0}, "dt must be positive"), ({"alpha": -1}, "alpha must be")]
)
def test_refused_settings(options, message):
    with pytest.raises(ValueError, match=message):
        rnnjax.unicornn(2, **options)
