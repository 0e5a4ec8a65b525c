"""Products of 120 Jacobians of six states, in blocks that depend on one another in one direction.

Some of the others are as hard: weak coupling, saturated units, and coupling that comes and goes.
"""

import numpy as np

LENGTH = 120


def one_way():
    """Products by name, `[120, 6, 6]`, each number of them one of float32."""
    rng = np.random.default_rng(5)
    early, late = 0.2 + 0.6 * (np.arange(LENGTH) < 60), 0.2 + 0.6 * (np.arange(LENGTH) >= 60)
    third = np.arange(LENGTH) // 40
    turn = triangular(rng, [early, late])
    products = {
        "two layers alike": triangular(rng, [0.5, 0.5]),
        "three layers alike": triangular(rng, [0.5, 0.5, 0.5]),
        "the lower layer first": turn,
        "the upper layer first": triangular(rng, [late, early]),
        "transposed": np.swapaxes(turn, 1, 2),
        "three layers in turn": triangular(rng, [0.1 + 0.8 * (third == i) for i in range(3)]),
        "growth": triangular(rng, [3 * early, 3 * late], cross=2.0),
        "crossing at times": triangular(rng, [early, late], 1e-4 * (np.arange(LENGTH) % 7 == 0)),
        "shuffled": turn[:, [3, 0, 5, 1, 4, 2]][:, :, [3, 0, 5, 1, 4, 2]],
        "coupled midway": np.concatenate(
            [turn[:50], 0.5 * rng.standard_normal((20, 6, 6)), turn[70:]]
        ),
        "weak": np.swapaxes(turn, 1, 2) + 1e-9 * rng.standard_normal(turn.shape),
        "saturated": rng.standard_normal(turn.shape) * 10 ** rng.uniform(-7, 0, (LENGTH, 6, 1)),
    }
    return {name: product.astype(np.float32) for name, product in products.items()}


def triangular(rng, scales, cross=0.5):
    """Dense blocks of the given scales on the diagonal, and below each the next one's `cross`."""
    size = 6 // len(scales)
    jacobians = np.zeros((LENGTH, 6, 6))
    for i, scale in enumerate(scales):
        rows, before = slice(i * size, (i + 1) * size), slice((i - 1) * size, i * size)
        jacobians[:, rows, rows] = noise(rng, size, scale)
        if i > 0:
            jacobians[:, rows, before] = noise(rng, size, cross)
    return jacobians


def noise(rng, size, scale):
    return np.broadcast_to(scale, LENGTH)[:, None, None] * rng.standard_normal((LENGTH, size, size))
