"""The program `rnnjax`, which Ctrl-C ends from its first import on."""

import os
import signal
from types import FrameType

INTERRUPTED = 130


def end_at_once(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End the process, for imports: an interrupt that is raised in one may become another error."""
    del number, frame
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        signal.signal(signal.SIGINT, end_at_once)
    from rnnjax.experiments.cli import main as run

    run()
