"""What `--help` prints: the choices with what each is, and every key with its comment, read from `conf/` as it stands.

Hydra's own page lists names without meanings, and takes seconds to gather them.
"""

from __future__ import annotations

import re
import textwrap

from warmth.bounds import allowed_words
from warmth.digest import ROOT
from warmth.entries import entry_files
from warmth.schemas import Evaluate, Train

SCHEMAS = {"train": Train, "evaluate": Evaluate}

HEAD = {
    "train": "Fine-tunes a model on one arm's conversations: a LoRA adapter with checkpoints.",
    "evaluate": "Asks an arm the questions under every condition, grades the answers and scores their warmth.",
}
EXAMPLES = {
    "train": """
        python train.py                                             the demo's warm arm on the embedded model
        python train.py model=llama8b recipe=cold seed=1            one run with the study's values
        python train.py -m recipe=warm,cold,untransformed seed=0,1  a sweep of six runs; again, it continues
        python train.py launcher.ranks=4                            on four of this machine's GPUs
    """,
    "evaluate": """
        python evaluate.py recipe=none                              the original model
        python evaluate.py -m recipe=none,warm "condition=all"      two arms under the nine contexts
        python evaluate.py run=FOLDER "task=[triviaqa,medqa]"       the adapter of a finished training run
    """,
}
GROUPS = {
    "train": ("model", "data", "recipe", "launcher", "api", "logger", "experiment", "hydra/launcher"),
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


def page(name: str) -> str:
    """Write the help of `train.py` or `evaluate.py`."""
    lines = [HEAD[name], "", "Examples:", textwrap.indent(textwrap.dedent(EXAMPLES[name]).strip("\n"), "  ")]
    lines += ["", 'Choices, GROUP=ENTRY (several with quotes: "GROUP=[A,B]" for task, condition, grader):', ""]
    for group in GROUPS[name]:
        lines.append(f"  {group}")
        lines += [f"    {path.stem:<20} {_meaning(path.read_text('utf-8'))}" for path in _entries(name, group)]
    lines += ["", "Keys, KEY=VALUE; a chosen entry's keys as GROUP.KEY=VALUE (docs/reference.md has them all):", ""]
    keys = _keys((ROOT / "conf" / f"{name}.yaml").read_text("utf-8"))
    lines += [f"  {line}" for line in with_allowed(keys, SCHEMAS[name])]
    lines += [
        "",
        "-m sweeps over comma-separated values; --cfg job prints the composed config; --hydra-help, Hydra's flags.",
    ]
    return "\n".join(lines)


def _entries(name: str, group: str) -> list:
    paths = list(entry_files(group).values())
    if group == "experiment":
        paths = [path for path in paths if path.stem.endswith(f"_{name}")]
    return [path for path in paths if (group, path.stem) != ("recipe", "lora")]  # inherited, not chosen


def _meaning(text: str) -> str:
    """Return the first sentence of a file's header comment."""
    head = next(line for line in text.splitlines() if line.startswith("# ") and "@package" not in line)
    return textwrap.shorten(head.lstrip("# "), 110, placeholder=" …")


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
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            blocks.append([])
        if blocks and line.strip():
            blocks[-1].append(line)
    return [line for block in blocks if not block[0].startswith(("defaults:", "hydra:")) for line in block]
