"""The library of compiled kernels: its table of cells, what it refuses, what it checks itself."""

import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_problems import CELLS, needs_kernels, problem

import rnnjax
from rnnjax import associative, autodiff, native, sequential, unroll
from rnnjax.methods import (
    AVAILABILITY,
    _fused,
    _native,
    _native_calls,
    _native_library,
    explain,
    instruction_set,
)


@needs_kernels
def test_what_it_refuses():
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    with pytest.raises(ValueError, match="float32 or float64 weights, and these are bfloat16"):
        unroll(cell, half, xs, method=native())
    for other in (
        rnnjax.gru(3, reset="before"),
        rnnjax.identity_rnn(3),
        rnnjax.vanilla(3, "sigmoid"),
        rnnjax.lstm_1997(3, truncate=True),
    ):
        with pytest.raises(ValueError, match="no kernel for this cell"):
            unroll(other, other.init(jax.random.key(0), 2), xs, method=native())
        assert explain(other, other.init(jax.random.key(0), 2), xs).method == sequential()
    mixed = rnnjax.stack(rnnjax.lstm(3), rnnjax.identity_rnn(3))
    with pytest.raises(ValueError, match="no kernel for this cell"):
        unroll(mixed, mixed.init(jax.random.key(0), 2), xs, method=native())
    plan = explain(mixed, mixed.init(jax.random.key(0), 2), xs).plan
    assert plan == (native(), sequential())


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.delenv("RNNJAX_NATIVE", raising=False)
    monkeypatch.setenv("RNNJAX_NATIVE_ISA", "AVX-512")
    _native_library._load.cache_clear()
    try:
        with pytest.warns(UserWarning, match="ISA=AVX-512 names no .* without the compiled"):
            assert "one of avx512, avx2, portable" in str(_native_library._load().missing)
    finally:
        _native_library._load.cache_clear()


def test_without_the_extension(monkeypatch):
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    monkeypatch.delenv("RNNJAX_NATIVE", raising=False)
    monkeypatch.setattr(_native_library, "_MODULE", "rnnjax.methods._not_compiled")
    _native_library._load.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"not installed: they need a C\+\+17 compiler"):
            unroll(cell, params, xs, method=native())
        assert "C++17 compiler" in str(explain(cell, params, xs))
        want = unroll(cell, params, xs, method=sequential())[1]
        np.testing.assert_array_equal(unroll(cell, params, xs)[1], want)
    finally:
        _native_library._load.cache_clear()


def test_switched_off(monkeypatch):
    monkeypatch.setenv("RNNJAX_NATIVE", "0")
    _native_library._load.cache_clear()
    try:
        assert "RNNJAX_NATIVE=0" in (AVAILABILITY["native"]() or "")
        assert instruction_set() is None
    finally:
        monkeypatch.undo()
        _native_library._load.cache_clear()


@pytest.mark.parametrize("value", ["false", "no", "00", "off"])
def test_a_switch_that_is_none_is_refused(monkeypatch, value):
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    said = f"RNNJAX_NATIVE={value} is neither 0 nor 1"
    monkeypatch.setenv("RNNJAX_NATIVE", value)
    _native_library._load.cache_clear()
    try:
        with pytest.warns(UserWarning, match=f"{said}: .* runs without the compiled kernels"):
            assert explain(cell, params, xs).method == sequential()
        # It warns once a process: a second warning would be an error here.
        with pytest.raises(ValueError, match=said):
            unroll(cell, params, xs, method=native())
    finally:
        monkeypatch.undo()
        _native_library._load.cache_clear()


def extensions(monkeypatch):
    """How many extensions setup.py is to build."""
    setuptools = pytest.importorskip("setuptools")
    given = []
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.append(options["ext_modules"]))
    runpy.run_path(str(Path(__file__).parents[2] / "setup.py"))
    return len(given[0])


def test_the_switch_when_it_is_installed(monkeypatch):
    monkeypatch.delenv("RNNJAX_NATIVE", raising=False)
    assert extensions(monkeypatch) == 1
    for value, count in (("", 1), ("1", 1), ("0", 0)):
        monkeypatch.setenv("RNNJAX_NATIVE", value)
        assert extensions(monkeypatch) == count
    monkeypatch.setenv("RNNJAX_NATIVE", "no")
    with pytest.raises(ValueError, match="RNNJAX_NATIVE=no is neither 0 nor 1"):
        extensions(monkeypatch)


# name, gates, tape, recurrent_offset, extra, has_c
COMPILED = [
    ("vanilla_tanh", 1, 1, 0, 0, False),
    ("vanilla_relu", 1, 1, 0, 0, False),
    ("lstm", 4, 4, 0, 0, True),
    ("lstm_1997", 3, 3, 0, 0, True),
    ("gru", 3, 4, 1, 1, False),
    ("peephole_lstm", 4, 4, 0, 3, True),
]


@needs_kernels
def test_the_table_of_cells_is_that_of_the_library():
    cells = _native_library.compiled_cells()
    rows = [(cell.name, *cell[2:]) for cell in cells.values()]
    assert rows == COMPILED
    assert [cell.position for cell in cells.values()] == list(range(len(COMPILED)))
    assert list(cells) == [cell.name for cell in cells.values()]
    # The library is that of these sources, and has as many lines as different names.
    source = Path(_native_library.__file__).parent / "kernels" / "cells.def"
    listed = re.findall(r"^RNNJAX_CELL\((\w+), \w+\)$", source.read_text(), re.MULTILINE)
    assert listed == list(cells)
    assert not _native_library._open().rnnjax_cell(len(cells))
    assert set(CELLS) == set(cells), "a compiled cell that no test of this file covers"


@needs_kernels
@pytest.mark.parametrize("name", CELLS)
def test_the_params_of_every_cell_have_the_sizes_that_its_kernel_expects(name):
    cell, compiled = CELLS[name](5), _native_library.compiled_cells()[name]
    params = cell.init(jax.random.key(0), 3)
    weights = _native_calls.Weights(*params)
    assert _native._kernel(cell) == name
    assert weights.w_h.shape == (5, 5 * compiled.gates)
    assert (0 if weights.extra is None else weights.extra.size) == 5 * compiled.extra
    assert hasattr(cell.initial_carry(params, ()), "c") == compiled.has_c


@needs_kernels
def test_the_boundary_checks_every_shape_and_dtype():
    cell, params, xs, carry, _ = problem("lstm", (3, 2, 2, 3))
    assert cell.rule is not None
    compiled = _native_library.compiled_cells()
    spec = _native_calls.Spec(compiled["lstm"], False)
    weights = _native_calls.Weights(*params)
    inputs = _fused.Inputs(xs, carry, None, None, None)

    def refused(message, weights=weights, spec=spec, **changes):
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            jax.block_until_ready(
                _native_calls.forward(spec, True, weights, inputs._replace(**changes))
            )

    refused(r"w_x has shape \[1, 12\], expected \[2, 12\]", weights._replace(w_x=params.w_x[:1]))
    refused(r"w_h has shape", weights._replace(w_h=params.w_h[:, :9]))
    refused(r"b has shape \[11\], expected \[12\]", weights._replace(b=params.b[:-1]))
    refused(r"extra has shape \[3\], expected \[0\]", weights._replace(extra=jnp.zeros(3)))
    peephole = _native_calls.Spec(compiled["peephole_lstm"], False)
    refused(r"extra has shape \[0\], expected \[9\]", spec=peephole)
    refused(r"no such cell", spec=spec._replace(cell=spec.cell._replace(position=len(compiled))))
    refused(r"w_h has the wrong dtype", weights._replace(w_h=params.w_h.astype(jnp.float32)))
    refused(r"c has shape", carry=carry._replace(c=carry.c[:1]))
    refused(r"lengths has the wrong dtype", lengths=jnp.zeros(2))
    refused(r"lengths has shape", lengths=jnp.zeros(3, jnp.int32))
    refused(r"no carry to restart from", begins=jnp.zeros((3, 2), bool))
    refused(r"expected float32 or float64", xs=xs.astype(jnp.float16))


@needs_kernels
def test_auto_takes_it_by_default():
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    explanation = explain(cell, params, xs)
    assert explanation.method == native()
    assert [each.method.name for each in explanation.considered] == ["native"]
    assert explain(cell, params, xs, gradient=autodiff()).method == sequential()
    deep = rnnjax.stack(rnnjax.lstm(3), rnnjax.stack(rnnjax.gru(2), rnnjax.vanilla(4)))
    assert explain(deep, deep.init(jax.random.key(0), 2), xs).method == native()
    np.testing.assert_array_equal(
        unroll(cell, params, xs)[1], unroll(cell, params, xs, method=native())[1]
    )


def test_explain_takes_what_unroll_takes():
    cell = rnnjax.lstm(3)
    params, xs = cell.init(jax.random.key(0), 2), jnp.ones((4, 2, 2))
    mask = jnp.ones((4, 2), bool)
    assert explain(cell, params, xs, mask=mask, reverse=True) == explain(cell, params, xs)
    kept = explain(cell, params, xs, return_carries=True)
    assert kept.method == sequential()
    assert "return_carries=True" in str(kept)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 4\)"):
        explain(cell, params, xs, mask=mask.T)
    with pytest.raises(TypeError, match="reverse"):
        explain(cell, params, xs, reverse=1)


@pytest.mark.parametrize(
    ("cell", "method"),
    [
        (rnnjax.min_gru(2), associative()),
        (rnnjax.delta_net(2), sequential(unroll=8)),
        (rnnjax.stack(rnnjax.lstm(2), rnnjax.gru(3)), sequential(unroll=8)),
    ],
    ids=str,
)
def test_what_auto_takes_on_a_gpu(cell, method, monkeypatch):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert explain(cell, params, jnp.ones((4, 1))).method == method
