"""The two ways a command ends badly, and the one line a user then reads."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

KEEPS_TRACEBACKS = "WARMTH_KEEPS_TRACEBACKS"  # set for processes whose words go to a log


class UserError(Exception):
    """Something the user can mend: one line that names the key, the value and what is allowed.

    Exit code 2.
    """


class NotTrained(UserError):
    """An adapter that is asked for has not been made yet; the line names the command that makes
    it.
    """


class Preempted(KeyboardInterrupt):
    """SIGTERM: the machine is wanted elsewhere. Exit code 143; the same command continues."""


class RunFailed(Exception):
    """A run that started and broke: a dead rank, a failed gate. Exit code 1."""

    state = "failed"  # in status.json
    last_lines: tuple[str, ...] = ()  # of the process that broke, for status.json


class NotScored(RunFailed):
    """An evaluation whose answers are all there, and none of which has a verdict. Exit code 1."""

    state = "not scored"


def one_line(error: BaseException) -> str:
    """Write an error's message as a single line, without control characters (it may quote data)."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in text)


def exit_code(error: BaseException) -> int:
    """2 for what the user can mend, 130 for an interrupt, 143 for SIGTERM, 1 for the rest."""
    if isinstance(error, Preempted):
        return 143
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, UserError | PermissionError):
        return 2
    if isinstance(error, OSError) and error.errno == 28:  # ENOSPC: no remedy inside the program
        return 2
    return 1


def guarded(main: Callable[..., Any]) -> Callable[..., Any]:
    """Turns exceptions into `error: ...` on standard error and the contract's exit codes.

    `WARMTH_DEBUG=1` in the environment shows the traceback instead.
    """

    @functools.wraps(main)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return main(*args, **kwargs)
        except BrokenPipeError:  # the reader of a pipe (`| head`) had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except (KeyboardInterrupt, Exception) as error:
            if os.environ.get("WARMTH_DEBUG") == "1":
                raise
            interrupted = isinstance(error, KeyboardInterrupt) and not isinstance(error, Preempted)
            line = (
                "interrupted; what is done is kept, the same command continues"
                if interrupted
                else one_line(error)
            )
            known = isinstance(error, KeyboardInterrupt | UserError | RunFailed | OSError)
            prefix = "" if known else f"{type(error).__name__}: "
            if not known and os.environ.get(KEEPS_TRACEBACKS):
                traceback.print_exc()
            print(f"error: {prefix}{line}", file=sys.stderr)
            if not known:
                print(
                    "error: this is a bug; WARMTH_DEBUG=1 shows where it happened", file=sys.stderr
                )
            sys.exit(exit_code(error))

    return wrapper
