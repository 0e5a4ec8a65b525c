"""Evaluate small programs by NumPy instead of compiling them.

Outside `jit` JAX compiles every operation for every new shape, some 20 ms each, and inside it XLA
takes 100 ms and more for a loop over tiny arrays; the tests meet thousands of both. A program of
which `by_numpy` knows every primitive is evaluated instead where that takes a few milliseconds; all
others are compiled as always, and so are those with compiler options of their own, which say that
it is the compiled program that is tested.
"""

import contextlib
import functools
import threading
from typing import Any

import jax
from by_numpy import KNOWN, LeftToJax, evaluate, executions
from jax.extend.core import ClosedJaxpr

TINY, SMALL = 40, 1500  # primitives that are executed

limit = TINY  # of what is evaluated; 0 while a test is about what XLA makes of a program


def set_up_jax() -> None:
    """Set JAX in this process as the tests run it: float64, and compiled as little as possible."""
    jax.config.update("jax_enable_x64", True)
    # The tests compile thousands of tiny programs; optimising them takes longer than running them.
    jax.config.update("jax_disable_most_optimizations", True)
    if KNOWN:
        _evaluate_small_programs()
        _describe_rules_once()
    if jax.__version__.startswith("0.10."):
        _share_contexts()


def _evaluate_small_programs() -> None:
    from jax._src import pjit

    usual = pjit._pjit_call_impl_python

    def call(
        *args: Any, jaxpr: ClosedJaxpr, donated_invars: Any, compiler_options_kvs: Any, **rest: Any
    ) -> Any:
        if not (any(donated_invars) or compiler_options_kvs) and _is_worth_it(jaxpr, args):
            with contextlib.suppress(LeftToJax):
                return evaluate(jaxpr, args, alone=True), None, None, []
        options = {"donated_invars": donated_invars, "compiler_options_kvs": compiler_options_kvs}
        return usual(*args, jaxpr=jaxpr, **options, **rest)

    pjit._pjit_call_impl_python = call


def _share_contexts() -> None:
    """Lower the programs of a thread in one MLIR context from now on, as JAX 0.12 does.

    Before, each had its own, which takes 2 ms to make and memory for as long as the program lives.
    """
    from jax._src.interpreters import mlir

    make = functools.cache(lambda thread: usual())
    usual = mlir.make_ir_context
    mlir.make_ir_context = lambda: make(threading.get_ident())


def _describe_rules_once() -> None:
    """Look a derivative's signature up once, not for every operation that is differentiated."""
    from jax._src.interpreters import ad

    usual = ad.debug_info
    described: dict[Any, Any] = {}

    def debug_info(traced_for: str, rule: Any, *args: Any, **options: Any) -> Any:
        if traced_for != "linearize_prim_jvp":
            return usual(traced_for, rule, *args, **options)
        if rule not in described:
            described[rule] = usual(traced_for, rule, *args, **options)
        return described[rule]

    ad.debug_info = debug_info


def _is_worth_it(program: ClosedJaxpr, args: Any) -> bool:
    return executions(program.jaxpr) <= limit and all(map(_is_here, args))


def _is_here(x: Any) -> bool:
    """A number or an array that lies whole on the one device."""
    return not isinstance(x, jax.Array) or len(x.devices()) == 1
