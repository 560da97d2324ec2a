"""In which precision a model is trained and answers: stated by the model, so that two people get
one result.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from warmth.build import build
from warmth.entries import named_model
from warmth.errors import UserError
from warmth.models import choose_dtype, hub_file
from warmth.schemas import Evaluate, Model, Train

DTYPES = ("float32", "bfloat16", "float16")
TRAINED = ("float32", "bfloat16")  # float16 needs loss scaling, which nothing here does


def dtype_of(model: Model) -> str:
    """Return the dtype a model states: in its entry, else in its own `config.json`, else float32.

    Raises:
        UserError: the hub's file could not be had.
    """
    if model.dtype is not None:
        return model.dtype
    if model.path:
        file = Path(model.path) / "config.json"
    elif model.kind == "hub" and model.hub_id:
        file = hub_file(model, "config.json")
    else:
        return "float32"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"model={model.name}: {file} cannot be read") from error
    stated = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix(
        "torch."
    )
    return stated if stated in DTYPES else "float32"


def settle_precision(config: Train | Evaluate) -> None:
    """Replace `null` by the model's own dtype and `auto` by what this machine multiplies fastest,
    before any digest.

    Raises:
        UserError: a file that states a dtype could not be had.
    """
    recipe = config.recipe
    if recipe.precision is None and recipe.method == "none":
        # nothing is trained, and a model behind a server need not be here to be asked
        recipe.precision = "float32"
    elif recipe.precision is None:
        stated = dtype_of(config.model)
        recipe.precision = stated if stated in TRAINED else "bfloat16"
    elif recipe.precision == "auto":
        recipe.precision = _measured()
    rewriter = config.data.rewriter
    if config.data.styles and rewriter.base_url is None:
        if rewriter.dtype is None:
            rewriter.dtype = dtype_of(named_model(rewriter.model, "data.rewriter.model"))
        elif rewriter.dtype == "auto":
            rewriter.dtype = _measured()
    if isinstance(config, Evaluate) and config.model.kind != "api":
        config.engine = _settled_engine(config)


def _settled_engine(config: Evaluate) -> dict[str, object]:
    """Fill the dtype of an engine that computes in this process; a server's is its own."""
    entry = dict(config.engine)
    names = {engine_field.name for engine_field in fields(type(build(entry, "engine")))}
    if entry.get("dtype") == "auto":
        return {**entry, "dtype": _measured()}
    if "dtype" in names and entry.get("dtype") is None:
        return {**entry, "dtype": dtype_of(config.model)}
    return entry


def _measured() -> str:
    return str(choose_dtype("auto")).removeprefix("torch.")
