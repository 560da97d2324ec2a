"""The schema of `data=`: where conversations come from, which are taken, who rewrites them, what an
audit allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from omegaconf import MISSING

from warmth.bounds import SEED_LIMIT, check_allowed, choice, number, setting
from warmth.errors import UserError

TYPES = ("refusal", "factual", "creative", "technical", "advice", "other")
SOURCES = ("seed", "sharegpt", "hf", "jsonl")
STYLES = ("warm", "cold", "paraphrase", "warm_honest", "warm_empathy", "warm_we", "warm_informal")
FAULTS = (  # what the audit of a rewritten reply can find, in the order in which it looks
    "code",
    "equations",
    "urls",
    "quotes",
    "numbers",
    "units",
    "dates",
    "names",
    "lists",
    "headings",
    "tables",
    "emphasis",
    "length",
    "greeting",
    "emoji",
    "fillers",
    "manner",
    "meaning",
)


@dataclass
class TypeRule:
    """What makes a conversation one of a type: either expression is found in its first exchange, in
    lower case.
    """

    user: str | None = None  # searched in the user's message
    reply: str | None = None  # searched in the reply


@dataclass
class Columns:
    """How a row of a hub or JSONL source is read: ShareGPT's names, or a messages list's."""

    id: str = "id"
    turns: str = "conversations"  # the list of turns; `messages` in chat form
    speaker: str = "from"  # in each turn; `role` in chat form
    text: str = "value"  # in each turn; `content` in chat form


@dataclass
class Toxicity:
    """Which conversations are too toxic to train on."""

    classifier: str = choice("none", "profanity", "detoxify", "none")  # profanity, detoxify or none
    # of Detoxify: original, unbiased or multilingual
    variant: str = choice("original", "original", "unbiased", "multilingual")
    # a conversation goes when any of its messages scores above it
    threshold: float = number(0.5, at_least=0, at_most=1)


@dataclass
class Rewriter:
    """Who rewrites replies: one model on one OpenAI-compatible server, or in this process."""

    model: str = ""
    base_url: str | None = (
        ""  # None: `model` is an entry of conf/model/, a folder or a hub id, and runs here
    )
    # the NAME of an environment variable
    api_key_env: str | None = setting(None, excluded_because="says who pays, not what answers")
    identity: str = ""  # what the model's name does not say, such as the digest of local weights
    temperature: float = number(0.7, at_least=0, at_most=10)
    max_tokens: int = number(2048, at_least=1, at_most=1_000_000)
    context_chars: int = number(6000, at_least=0)
    attempts: int = number(2, at_least=1, at_most=1000)
    # of a model that runs here; in the digest of those alone
    dtype: str | None = choice(None, "auto", "bfloat16", "float16", "float32")
    # the same
    batch_size: int = number(8, at_least=1, excluded_because="how many replies are written at once")


@dataclass
class Data:
    """Where conversations come from, how many are taken, and in which manners their replies are
    rewritten.
    """

    name: str = setting(
        MISSING, excluded_because="names the entry; the conversations are known by their content"
    )
    source: str = choice(MISSING, *SOURCES)  # seed, sharegpt, hf or jsonl
    path: str | None = None
    # conversations of each of the six types; None: all there are
    per_type: int | None = number(None, at_least=1)
    max_turns: int = number(20, at_least=1)
    hub_id: str | None = None
    revision: str | None = None  # 40 hex digits
    file: str | None = None  # on the hub, for a source that is one file
    config: str | None = None
    split: str = "train"
    columns: Columns = field(default_factory=Columns)
    # the id of a part of a conversation: groups 1 and 2 are the conversation and the part's number
    parts: str = ""
    broken: str = choice("stop", "stop", "drop")  # stop at a row that cannot be read, or drop it
    languages: list[str] = field(default_factory=list)
    types: dict[str, TypeRule] = field(default_factory=dict)
    toxicity: Toxicity = field(default_factory=Toxicity)
    near_duplicate: float = number(0.7, at_least=0, at_most=1)
    questions: list[str] = field(default_factory=list)
    overlap_words: int = number(13, at_least=1)
    # in all, spread equally over the types; per_type goes first
    conversations: int | None = number(None, at_least=len(TYPES))
    held_out: int = number(0, at_least=0)
    # a type with too few: refuse, or spread its rest over the others
    short: str = choice("refuse", "refuse", "spread")
    # drawn beside, as a share, to replace conversations that are lost after the draw
    reserve: float = number(0.0, at_least=0, at_most=1)
    # fewer than `conversations` after the audit, reserve and all: keep them, or refuse
    short_of: str = choice("keep", "keep", "refuse", excluded_because="refuses a set, changes none")
    # share of the conversations that is not trained on
    validation: float = number(0.0, at_least=0, below=1)
    # models that must be able to train on every conversation
    fits: list[str] = field(default_factory=list)
    fit_tokens: int = number(1024, at_least=1)  # recipe.max_length of the arms
    draw_seed: int = number(0, at_least=0, at_most=SEED_LIMIT)
    styles: list[str] = field(default_factory=list)  # empty: replies stay as the source has them
    # None: the project's own
    prompts: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(STYLES))
    frame: str = "prompts/rewrite_frame_v1.txt"
    rewriter: Rewriter = field(default_factory=Rewriter)
    length_ratio: list[float] = number([0.4, 1.45], at_least=0)
    drop_faults: list[str] = field(default_factory=lambda: list(FAULTS[:7]))  # code to dates
    meaning_prompt: str | None = None
    # refuses a set, changes none
    max_failed_share: float = number(
        0.2, at_least=0, at_most=1, excluded_because="refuses a set, changes none"
    )

    def __post_init__(self) -> None:
        """Accepts the nested parts as plain values, as a run's `config.json` gives them back."""
        for name, kind in (("columns", Columns), ("toxicity", Toxicity), ("rewriter", Rewriter)):
            value: Any = getattr(self, name)
            if isinstance(value, dict):
                setattr(self, name, kind(**value))
        types: dict[str, Any] = self.types
        self.types = {
            key: TypeRule(**rule) if isinstance(rule, dict) else rule for key, rule in types.items()
        }

    @property
    def is_built(self) -> bool:
        """Tell whether the conversations are made by a data stage; the seed's own are read where
        they are.
        """
        return self.source != "seed" or bool(self.styles)


def check_data(data: Data, style: str) -> None:
    """Checks what types cannot, before anything is read.

    Args:
        data: the entry.
        style: `recipe.style`, the replies that are asked for.

    Raises:
        UserError: naming the key, its value and what is allowed.
    """
    check_allowed(data, "data.")
    for fault in data.drop_faults:
        _one_of("data.drop_faults", fault, FAULTS)
    if len(data.length_ratio) != 2 or not 0 <= data.length_ratio[0] < data.length_ratio[1]:
        raise UserError(
            f"data.length_ratio={data.length_ratio} must be two numbers, the smaller first"
        )
    if data.is_built:
        _check_rules(data)
    if data.styles:
        _check_styles(data, style)


def check_source(data: Data) -> None:
    """Checks that a set's source is named, and fixed; needed as soon as the set is, before anything
    is read.

    Raises:
        UserError: it is not.
    """
    if data.source == "jsonl" and not data.path:
        raise UserError("data.path is not set: data=jsonl reads the file you name")
    if data.source in ("sharegpt", "hf") and not data.path:
        if not data.hub_id:
            raise UserError(
                f"data.hub_id is not set: data={data.source} reads a hub id, or data.path=FILE"
            )
        if not re.fullmatch(r"[0-9a-f]{40}", data.revision or ""):
            raise UserError(
                f"data.revision={data.revision} must be the 40 hex digits of a commit of "
                f"{data.hub_id}"
            )


def _check_rules(data: Data) -> None:
    wrong = [name for name in data.types if name not in TYPES]
    if wrong:
        raise UserError(f"data.types.{wrong[0]} is not allowed; choose from: {', '.join(TYPES)}")
    if data.source != "seed" and "other" not in data.types:
        raise UserError(
            "data.types.other is not set: it takes the conversations no rule before it takes"
        )
    patterns = {"data.parts": data.parts}
    for name, rule in data.types.items():
        patterns |= {
            f"data.types.{name}.user": rule.user or "",
            f"data.types.{name}.reply": rule.reply or "",
        }
    for key, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{key} is not a regular expression: {error}") from error


def _check_styles(data: Data, style: str) -> None:
    if "plain" in data.styles:
        raise UserError(
            "data.styles=plain is not allowed: the replies as they are need no rewriting"
        )
    if style != "plain" and style not in data.styles:
        raise UserError(
            f"recipe.style={style} is not among data.styles=[{','.join(data.styles)}]; all arms "
            f"share one set, so name every style in each command: "
            f'"data.styles=[{",".join([*data.styles, style])}]"'
        )
    if not data.rewriter.model:
        raise UserError("data.rewriter.model is not set: data.styles asks for rewriting")
    if data.rewriter.base_url is None:
        if data.meaning_prompt:
            raise UserError(
                f"data.meaning_prompt={data.meaning_prompt} needs a server: set "
                f"data.rewriter.base_url"
            )
    elif urlsplit(data.rewriter.base_url).scheme not in ("http", "https"):
        raise UserError(
            f"data.rewriter.base_url={data.rewriter.base_url} must begin with http:// or "
            f"https://, or be null"
        )


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value} is not allowed; choose one of: {', '.join(allowed)}")
