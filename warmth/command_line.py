"""The words of a command line, put right before Hydra reads them, so that each mistake is one line
that names it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from warmth.errors import UserError
from warmth.paths import IN_WHEEL

NULL_GROUP = re.compile(r"\+{0,2}(?P<group>[\w/]+)=(?:null)?|~(?P<deleted>[\w/]+)(?:=.*)?")
ADDED_GROUP = re.compile(r"\+{1,2}(?P<group>[\w/]+)=(?P<entry>.*)", re.DOTALL)
# Flags of Hydra that do nothing alone, or that would replace this project's own config.
NEEDS_CFG = ("-p", "--package", "--resolve")
REPLACES_CONFIG = ("-cp", "--config-path", "-cn", "--config-name")

# what the jobs of a sweep are started by
OF_SWEEPS = ("hydra/launcher", "hydra.launcher", "hydra.sweeper.params")
READ_BY_HYDRA = (*OF_SWEEPS, "hydra/sweeper", "hydra.mode", "hydra.searchpath")
FOLDERS = "a run's folder is named by its content; output= and study= say where it goes"
LOGS = (
    "nothing is logged through Hydra; progress and errors go to standard error, rows to the "
    "run folder"
)
READ = (
    "of Hydra's keys these are read: hydra/launcher, hydra.launcher.KEY, "
    "hydra.sweeper.params.KEY, hydra.mode, hydra.searchpath"
)
# Hydra's other keys, each with the reason why it has no effect here.
IGNORED = {
    "hydra.run": FOLDERS,
    "hydra.sweep": FOLDERS,
    "hydra.output_subdir": FOLDERS,
    "hydra.job.chdir": FOLDERS,
    "hydra.job.env_set": "set variables in the environment, so that no key gets into a config",
    "hydra.verbose": LOGS,
    "hydra.job_logging": LOGS,
    "hydra.hydra_logging": LOGS,
    "hydra/job_logging": LOGS,
    "hydra/hydra_logging": LOGS,
}
# What Hydra's own settings are in conf/train.yaml and conf/evaluate.yaml; a file of the user's may
# not change them.
FIXED = {
    "run.dir": ".",
    "sweep.dir": ".",
    "sweep.subdir": ".",
    "output_subdir": None,
    "verbose": False,
}


def typed(name: str) -> str:
    """Return how a user starts a command, for lines that name one: `python train.py`, or `warmth
    train`.

    The second in a wheel, and if this command was started so.
    """
    started_by_verb = Path(sys.argv[0]).name.startswith(("warmth", "cli.py"))
    if IN_WHEEL or started_by_verb:
        return f"warmth {name}"
    return f"python {name}.py"


def flags_first(words: Sequence[str]) -> list[str]:
    """Put flags before overrides: Hydra reads `a=1 -m b=2` no further than the flag."""
    flags = []
    overrides = []
    deletions = []
    for argument in words:
        if "=" in argument and not argument.startswith("-"):
            overrides.append(argument)
        elif argument.startswith("~"):
            deletions.append(argument)
        else:
            flags.append(argument)
    return [*flags, *overrides, *deletions]


def plain_groups(words: Sequence[str], groups: Collection[str]) -> list[str]:
    """Write `+GROUP=ENTRY`, as other programs of Hydra are used, as `GROUP=ENTRY`: every group has
    its place here.
    """
    plain = []
    for argument in words:
        match = ADDED_GROUP.fullmatch(argument)
        if match is not None and match["group"] in groups:
            argument = argument.lstrip("+")
        plain.append(argument)
    return plain


def other_command(name: str) -> str:
    """Return the command that is not this one: `train` or `evaluate`."""
    if name == "train":
        return "evaluate"
    return "train"


def refuse_null_groups(words: Sequence[str], conf: Path) -> None:
    """Check that no config group is set to null or deleted, which Hydra answers with a traceback or
    a riddle.

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
        group = match["group"] or match["deleted"]
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


def refuse_other_groups(
    words: Sequence[str], name: str, groups: Collection[str], others: Collection[str]
) -> None:
    """Check that each group is one of this command.

    Args:
        words: the command line.
        name: the command.
        groups: its groups.
        others: those of the other command.

    Raises:
        UserError: a group belongs to the other command alone.
    """
    for argument in words:
        group, equals, _ = argument.lstrip("+").partition("=")
        if equals and group in others and group not in groups:
            raise UserError(
                f"{argument} chooses for {other_command(name)}.py; the groups of {name}.py are: "
                f"{', '.join(groups)}"
            )


def refuse_ignored_flags(words: Sequence[str]) -> None:
    """Check the flags of Hydra that would be read and do nothing, or replace this project's config.

    Raises:
        UserError: there is one; the line says what to write instead.
    """
    flags = [argument.partition("=")[0] for argument in words if argument.startswith("-")]
    for flag in flags:
        if flag in NEEDS_CFG and not {"-c", "--cfg"} & set(flags):
            raise UserError(
                f"{flag} has no effect without --cfg job, which prints the config and runs nothing"
            )
        if flag in REPLACES_CONFIG:
            raise UserError(
                f"{flag} is not allowed: put your file into DIR/experiment/NAME.yaml and write "
                f"--config-dir=DIR experiment=NAME"
            )


def refuse_ignored_hydra(words: Sequence[str]) -> None:
    """Check the overrides of Hydra's own keys: what is read and has no effect is refused.

    Raises:
        UserError: a key has none; the line says what there is in its place.
    """
    for argument in words:
        key = key_of(argument)
        if not key.startswith(("hydra.", "hydra/")) or below(key, READ_BY_HYDRA):
            continue
        reason = reason_ignored(key)
        if reason is None:
            raise UserError(f"{argument} has no effect; {READ}")
        raise UserError(f"{argument} has no effect: {reason}")
    for argument in words:
        key, _, value = argument.lstrip("+").partition("=")
        if key == "hydra/sweeper" and value != "study":
            raise UserError(
                f"{argument} is not allowed: sweeps are checked and continued by "
                f"hydra/sweeper=study, the default"
            )


def key_of(argument: str) -> str:
    """Return the key that an override sets, adds or deletes."""
    return argument.lstrip("+~").partition("=")[0]


def reason_ignored(key: str) -> str | None:
    """Say why one of Hydra's keys has no effect here; None if there is no special reason."""
    for name, reason in IGNORED.items():
        if below(key, (name,)):
            return reason
    return None


def refuse_sweep_keys(overrides: Sequence[str]) -> None:
    """Check that a single run is given nothing that only a sweep reads.

    Raises:
        UserError: a launcher of jobs, or an axis, without -m.
    """
    for override in overrides:
        if below(key_of(override), OF_SWEEPS):
            raise UserError(
                f"{override} has no effect on a single run: add -m, which makes a sweep"
            )


def refuse_changed_settings(settings: DictConfig) -> None:
    """Check Hydra's settings after all files were merged: a file of the user's may hold what has no
    effect.

    Raises:
        UserError: one is not what conf/ says.
    """
    for key, expected in FIXED.items():
        value = OmegaConf.select(settings, key)
        if value != expected:
            reason = reason_ignored(f"hydra.{key}")
            raise UserError(f"hydra.{key}={value} in a config file has no effect: {reason}")


def below(key: str, names: Sequence[str]) -> bool:
    """Tell whether a key is one of some names, or stands below one."""
    for name in names:
        if key == name or key.startswith((f"{name}.", f"{name}/", f"{name}@")):
            return True
    return False
