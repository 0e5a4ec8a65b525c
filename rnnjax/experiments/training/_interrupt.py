"""Ctrl-C between two chunks of work instead of in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def orderly_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait for the end of a chunk of steps; a second one ends the program at once.

    A KeyboardInterrupt that is raised while JAX collects garbage is swallowed there, so none is
    raised: the function that this yields says whether Ctrl-C has been pressed, for the caller to
    ask between chunks. Outside the main thread, which alone receives signals, it is always False.
    """
    pressed = False

    def on_interrupt(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, previous)
