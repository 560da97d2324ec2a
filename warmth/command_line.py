"""The words of a command line, put right before Hydra reads them, so that each mistake is one line that names it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmth.errors import UserError

NULL_GROUP = re.compile(r"\+{0,2}(?P<group>[\w/]+)=(?:null)?")


def ordered(words: Sequence[str]) -> list[str]:
    """Put flags before overrides: Hydra reads `a=1 -m b=2` no further than the flag."""
    overrides = [argument for argument in words if "=" in argument and not argument.startswith("-")]
    deletions = [argument for argument in words if argument.startswith("~") and "=" not in argument]
    flags = [argument for argument in words if argument not in overrides and argument not in deletions]
    return [*flags, *overrides, *deletions]


def refuse_null_groups(words: Sequence[str], conf: Path) -> None:
    """Check that no config group is set to null, which Hydra answers with a traceback.

    Args:
        words: the command line.
        conf: the folder whose folders are the groups.

    Raises:
        UserError: one is; the line says what stands for nothing in that group.
    """
    for override in words:
        match = NULL_GROUP.fullmatch(override)
        if match is None:
            continue
        group = match["group"]
        folder = conf / group
        if not folder.is_dir():
            continue
        entries = sorted(path.stem for path in folder.glob("*.yaml"))
        if group == "grader":
            advice = '"grader=[]" leaves each task its own'
        elif "none" in entries:
            advice = f"{group}=none is the entry for nothing"
        elif group == "experiment":
            advice = "leave it out for no experiment"
        else:
            advice = f"choose one of: {', '.join(entries)}"
        raise UserError(f"{override} is not allowed; {advice}")
