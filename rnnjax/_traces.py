"""Whether this runs in a program that is being compiled, differentiated or vectorized."""

from concurrent.futures import ThreadPoolExecutor

from jax.extend.core import get_opaque_trace_state

with ThreadPoolExecutor(1) as _pool:  # this import may be part of a program
    _UNTRACED = _pool.submit(get_opaque_trace_state).result()


def is_traced() -> bool:
    return get_opaque_trace_state() != _UNTRACED
