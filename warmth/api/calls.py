"""What is asked of a model server and what comes back: frozen, without a connection."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel

from warmth.api.keys import check_key
from warmth.errors import UserError
from warmth.types import Message

# Replies that are stored: they are complete and paid for, and would be the same again. All others
# are sent again.
KEPT = ("", "refused", "cut_off", "empty", "filtered")
KEPT_WITH_SCHEMA = ("", "refused", "cut_off")  # a reply without its JSON is of no use to anybody
# The server's state rather than the reply's: nothing is written of these, and the same command asks
# for them alone.
PASSING = ("timeout", "dropped", "rate_limited", "server_error", "budget")
Failure = Literal[
    "",  # none: `text` (and `parsed`, where a schema was given) is the result
    "bad_json",  # the reply did not fit the schema, nor did the one repair
    "refused",  # the model declined in the field servers have for it
    "cut_off",  # max_tokens reached, or thinking that never ends; `text` holds what there is
    "filtered",  # a content filter stopped the prompt or the reply
    "empty",  # the server answered with no text
    "too_long",  # the messages do not fit the model's context
    "bad_request",  # the server found this call wrong, though not its form
    "unknown_finish",  # the server ended its reply for a reason that is not on the list
    "timeout",  # no reply in time, in every attempt
    "dropped",  # the connection broke, in every attempt
    "rate_limited",  # too many requests, in every attempt
    "server_error",  # 5xx, a malformed body, or a reply the server broke off, in every attempt
    "budget",  # never sent: budget_usd is used up
]


@dataclass(frozen=True)
class Server:
    """One model on one OpenAI-compatible server.

    OpenAI, Azure-style base URLs, vLLM, SGLang, llama.cpp.
    """

    base_url: str
    model: str  # dated where the provider dates its models, so that it cannot change under a study
    api_key_env: str | None = None  # the NAME of the environment variable; None: no key is sent
    # what the model's name does not say, such as the digest of an adapter served under it
    identity: str = ""

    def __post_init__(self) -> None:
        if self.base_url and not self.base_url.startswith(("http://", "https://", "inspect://")):
            address = self.base_url.rpartition("://")[2]
            raise UserError(
                f"base_url={self.base_url} must begin with http:// or https://; is it "
                f"http://{address}?"
            )
        if self.api_key_env:
            check_key(self.base_url, self.api_key_env)

    @property
    def family(self) -> str:
        """Return the host without port or region: a server started again here is still the same."""
        host = urlsplit(self.base_url).hostname or ""
        return "api.openai.com" if host.endswith(".api.openai.com") else host

    @property
    def is_private(self) -> bool:
        """Tell whether this is a machine of one's own: its address is private or has no dot."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_private
        except ValueError:
            return "." not in host

    @property
    def query(self) -> dict[str, str]:
        """Return the base URL's own parameters (Azure's `api-version`), sent with every request."""
        return dict(parse_qsl(urlsplit(self.base_url).query))

    @property
    def url(self) -> str:
        """Return the base URL without its parameters."""
        return urlunsplit(urlsplit(self.base_url)._replace(query="", fragment=""))

    def key(self) -> str:
        """Read the server's key from the environment and nowhere else.

        Raises:
            UserError: the variable is not set.
        """
        if not self.api_key_env:
            return ""
        value = os.environ.get(self.api_key_env, "").strip()
        if not value:
            raise UserError(
                f"the environment variable {self.api_key_env} is not set; it holds the key of "
                f"{self.url}"
            )
        return value


@dataclass(frozen=True)
class Call:
    """One chat completion.

    Equal calls to one model share a key and are paid once; `sample` tells draws apart.
    """

    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int
    schema: type[BaseModel] | None = None  # the reply is to be JSON of this shape
    top_p: float = 1.0
    seed: int | None = None
    sample: int = 0  # the n-th independent draw of otherwise equal calls
    extra: Mapping[str, Any] = field(default_factory=dict)  # further fields of the request's body

    def keeps(self, failure: str) -> bool:
        """Tell whether a paid reply that ended so is stored and never asked for again."""
        return failure in (KEPT if self.schema is None else KEPT_WITH_SCHEMA)

    def key(self, server: Server) -> str:
        """Compute the digest of all that determines the reply, in 32 hex digits."""
        identity = {
            "family": server.family,
            "model": server.model,
            "identity": server.identity,
            "messages": [[message.role, message.content] for message in self.messages],
            "sampling": [float(self.temperature), float(self.top_p), self.max_tokens, self.seed],
            "schema": schema_text(self.schema) if self.schema else None,
            "sample": self.sample,
            "extra": dict(self.extra),
        }
        text = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:32]


@cache
def schema_text(schema: type[BaseModel]) -> str:
    """Write a pydantic model's JSON schema as canonical text."""
    return json.dumps(
        schema.model_json_schema(), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, repairs included, as the server counted them."""

    prompt_tokens: int = 0
    # of prompt_tokens: those the provider had seen before and sells for less
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Reply:
    """How one call ended: a result, or a failure with a name."""

    index: int  # position of the call among those given to `complete`
    key: str
    text: str
    parsed: BaseModel | None  # the reply as the call's schema; None without schema or on failure
    # stop, length, filtered, error or unknown (`output.Ending`); "" if the server never replied
    finish: str
    failure: Failure
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0  # what this process paid for it; 0 when cached or without a price
    cached: bool = False  # read from the store, nothing was sent
    detail: str = ""  # one line about a failure, without secrets
    model: str = ""  # the model the server says it answered with
    thinking: str = ""  # what the model wrote before its answer, set apart
    raw_finish: str = ""  # the server's own finish_reason


@dataclass(frozen=True)
class CallForecast:
    """What a set of calls would cost, before any is sent."""

    calls: int
    cached: int  # answered from the store, for nothing
    prompt_tokens: int  # of the others, estimated from their length
    completion_tokens: int  # of the others, at most
    usd: float | None  # upper bound; None: the model has no price in api.prices
