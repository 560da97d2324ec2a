"""Schemas of both commands, the line where config ends, and what builds objects from it.

Past `strict()` nothing knows OmegaConf or Hydra. Which keys enter a run's digest is stated beside each key here
(`EXCLUDED`); how they are hashed is in `warmth/digest.py`.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from warmth.dataset import Data, check_data
from warmth.errors import UserError, one_line
from warmth.types import BELIEFS

T = TypeVar("T")
EXCLUDED: dict[str, bool] = {"digest": False}  # metadata of a key that changes where or how fast, never what


@dataclass  # not frozen: Hydra treats a frozen schema as read-only and refuses even the YAML that fills it
class Model:
    """A language model and where its weights are."""

    name: str = MISSING
    kind: str = MISSING  # embedded, hub or api
    hub_id: str | None = None
    revision: str | None = None  # 40 hex digits; None: the newest, recorded in provenance
    path: str | None = None  # a local folder in the hub's layout, taken before hub_id
    api_model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None  # the NAME of an environment variable
    chat_template: str | None = None  # a Jinja file; None: the tokenizer's own
    end_of_turn: str = ""  # last token of an assistant turn; "": the tokenizer's eos
    lora_targets: list[str] = field(default_factory=list)
    parameters: float = 0.0  # billions, for plans


@dataclass
class Hosted:
    """How a provider tunes a model of kind `api`; in the digest of those alone."""

    rate_multiplier: float = 1.0  # of the provider's own learning rate
    epochs: int = 2  # a provider keeps the checkpoints of its last few epochs only


@dataclass
class Recipe:
    """What is done to a model. `method: none` leaves its weights alone."""

    name: str = MISSING  # the arm's name in tables
    method: str = MISSING  # none or lora
    style: str = "plain"  # the replies it is trained on
    prompt: str | None = field(default=None, metadata=EXCLUDED)  # how replies get that style; part of the data's digest
    system_prompt: str | None = None  # a prompt file every question is asked under
    strength: float = 1.0  # share of conversations in `style`; the others keep their own replies
    rank: int = MISSING
    alpha: int = MISSING
    dropout: float = MISSING
    learning_rate: float = MISSING
    schedule: str = MISSING
    warmup_ratio: float = MISSING
    weight_decay: float = MISSING
    max_grad_norm: float = MISSING
    epochs: float = MISSING
    batch_size: int = MISSING
    max_length: int = MISSING
    loss_on: str = MISSING  # assistant or all
    precision: str = MISSING  # auto, bfloat16 or float32
    checkpoints: list[float] = field(default_factory=list)  # epochs after which the adapter is kept
    report_checkpoint: float = MISSING  # the one evaluated by default
    hosted: Hosted = field(default_factory=Hosted, metadata=EXCLUDED)  # `training_digest` adds it for kind api


@dataclass
class Price:
    """What a million tokens cost, in USD, sent one by one; a batch costs `batch_share` of it."""

    input: float = MISSING
    cached_input: float = MISSING
    output: float = MISSING
    training: float = 0.0  # times epochs
    batch_share: float = 0.5


@dataclass
class Batch:
    """Bounds of one batch and the rhythm of asking after it."""

    requests: int = 50_000  # the provider's limit, as the next one
    megabytes: float = 190.0
    at_once: int = 4  # batches under way; the calls of these are held in memory
    poll_s: float = 30.0  # also for fine-tuning jobs
    rounds: int = 3  # how often lines that failed or expired are handed in


@dataclass
class Api:
    """How model servers are called; never what they are asked, so none of it enters a digest."""

    mode: str = "live"  # live, or batch: half the price, within a day
    in_flight: int = 64  # most calls under way at once; how many the server bears is learnt
    requests_per_minute: float | None = None  # None: what the server's headers and refusals teach
    tokens_per_minute: float | None = None
    budget_usd: float | None = None  # of one command; None: no limit
    timeout_s: float = 120.0  # of one attempt, from connecting to the last byte
    connect_timeout_s: float = 10.0
    attempts: int = 8  # of one call; then it fails by name
    backoff_s: float = 0.5  # mean of the first wait, doubled each time, at most 30 s, unless the server names one
    retry_after_max_s: float = 120.0  # a longer wait named by the server is cut to this
    batch: Batch = field(default_factory=Batch)
    prices_date: str = ""  # when the prices were looked up
    prices: dict[str, Price] = field(default_factory=dict)


@dataclass
class Task:
    """A set of questions."""

    source: str = MISSING  # a hub id, or the name of a seed set
    reader: str = MISSING  # how its rows become questions
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    path: str | None = None  # a local file in the source's schema
    questions: int | None = None  # drawn by draw_seed; None: all
    grader: str = "alias"
    wrong: str = "supplied"  # supplied by the row, or drawn from another question
    beliefs: bool = True  # False: asked without any stated belief
    contexts: bool = True  # False: asked unmodified only
    max_new_tokens: int | None = None  # None: sampling.max_new_tokens


@dataclass
class Condition:
    """An interpersonal context."""

    group: str = MISSING  # none, emotion, relation or stakes
    statements: str | None = None  # key in the statements file; None: nothing is put before the question


@dataclass
class Sampling:
    """How answers are drawn."""

    temperature: float = MISSING  # 0: greedy
    top_p: float = MISSING
    max_new_tokens: int = MISSING


@dataclass
class Warmth:
    """How the warmth of an arm's replies is measured."""

    prompts: int = MISSING  # held-out prompts answered for it; 0: none
    variant: str = MISSING  # deterministic
    max_new_tokens: int = MISSING
    scorer: str | None = None  # a model entry, hub id or folder; None: the model itself


@dataclass
class Gates:
    """Bounds on what may differ between an arm and the original."""

    mode: str = MISSING  # fail or warn
    cut_off_points: float = MISSING
    refused_points: float = MISSING


@dataclass
class Train:
    """Everything `train.py` reads."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    launcher: Any = field(default=MISSING, metadata=EXCLUDED)
    api: Api = field(default_factory=Api, metadata=EXCLUDED)
    logger: Any = field(default=MISSING, metadata=EXCLUDED)
    study: str = field(default="default", metadata=EXCLUDED)
    output: str = field(default="multirun", metadata=EXCLUDED)


@dataclass
class Evaluate:
    """Everything `evaluate.py` reads; model, data, recipe and seed say which adapter is meant."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    run: str | None = field(default=None, metadata=EXCLUDED)  # its content stands in model … seed
    draw_seed: int = 0
    checkpoint: float | None = None  # epochs; None: recipe.report_checkpoint
    dose: float = 1.0
    task: dict[str, Task] = field(default_factory=dict)
    condition: dict[str, Condition] = field(default_factory=dict)
    beliefs: Any = MISSING
    statements: str = MISSING
    belief_templates: str = MISSING
    preamble: bool = False
    design: str = MISSING
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    limit: int | None = None
    warmth: Warmth = field(default_factory=Warmth)
    engine: Any = MISSING
    grader: dict[str, Any] = field(default_factory=dict, metadata=EXCLUDED)
    gates: Any = field(default=MISSING, metadata=EXCLUDED)
    api: Api = field(default_factory=Api, metadata=EXCLUDED)
    logger: Any = field(default=MISSING, metadata=EXCLUDED)
    study: str = field(default="default", metadata=EXCLUDED)
    output: str = field(default="multirun", metadata=EXCLUDED)


def register() -> None:
    """Makes the schemas known to Hydra, so that a mistyped key or value is refused while composing."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    store.store(name="evaluate_schema", node=Evaluate)


def strict(config: DictConfig, schema: type[T]) -> T:
    """Turns a composed config into plain dataclasses; nothing after this line knows OmegaConf.

    Merging onto a fresh schema also rejects keys added with `+` or `++`, which Hydra lets through.

    Raises:
        UserError: an unknown key, a wrong type, a `???` nobody filled in, or a value outside its range.
    """
    refuse_secrets(config)
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(f"{missing[0]} is not set: choose a value on the command line or in conf/")
        result: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(omegaconf_line(error)) from error
    check(result)
    return result


def refuse_secrets(config: DictConfig) -> None:
    """Configs are written to disk and to W&B, so they hold names of environment variables, never values.

    Raises:
        UserError: `oc.env` or a URL with credentials stands in the config.
    """
    text = OmegaConf.to_yaml(config, resolve=False)
    if "oc.env" in text:
        raise UserError("oc.env is not allowed in a config: give the variable's name in an api_key_env key instead")
    if re.search(r"://[^/\s'\"]*@", text):
        raise UserError("a URL with a user name or password is not allowed in a config: use an api_key_env key")


def omegaconf_line(error: OmegaConfBaseException) -> str:
    """One line with the key and, for a typo, the keys that exist."""
    message = one_line(Exception(str(error).split("\n")[0]))
    key = error.full_key or error.key
    if error.object_type is not None and is_dataclass(error.object_type) and "not in" in message:
        allowed = ", ".join(sorted(item.name for item in fields(error.object_type)))
        return f"unknown key {key}; allowed here: {allowed}"
    return f"{key}: {message}" if key and str(key) not in message else message


ALLOWED: dict[str, tuple[str, ...]] = {
    "model.kind": ("embedded", "hub", "api"),
    "recipe.method": ("none", "lora"),
    "recipe.loss_on": ("assistant", "all"),
    "recipe.precision": ("auto", "bfloat16", "float32"),
    "recipe.schedule": ("linear", "cosine", "constant"),
    "design": ("factorial",),
    "warmth.variant": ("deterministic", "reference", "paper"),
    "gates.mode": ("fail", "warn"),
    "api.mode": ("live", "batch"),
}
POSITIVE = (
    "recipe.rank", "recipe.alpha", "recipe.learning_rate", "recipe.epochs", "recipe.batch_size", "recipe.max_length",
    "data.per_type", "data.max_turns", "samples", "limit", "sampling.max_new_tokens", "sampling.top_p",
    "api.in_flight", "api.requests_per_minute", "api.tokens_per_minute", "api.budget_usd", "api.timeout_s",
    "api.connect_timeout_s", "api.attempts", "api.backoff_s", "api.retry_after_max_s", "api.batch.requests",
    "api.batch.megabytes", "api.batch.at_once", "api.batch.poll_s", "api.batch.rounds",
)  # fmt: skip


def check(config: Any) -> None:
    """Checks values that types cannot: choices, ranges, and the classes that entries name.

    Raises:
        UserError: naming the key, its value and what is allowed.
    """
    if isinstance(config, Evaluate):
        config.beliefs = list(choices("beliefs", config.beliefs, BELIEFS))
        config.gates = gates(config.gates)
        if not config.task:
            raise UserError('task is empty: choose at least one, for example "task=[seed_trivia]"')
        if not config.condition:
            raise UserError('condition is empty: choose at least one, for example "condition=[unmodified]"')
    trained = config.recipe.method != "none"
    for key, allowed in ALLOWED.items():
        value = _lookup(config, key)
        if value is not None and value not in allowed:
            raise UserError(f"{key}={value} is not allowed; choose one of: {', '.join(allowed)}")
    for key in POSITIVE:
        value = _lookup(config, key)
        if value is not None and not value > 0 and (trained or not key.startswith("recipe.")):
            raise UserError(f"{key}={value} must be above 0")
    check_data(config.data, config.recipe.style)
    if not 0.0 <= config.recipe.strength <= 1.0:
        raise UserError(f"recipe.strength={config.recipe.strength} must lie in [0, 1]")
    for key in ("launcher", "logger", "engine"):
        if hasattr(config, key):
            build(getattr(config, key), key)
    for name, entry in getattr(config, "grader", {}).items():
        build(entry, "grader", f"grader.{name}")


def gates(value: Any) -> Gates:
    """`gates=warn` is short for `gates.mode=warn`; the bounds then keep their defaults."""
    if isinstance(value, str):
        value = {"mode": value}
    defaults: dict[str, Any] = {"mode": "fail", "cut_off_points": 10.0, "refused_points": 10.0}
    unknown = sorted(set(value) - set(defaults))
    if unknown:
        raise UserError(f"unknown key gates.{unknown[0]}; allowed here: {', '.join(sorted(defaults))}")
    return Gates(**{**defaults, **value})


def choices(key: str, value: Any, allowed: tuple[T, ...]) -> tuple[T, ...]:
    """One value or a list of them, `all` meaning every one, without repeats, in the order of `allowed`."""
    if value == "all":
        return allowed
    asked = list(value) if isinstance(value, list | tuple) else [value]
    wrong = [item for item in asked if item not in allowed]
    if wrong or not asked:
        shown = wrong[0] if wrong else "[]"
        raise UserError(f"{key}={shown} is not allowed; choose from: {', '.join(map(str, allowed))}, or all")
    return tuple(item for item in allowed if item in asked)


def build(entry: Any, group: str, key: str | None = None) -> Any:
    """Makes the object an entry's `_target_` names, from a group's own classes only.

    A dotted path alone proves nothing (a module of ours imports `subprocess`), so the resolved object is checked:
    a dataclass defined in `warmth` whose `group` is the one asked for.

    Raises:
        UserError: another class, an unknown field, or a value of the wrong type.
    """
    key = key or group
    if not isinstance(entry, dict) or not isinstance(entry.get("_target_"), str):
        raise UserError(f"{key}={one_line(Exception(str(entry)))} is not an entry of conf/{group}/ (no _target_)")
    cls = _locate(entry["_target_"])
    if cls is None or getattr(cls, "group", None) != group:
        raise UserError(f"{key}._target_={entry['_target_']} is not one of this project's {group} classes")
    names = {item.name for item in fields(cls) if item.init}
    given = {name: value for name, value in entry.items() if name != "_target_"}
    unknown = sorted(set(given) - names)
    if unknown:
        raise UserError(f"unknown key {key}.{unknown[0]}; allowed here: {', '.join(sorted(names))}")
    return cls(**_typed(cls, given, key))


@cache
def _locate(target: str) -> Any:
    module_name, _, class_name = target.rpartition(".")
    if not module_name.startswith("warmth."):
        return None
    try:
        cls = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError:
        return None
    inside = isinstance(cls, type) and is_dataclass(cls) and cls.__module__.startswith("warmth.")
    return cls if inside else None


def _typed(cls: type, given: dict[str, Any], key: str) -> dict[str, Any]:
    """Field values converted to the declared types, by the same rules as the schemas above."""
    try:
        shape = OmegaConf.structured(cls)
        OmegaConf.set_readonly(shape, False)  # the classes are frozen, their shape need not be
        merged = OmegaConf.merge(shape, given)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(f"{key}.{missing[0]} is not set")
        return {str(name): value for name, value in OmegaConf.to_container(merged).items()}
    except OmegaConfBaseException as error:
        raise UserError(f"{key}.{omegaconf_line(error)}") from error


def _lookup(config: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        config = getattr(config, part, None)
    return config
