"""What may stand behind `model=`: an entry's name, `org/name[@revision]` of the hub, or a folder
(`./x`, `/x`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from warmth.errors import UserError
from warmth.schemas import Model

HUB_ENTRY = "hub"  # conf/model/hub.yaml: a model that no entry describes
HUB_ID = re.compile(
    r"(?P<owner>\w[\w.-]*)/(?P<name>\w[\w.-]*)(?:@(?P<revision>\w[\w.-]*))?", re.ASCII
)
# Names that a provider points to another model at will, and how the models behind them are told
# apart.
HOSTED = re.compile(r"(?:^|[/:])(?:gpt-\d|chatgpt-|o\d\b|claude-|gemini-)|-latest$")
DATED = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}|-\d{3,4}(?!\w)")


def expand(overrides: Sequence[str], entries: Collection[str]) -> list[str]:
    """Replace `model=org/name` and `model=./folder` by overrides of conf/model/hub.yaml.

    An entry's name wins, and so does a list of several values, which a sweep expands one by one.

    Args:
        overrides: the arguments of a command, or of one job of a sweep.
        entries: the names of the entries of conf/model/.
    """
    expanded: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        text = value.strip("'\"")
        if key != "model" or text in entries:
            expanded.append(override)
        elif text.startswith(("./", "../", "/", "~/")):
            expanded += _folder_overrides(text)
        elif (match := HUB_ID.fullmatch(text)) is not None:
            expanded += _hub_overrides(match)
        else:
            expanded.append(override)
    return expanded


def _folder_overrides(text: str) -> list[str]:
    folder = Path(text).expanduser()
    name = re.sub(r"[^\w.-]", "-", folder.resolve().name).lstrip("-.") or "folder"
    return [
        f"model={HUB_ENTRY}",
        f"model.path={_quoted(str(folder))}",
        f"model.name={_quoted(name)}",
    ]


def _hub_overrides(match: re.Match[str]) -> list[str]:
    hub_id = f"{match['owner']}/{match['name']}"
    folder_name = f"{match['owner']}--{match['name']}"
    overrides = [
        f"model={HUB_ENTRY}",
        f"model.hub_id={_quoted(hub_id)}",
        f"model.name={_quoted(folder_name)}",
    ]
    if match["revision"] is not None:
        overrides.append(f"model.revision={_quoted(match['revision'])}")
    return overrides


def _quoted(text: str) -> str:
    """Quote a value for Hydra's grammar, in which a quotation mark is escaped."""
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def argument_of(model: Model, entries: Collection[str]) -> str:
    """Return what to write behind `model=` to choose this model again."""
    if model.name in entries:
        return model.name
    if model.path:
        return model.path if model.path.startswith(("/", "./", "../")) else f"./{model.path}"
    if model.revision:
        return f"{model.hub_id}@{model.revision}"
    return str(model.hub_id or model.name)


@cache
def check_model(model: str, key: str, hosted: bool = True) -> None:
    """Says once, on standard error, that a provider's name has no date: the model behind it may
    change under a study.

    Raises:
        UserError: the name is empty.
    """
    if not (model or "").strip():
        raise UserError(f"{key} is empty; name a model")
    if hosted and HOSTED.search(model) and not DATED.search(model):
        print(
            f"{key}={model} may come to mean another model; name a dated one where there is one",
            file=sys.stderr,
        )
