"""Processes that end with the one that started them, so that no orphan writes into a run that
another continues.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2), Linux alone


def end_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal as soon as its parent is gone; runs in a child
    before it starts.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal_number)


def killed_with_parent() -> None:
    """End at once, without saving, with the parent: another process may already be continuing the
    run.
    """
    end_with_parent(signal.SIGKILL)


def before_start() -> Callable[[], None] | None:
    """Return what a child runs before it starts, so that it is asked to save and end with its
    parent.
    """
    return end_with_parent if sys.platform == "linux" else None
