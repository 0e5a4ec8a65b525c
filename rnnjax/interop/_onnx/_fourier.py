"""Discrete Fourier transforms along the last axis, as products with constant matrices.

ONNX has a DFT, which in onnxruntime loses digits: 1e-3 in float32 at 130 points.
"""

from typing import Any

import numpy as np

from rnnjax.interop._onnx._site import Site

FFT, IFFT, RFFT, IRFFT = range(4)  # as JAX numbers them


def fft(site: Site, x: Any) -> tuple[Any, Any] | Any:
    """The real and imaginary parts of the transform of x, a pair or real; of IRFFT what is real."""
    kind, lengths, op = int(site.params["fft_type"]), site.params["fft_lengths"], site.graph.op
    if len(lengths) != 1:
        raise NotImplementedError("along several axes")
    site.within_an_example([-1])
    (n,), dtype = lengths, site.result.dtype
    count = n if kind in (FFT, IFFT) else n // 2 + 1
    sign = 1 if kind in (IFFT, IRFFT) else -1
    angles = 2 * np.pi / n * np.remainder(np.outer(np.arange(n), np.arange(count)), n)
    waves = np.exp(sign * 1j * angles)
    if kind in (IFFT, IRFFT):
        waves /= n
    if kind == IRFFT:  # a frequency stands for its negative as well, but for 0 and n / 2
        waves = (waves * np.where(np.arange(count) % (n / 2) == 0, 1, 2)).T
    cos, sin = (part.astype(dtype) for part in (waves.real, waves.imag))
    if kind == RFFT:
        return op("MatMul", x, cos), op("MatMul", x, sin)
    re, im = x
    real = op("Sub", op("MatMul", re, cos), op("MatMul", im, sin))
    if kind == IRFFT:
        return real
    return real, op("Add", op("MatMul", re, sin), op("MatMul", im, cos))
