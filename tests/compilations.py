"""What is compiled, for tests of how often that is; with the fixture `by_xla`."""

import contextlib

import jax


@contextlib.contextmanager
def compiled():
    """The programs that are compiled, one entry each."""
    programs = []

    def listen(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            programs.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
