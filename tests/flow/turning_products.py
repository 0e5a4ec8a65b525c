"""Products of 80 Jacobians in which the dominant direction changes midway, and their spectra."""

import numpy as np

LENGTH = 80
# The factor by which each of three states shrinks in a step, in the first half and in the second.
FACTORS = np.array([[0.9, 0.1, 0.1]] * 40 + [[0.1, 0.9, 0.9]] * 40)


def turning():
    """Products by name: no coupling, one-way coupling, weak coupling and a rotating frame."""
    diagonal = FACTORS[:, None, :] * np.eye(3)
    noise = 0.5 * np.random.default_rng(0).standard_normal((LENGTH, 3, 3))
    block = diagonal.copy()
    block[:, ::2, ::2] = diagonal[:, ::2, ::2] @ (np.eye(2) + noise[:, :2, :2])
    lower = diagonal + np.tril(noise, -1)
    return {
        "diagonal": diagonal,
        "permuted": diagonal[:, [1, 2, 0]],
        "block diagonal": block,
        "lower triangular": lower,
        "upper triangular": np.swapaxes(lower, 1, 2),
        "lower, weak": diagonal + 1e-10 * np.tril(noise, -1),
        "weak": diagonal + 1e-8 * noise,
        "strong": diagonal + noise,
    }
