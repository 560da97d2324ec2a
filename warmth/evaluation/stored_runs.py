"""What `run=FOLDER` takes from a run folder, which may be a stranger's: what identifies the arm,
and nothing else.

A folder says which weights, data, recipe and seed are meant. It never says where a request or a key
is sent, and it names no file outside this project and the folder of runs, unless this command line
names the same file.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import OmegaConf

from warmth.bounds import check_allowed
from warmth.config import check_names
from warmth.entries import entry_files
from warmth.errors import UserError
from warmth.models import locate
from warmth.paths import ROOT
from warmth.schemas import Data, Evaluate, Model, Recipe
from warmth.store import read_json
from warmth.used_keys import check_used

FILES = (  # keys that name a file or a folder
    "model.path",
    "model.chat_template",
    "data.path",
    "data.frame",
    "data.meaning_prompt",
    "recipe.prompt",
    "recipe.system_prompt",
    "recipe.shots",
)


def from_run(study: Evaluate) -> Evaluate:
    """Return the study with model, data, recipe and seed of the run that `run=FOLDER` names;
    without it, as it is.

    Raises:
        UserError: the folder is no run folder, its config is not this version's, a local model
            folder is incomplete, or the folder names a server or a file that this command line does
            not.
    """
    if study.run is None:
        if study.model.path:
            locate(study.model)  # before its files are hashed: a mistyped folder may hold anything
        return study
    config = read_json(Path(study.run) / "config.json")
    try:
        stored = {
            "model": Model(**config["model"]),
            "data": Data(**config["data"]),
            "recipe": Recipe(**config["recipe"]),
        }
        named = replace(study, **stored, seed=int(config["seed"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"run={study.run}: its config.json is not that of a training or evaluation run "
            f"({error})"
        ) from error
    named.model = with_own_server(named.model, study)
    check_rewriter(named)
    named.data = replace(named.data, rewriter=replace(named.data.rewriter, api_key_env=None))
    check_files(named, study)
    check_allowed(named)
    check_names(named)
    check_used(named)
    return named


def with_own_server(model: Model, study: Evaluate) -> Model:
    """Return a served model with the address and the key's variable of this project's own entry,
    never the folder's.

    Raises:
        UserError: no entry and no `engine.base_url` names the server.
    """
    if model.kind != "api":
        return replace(model, api_key_env=None)
    host = urlsplit(model.base_url or "").hostname
    for file in entry_files("model").values():
        entry = OmegaConf.load(file)
        if (
            entry.get("api_model") == model.api_model
            and urlsplit(entry.get("base_url") or "").hostname == host
        ):
            return replace(model, base_url=entry.base_url, api_key_env=entry.get("api_key_env"))
    given = study.engine.get("base_url")
    if given and urlsplit(given).hostname == host:
        return replace(model, base_url=given, api_key_env=None)
    raise UserError(
        f"run={study.run}: its model.base_url={model.base_url} is no server of an entry of "
        f"conf/model/; if you trust "
        "it, name it yourself: engine.base_url=URL, and engine.api_key_env=NAME if it needs a key"
    )


def check_rewriter(named: Evaluate) -> None:
    """Check that making a steering vector would ask no server of the folder's choice to rewrite
    replies.

    Raises:
        UserError: it would.
    """
    url = named.data.rewriter.base_url
    if named.recipe.method != "steer" or not named.data.styles or url is None:
        return
    hosts = set()
    for file in entry_files("data").values():
        rewriter = OmegaConf.load(file).get("rewriter") or {}
        hosts.add(urlsplit(rewriter.get("base_url") or "").hostname)
    if urlsplit(url).hostname not in hosts:
        raise UserError(
            f"run={named.run}: its data.rewriter.base_url={url} is no server of an entry of "
            f"conf/data/"
        )


def check_files(named: Evaluate, study: Evaluate) -> None:
    """Check that a folder names files of this project, of the folder of runs, or of this command
    line alone.

    Raises:
        UserError: it names another file; the line names the key.
    """
    trusted = [ROOT, Path(study.output).resolve()]
    values = {key: lookup(named, key) for key in FILES}
    for style, prompt_file in named.data.prompts.items():
        values[f"data.prompts.{style}"] = prompt_file
    for number, name in enumerate(named.data.questions):
        values[f"data.questions.{number}"] = name
    for key, value in values.items():
        if value is None or value == lookup(study, key):
            continue
        path = Path(value)
        is_trusted = False
        for resolved_path in (path.resolve(), (ROOT / path).resolve()):
            if any(map(resolved_path.is_relative_to, trusted)):
                is_trusted = True
        if not is_trusted:
            raise UserError(
                f"run={study.run}: its {key}={value} lies outside this project and "
                f"output={study.output}; if you trust it, give {key}={value} on this command line"
            )


def lookup(config: Any, key: str) -> Any:
    """Return the value of a dotted key of nested dataclasses, dictionaries and lists; None if it is
    not there.
    """
    for key_part in key.split("."):
        if is_dataclass(config):
            names = {config_field.name for config_field in fields(config)}
            config = getattr(config, key_part) if key_part in names else None
        elif isinstance(config, dict):
            config = config.get(key_part)
        elif isinstance(config, list):
            config = config[int(key_part)] if int(key_part) < len(config) else None
    return config
