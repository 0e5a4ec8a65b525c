"""Products of matrices with as many digits as their singular values range over.

    (J_T … J_{T-lag+1})ᵀ = Σ_l D_l 2^{exponent - 20(l+1)}     D_l: matrices of integers below 2^20

Sums of products of such digits are integers below 2^53, which float64 matrix products compute
without rounding. This runs on the host, in NumPy, for one sequence at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_BITS = 20  # of a digit
_SUMMED = 2**13  # products of two digits that fit into one sum
_ACCURATE = 56  # bits by which a pivot exceeds the errors of the product
_GUARD = 80  # bits of the product beyond the estimated range of its singular values
_PRIME = 2**24 - 3


class _Product(NamedTuple):
    digits: np.ndarray  # [S, L, S], of float64
    exponent: int
    noise: float  # log2 of a bound on the norm of its error


def exact_products(jacobians: np.ndarray, lags: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """diag(2^e) U with the singular values of J_T … J_{T-lag+1}, for every lag.

    The product is (J_T … J_{T-lag+1})ᵀ = X D Y by Gaussian elimination with complete pivoting, X
    and Y well conditioned: small errors in them are small relative errors of all singular values.
    It is computed with more and more bits until as many pivots as its rank are far above its error.

    Args:
      jacobians: [T, S, S], finite.
      lags: ascending, at most T.

    Returns:
      e [L, S] int32 and U [L, S, S], as in `Graded`; rows of zeros where the rank is less than S.
    """
    backwards = np.asarray(jacobians, np.float64)[::-1][: lags[-1]]
    sizes = np.linalg.svd(backwards, compute_uv=False)
    norms, some = sizes[:, 0], sizes > 1e-14 * sizes[:, :1]
    spread = np.log2(np.where(some, sizes[:, :1] / np.where(some, sizes, 1), 1))
    bits = {lag: int(np.sum(spread[:lag].max(axis=-1)) / 2) for lag in lags}
    ranks, found = _ranks(backwards, lags), {}
    while bits:
        for lag, product in _products(backwards, norms, tuple(bits), max(bits.values())):
            *factors, rank = _eliminated(product, bits[lag] + _GUARD)
            if rank >= ranks[lag]:
                found[lag] = _graded(*factors)
        bits = {lag: 2 * b + _GUARD for lag, b in bits.items() if lag not in found}
    exponents, rows = zip(*(found[lag] for lag in lags), strict=True)
    return np.stack(exponents), np.stack(rows)


def _products(
    backwards: np.ndarray, norms: np.ndarray, lags: tuple[int, ...], bits: int
) -> Iterator[tuple[int, _Product]]:
    """Each lag with its product, transposed, to `bits` bits and a guard."""
    size, length = backwards.shape[-1], -(-(bits + _GUARD) // _BITS) + 3
    product = _Product(np.eye(size)[:, None, :], _BITS, -np.inf)
    for lag, (jacobian, norm) in enumerate(zip(backwards[: lags[-1]], norms, strict=False), 1):
        product = _times(jacobian.T, float(norm), product, length)
        if lag in lags:
            yield lag, product


def _times(matrix: np.ndarray, norm: float, product: _Product, length: int) -> _Product:
    size, shift = len(matrix), int(np.frexp(np.max(np.abs(matrix)))[1])
    right = product.digits.reshape(size, -1)
    # Two places in front of the highest digits are left for what is carried.
    total = np.zeros((size, length + 2, size))
    rest, summed = np.ldexp(matrix, _BITS - shift), 0
    for place in range(2, length + 2):
        if not np.any(rest):
            break
        digit = np.rint(rest)
        rest = np.ldexp(rest - digit, _BITS)
        new = (digit @ right).reshape(product.digits.shape)[:, : length + 2 - place]
        total[:, place : place + new.shape[1]] += new
        summed += size
        if summed + size > _SUMMED:
            total, summed = _carried(total), 0
    total, exponent = _carried(total), product.exponent + shift + _BITS
    used = np.flatnonzero(np.any(total, axis=(0, 2)))
    first, end = (used[0], used[-1] + 1) if used.size else (0, 1)
    truncation = exponent - _BITS * (length + 2) + 2 * np.log2(size) + 2
    noise = np.logaddexp2(product.noise + (np.log2(norm) if norm > 0 else -np.inf), truncation)
    kept = np.ascontiguousarray(total[:, first:end])
    return _Product(kept, exponent - _BITS * int(first), float(noise))


def _carried(total: np.ndarray) -> np.ndarray:
    """The same sum of digits below 2^53 as digits of at most 2^19 + 2^13."""
    for _ in range(2):
        carry = np.rint(total * 2.0**-_BITS)
        total = total - carry * 2.0**_BITS
        total[:, :-1] += carry[:, 1:]
    return total


def _eliminated(product: _Product, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """X [S, S], e [S], Y [S, S], and the number of pivots that are certain."""
    left, unit = _integers(product, bits)
    size = len(left)
    x, e, y = np.zeros((size, size)), np.zeros(size, int), np.zeros((size, size))
    least = int(max(product.noise - unit, np.log2(size) + 2)) + _ACCURATE
    rows, columns = np.arange(size), np.arange(size)
    for k in range(size):
        i, j = divmod(int(np.argmax(np.abs(left))), size - k)
        pivot, row, column = left[i, j], left[i], left[:, j]
        length = pivot.bit_length()
        if length <= least:
            return x, e, y, k
        x[rows, k] = (column / pivot).astype(float)
        y[k, columns] = (row / pivot).astype(float) * (pivot / (1 << length))
        e[k] = unit + length
        row, column = np.delete(row, j), np.delete(column, i)
        rows, columns = np.delete(rows, i), np.delete(columns, j)
        factor = (column << (length + 2)) // pivot
        left = np.delete(np.delete(left, i, 0), j, 1)
        left = left - ((factor[:, None] * row) >> (length + 2))
    return x, e, y, size


def _graded(x: np.ndarray, e: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the singular values of X diag(2^e) Y: R diag(2^e) Y with X = Q R."""
    r = np.linalg.qr(x)[1] * np.any(y, axis=-1)
    mantissa, own = np.frexp(r)
    total = np.where(r == 0, -(2**40), own + e)
    top = np.max(total, axis=-1)
    rows = np.ldexp(mantissa, np.maximum(total - top[:, None], -1100).astype(np.intc)) @ y
    shift = np.frexp(np.max(np.abs(rows), axis=-1))[1]
    exponents = np.where(np.any(rows, axis=-1), top + shift, 0).astype(np.int32)
    return exponents, np.ldexp(rows, -shift[:, None])


def _integers(product: _Product, bits: int) -> tuple[np.ndarray, int]:
    """The product as Python integers times 2^unit."""
    length = -(-bits // _BITS) + 2
    digits = product.digits[:, :length].astype(np.int64)
    digits = np.pad(digits, [(0, 0), (0, length - digits.shape[1] + -length % 3), (0, 0)])
    total = np.zeros(digits.shape[::2], object)
    for high, middle, low in zip(
        *(np.moveaxis(digits[:, n::3], 1, 0) for n in range(3)), strict=True
    ):
        three = (high << 2 * _BITS) + (middle << _BITS) + low
        total = (total << 3 * _BITS) + three.astype(object)
    return total, product.exponent - _BITS * digits.shape[1]


def _ranks(backwards: np.ndarray, lags: tuple[int, ...]) -> dict[int, int]:
    """The rank of each product modulo a prime: that of the product, or less by a rare chance."""
    mantissas, exponents = np.frexp(backwards)
    integers = np.ldexp(mantissas, 53).astype(np.int64) % _PRIME
    lowest = int(exponents.min())
    powers = [pow(2, e - 53, _PRIME) for e in range(lowest, int(exponents.max()) + 1)]
    residues = integers * np.asarray(powers)[exponents - lowest] % _PRIME
    product, ranks = np.eye(backwards.shape[-1], dtype=np.int64), {}
    for lag, residue in enumerate(residues, 1):
        product = residue.T @ product % _PRIME
        if lag in lags:
            ranks[lag] = _rank(product)
    return ranks


def _rank(residues: np.ndarray) -> int:
    for rank in range(len(residues)):
        nonzero = np.argwhere(residues)
        if not nonzero.size:
            return rank
        i, j = nonzero[0]
        row = residues[i] * pow(int(residues[i, j]), -1, _PRIME) % _PRIME
        residues = (residues - residues[:, j, None] * row) % _PRIME
    return len(residues)
