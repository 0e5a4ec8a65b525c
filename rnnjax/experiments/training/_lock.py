"""One process in a run's folder at a time, and folders that cannot be written."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rnnjax._arguments import checked_arguments

_LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a run's folder, and keep other processes out of it.

    The operating system lets go of the lock when the process ends, however it ends. File systems
    without locks are used without.

    Raises:
      BlockingIOError: another process has it; the message names the process.
      OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+", encoding="utf-8") as file:
        try:
            _take(file)
        except BlockingIOError:
            file.seek(0)
            who = file.read(200).strip() or "another process"
            raise BlockingIOError(
                f"{folder} is in use by {who}: wait until it has ended, or train in another folder"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        owner = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == owner:  # not in a process forked meanwhile that unwinds
                _release(file)


def _take(file: Any) -> None:
    """Lock an open file; BlockingIOError if it is locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        _take_on_windows(file)
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return


def _release(file: Any) -> None:
    """Unlock an open file, which a process that was forked since may keep open."""
    with suppress(ImportError, OSError):  # Windows, and a file system without locks
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)


def _take_on_windows(file: Any) -> None:
    msvcrt: Any = __import__("msvcrt")
    file.seek(1 << 20)  # beyond the text, which others read
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        raise BlockingIOError from None


@checked_arguments
def check_writable(folder: Path) -> None:
    """Raise OSError unless a run can be written to a folder; nothing is made.

    Raises:
      NotADirectoryError: it, or a folder that it would be in, is a file.
      PermissionError: no permission, or a read-only file system.
      BlockingIOError: another process trains in it.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{folder} cannot be written: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{folder} cannot be written: {there} is read-only, or you have no permission"
        )
    if (folder / _LOCK).exists():
        with locked(folder):
            pass
