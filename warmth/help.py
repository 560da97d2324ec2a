"""What `--help` prints: the choices with what each is, and every key with its comment, read from
`conf/` as it stands.

Hydra's own page lists names without meanings, and takes seconds to gather them.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

from warmth.bounds import allowed_words
from warmth.command_line import other_command, typed
from warmth.entries import entry_files
from warmth.paths import ROOT
from warmth.schemas import Evaluate, Train

WIDTH_OF_A_FILE = 120  # columns where the help goes to a file or a pipe
MIN_WIDTH = 60
NAME_WIDTH = 23
SENTENCE_END = re.compile(r"[.?!](?=\s+[A-Z`]|$)")
SCHEMAS = {"train": Train, "evaluate": Evaluate}

HEAD = {
    "train": "Fine-tunes a model on one arm's conversations: a LoRA adapter with checkpoints.",
    "evaluate": "Asks an arm the questions under every condition, grades the answers and scores "
    "their warmth.",
}
EXAMPLES = {
    "train": """
        python train.py                                    the demo's warm arm on the embedded model
        python train.py model=llama8b recipe=cold seed=1   one run with the study's values
        python train.py -m recipe=warm,cold seed=0,1       a sweep of four runs; again, it continues
        python train.py launcher.ranks=4                   on four of this machine's GPUs
    """,
    "evaluate": """
        python evaluate.py recipe=none                          the original model
        python evaluate.py -m recipe=none,warm "condition=all"  two arms under the nine contexts
        python evaluate.py run=FOLDER "task=[triviaqa,medqa]"   the adapter of a finished training
    """,
}
GROUPS = {
    "train": (
        "model",
        "data",
        "recipe",
        "launcher",
        "api",
        "logger",
        "experiment",
        "hydra/launcher",
    ),
    "evaluate": (
        "model",
        "data",
        "recipe",
        "task",
        "condition",
        "grader",
        "engine",
        "api",
        "logger",
        "experiment",
        "hydra/launcher",
    ),
}
KEY_HEADING = (
    "Keys, KEY=VALUE; a chosen entry's keys as GROUP.KEY=VALUE (docs/reference.md has them all):"
)
CHOICE_HEADING = (
    'Choices, GROUP=ENTRY (several with quotes: "GROUP=[A,B]" for task, condition, grader, logger):'
)
FLAGS = (
    "-m sweeps over comma-separated values; --cfg job prints the composed config; "
    "--config-dir=DIR adds entries of your own; --version; --hydra-help, Hydra's flags."
)


def page(name: str) -> str:
    """Write the help of `train.py` or `evaluate.py`, as wide as the terminal; nothing is cut."""
    width = max(MIN_WIDTH, shutil.get_terminal_size((WIDTH_OF_A_FILE, 24)).columns)
    examples = textwrap.dedent(EXAMPLES[name]).strip("\n").replace(f"python {name}.py", typed(name))
    lines = [HEAD[name], "", "Examples:", textwrap.indent(examples, "  ")]
    lines += ["", *wrapped(CHOICE_HEADING, width), ""]
    for group in GROUPS[name]:
        lines.append(f"  {group}")
        for path in chosen_entries(name, group):
            meaning = _meaning(path.read_text("utf-8"))
            lines += wrapped(f"    {path.stem:<{NAME_WIDTH}} {meaning}", width, 5 + NAME_WIDTH)
    lines += ["", *wrapped(KEY_HEADING, width), ""]
    keys = _keys((ROOT / "conf" / f"{name}.yaml").read_text("utf-8"))
    for line in with_allowed(keys, SCHEMAS[name]):
        lines += wrapped_comment(f"  {line}", width)
    return "\n".join([*lines, "", *wrapped(FLAGS, width)])


def wrapped(line: str, width: int, indent: int = 0) -> list[str]:
    """Break a line at the width; what goes on is indented."""
    return textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def wrapped_comment(line: str, width: int) -> list[str]:
    """Break the comment of a key's line; it goes on below its own beginning, or near the key if
    that is far right.
    """
    match = re.search(r" #(?= )", line)
    if len(line) <= width or match is None:
        return [line]
    column = min(match.start() + 1, width // 2)
    comment = textwrap.wrap(line[match.end() :].strip(), width - column - 2, break_long_words=False)
    broken = [" " * column + f"# {text}" for text in comment]
    if column < match.start() + 1:  # the value alone fills half of the line
        return [line[: match.start()].rstrip(), *broken]
    return [line[:column] + broken[0].lstrip(), *broken[1:]]


def chosen_entries(name: str, group: str) -> list[Path]:
    """List the files of the entries that a command may choose from, those of the user's own folder
    too.
    """
    paths = []
    for path in entry_files(group).values():
        is_inherited = (group, path.stem) == ("recipe", "lora")
        is_foreign = group == "experiment" and not is_for(name, path)
        if not is_inherited and not is_foreign:
            paths.append(path)
    return paths


def is_for(name: str, experiment: Path) -> bool:
    """Tell whether an experiment belongs to a command: by its suffix; one of the user's own may
    have none.
    """
    if experiment.is_relative_to(ROOT / "conf"):
        return experiment.stem.endswith(f"_{name}")
    return not experiment.stem.endswith(f"_{other_command(name)}")


def _meaning(text: str) -> str:
    """Read the first line of a file's header comment, in whole sentences: what goes on below is
    left out or added.

    Returns:
        "" where there is no comment, as in an entry of the user's own.
    """
    heads = []
    for line in text.splitlines():
        if line.startswith("# ") and "@package" not in line:
            heads.append(line.lstrip("# ").strip())
    if not heads:
        return ""
    comment = " ".join(heads)
    end = None
    for match in SENTENCE_END.finditer(comment):
        if end is None or match.end() <= len(heads[0]):
            end = match.end()
    if end is None:
        return heads[0]
    return comment[:end]


def with_allowed(lines: list[str], schema: type) -> list[str]:
    """Add to each key's comment what a schema allows, if the comment does not list it."""
    parents: list[str] = []
    shown = []
    for line in lines:
        key = re.match(r"( *)(\w+):", line)
        if key is not None:
            parents[len(key[1]) // 2 :] = [key[2]]
            allowed = allowed_words(schema, ".".join(parents))
            if allowed and not allowed.startswith("one of") and "#" in line:
                line = f"{line} ({allowed})"
        shown.append(line)
    return shown


def _keys(text: str) -> list[str]:
    """List the lines of the command's own keys: no defaults list, no settings of Hydra."""
    lines: list[str] = []
    is_own = False
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            is_own = not line.startswith(("defaults:", "hydra:"))
        if is_own and line.strip():
            lines.append(line)
    return joined_comment(lines)


def joined_comment(lines: list[str]) -> list[str]:
    """Join a comment that goes on below its key, as far to the right, to the line of the key."""
    result: list[str] = []
    for line in lines:
        goes_on = line.strip().startswith("#") and len(line) - len(line.lstrip()) > 8
        if goes_on and result and "#" in result[-1]:
            result[-1] += " " + line.strip().lstrip("# ")
        else:
            result.append(line)
    return result
