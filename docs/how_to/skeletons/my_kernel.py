"""A compiled CPU kernel of your own, and the method that runs it: copy this file and my_kernel.cc.

It computes a whole sequence of `rnnjax.indrnn(H, "tanh")` in one call. Products with weights are
left to JAX, which differentiates them; the kernel holds only what is sequential, with its backward
pass. `python my_kernel.py` builds it and compares it with `sequential()`.
"""

import ctypes
import functools
import math
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import extend

SOURCE = Path(__file__).with_name("my_kernel.cc")
FORM = ("indrnn", "tanh")  # TODO: the form of the cell that it computes, see Structure.form
DTYPES = ("float32", "float64")
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC"]


@functools.cache
def build(folder: Path = SOURCE.parent) -> None:
    """Compile my_kernel.cc into a shared library, load it and register its functions with XLA.

    g++ -O3 -std=c++17 -shared -fPIC -isystem <jax.ffi.include_dir()> my_kernel.cc -o my_kernel.so
    """
    library = folder / "my_kernel.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        compiler = shutil.which("g++") or shutil.which("clang++") or "c++"
        flags = [*FLAGS, "-isystem", jax.ffi.include_dir()]
        subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    for dtype in DTYPES:
        for name in (f"my_forward_{dtype}", f"my_backward_{dtype}"):
            function = jax.ffi.pycapsule(getattr(loaded, name))
            jax.ffi.register_ffi_target(name, function, platform="cpu")


@jax.custom_vjp
def recurrence(z, u, h0, fresh, valid, begins):
    """All states hs [T, B, H] from z [T, B, H], u [H], h0 and fresh [B, H] and flags [T, B]."""
    return _forward(z, u, h0, fresh, valid, begins)[0]


def _forward(z, u, h0, fresh, valid, begins):
    # vmap_method: under `vmap` the kernel runs once for each.
    call = jax.ffi.ffi_call(f"my_forward_{z.dtype}", like(z), vmap_method="sequential")
    hs = call(z, u, h0, fresh, valid, begins)
    return hs, (hs, u, h0, fresh, valid, begins)


def _backward(saved, hs_ct):
    hs, u, h0, fresh, _, _ = saved
    outputs = tuple(map(like, (hs, u, h0, fresh)))
    call = jax.ffi.ffi_call(f"my_backward_{hs.dtype}", outputs, vmap_method="sequential")
    return *call(*saved, hs_ct), None, None


def like(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


recurrence.defvjp(_forward, _backward)


@dataclass(frozen=True)
class MyKernel:
    """The value made by `my_kernel()`."""

    name = "my_kernel"

    def refusal(self, cell, base, params, sequence):
        """TODO: all that your kernel does not compute. What is let through must be right."""
        if extend.known(cell).form != FORM:  # a cell whose rule was replaced has no form
            return 'it is for rnnjax.indrnn(hidden, "tanh") alone'
        if base not in (None, rnnjax.bptt()):
            return f"its backward pass is that of bptt(), not of {base}"
        if str(params.u.dtype) not in DTYPES:
            return f"it is for {' and '.join(DTYPES)}, and the weights are {params.u.dtype}"
        if jax.default_backend() != "cpu":
            return f"it is for CPUs, and JAX's default device is a {jax.default_backend()}"
        return None

    def bind(self, cell, base, reverse):
        build()

        def run(params, sequence):
            xs, valid, begins = extend.mask(params, sequence, reverse)
            if valid is not None:  # whatever the padding holds, it has no influence
                xs = jnp.where(valid[..., None], xs, 0)
            z = cell.rule.project(params, xs)
            T, *batch, H = z.shape
            B = math.prod(batch)
            moves = jnp.ones((T, B), bool) if valid is None else valid.reshape(T, B)
            starts = jnp.zeros((T, B), bool) if begins is None else begins.reshape(T, B)
            arrays = z.reshape(T, B, H), moves, starts
            z, moves, starts = (jnp.flip(x, 0) if reverse else x for x in arrays)
            h0, fresh = (carry.h.reshape(B, H) for carry in (sequence.carry, sequence.fresh))
            hs = recurrence(z, params.u, h0, fresh, moves, starts)
            last = type(sequence.carry)((hs[-1] if T else h0).reshape(*batch, H))
            ys = (jnp.flip(hs, 0) if reverse else hs).reshape(T, *batch, H)
            return last, ys if valid is None else jnp.where(valid[..., None], ys, 0)

        return run


def my_kernel() -> rnnjax.Method:
    """Run `rnnjax.indrnn(hidden, "tanh")` by the kernel."""
    return MyKernel()


if __name__ == "__main__":
    cell = rnnjax.indrnn(8, "tanh")
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (10, 4, 3))

    def cost(params, xs, method):
        options = {"lengths": jnp.array([10, 7, 1, 0]), "method": method}
        return (rnnjax.unroll(cell, params, xs, **options)[1] ** 2).sum()

    found, expected = (
        jax.value_and_grad(cost, (0, 1))(params, xs, method)
        for method in (my_kernel(), rnnjax.sequential())
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), found, expected)
    print(f"{my_kernel()} agrees with {rnnjax.sequential()}")
