"""The connection: one HTTP attempt, with the key in its header and nowhere else.

Chat completions go out on aiohttp directly, under the headers that the `openai` client prepares: the client's own path
costs 2 ms of CPU a call, which at 300 calls a second is most of a core. Files, batches and jobs use the client itself.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from warmth.api.calls import Failure, Server
from warmth.errors import UserError, one_line
from warmth.schemas import Api

if TYPE_CHECKING:
    import aiohttp
    import openai

T = TypeVar("T")
HIDDEN = "[key]"


def redact(text: str, key: str) -> str:
    """A message without the key, whoever wrote it there (servers quote it), nor anything that looks like a secret.

    A proxy's password, too: it stands in the address that its errors name.
    """
    if key:
        text = text.replace(key, HIDDEN)
    text = re.sub(r"(?<=://)[^/@\s]+(?=@)", HIDDEN, text)
    return re.sub(r"\bsk-[\w-]{12,}|(?i:\bbearer)\s+[\w.~+/-]{12,}=*", HIDDEN, text)


def hide(text: str, key: str) -> str:
    """A model's text without the key; nothing else in it is touched."""
    return text.replace(key, HIDDEN) if key and key in text else text


def openai_client(server: Server, settings: Api) -> openai.OpenAI:
    """The library's client for one server. It never retries: who repeats a call must know whether it is paid twice.

    Raises:
        UserError: the key is not in the environment.
    """
    import httpx2
    import openai

    key = server.key() or "none"  # the client insists on a key, servers of one's own do not
    azure = {"api-key": key} if server.query and server.api_key_env else {}
    timeout = httpx2.Timeout(settings.timeout_s, connect=settings.connect_timeout_s)
    return openai.OpenAI(
        base_url=server.url,
        api_key=key,
        max_retries=0,
        timeout=timeout,
        # A redirect is not followed: it would carry the key to another place.
        http_client=openai.DefaultHttpxClient(timeout=timeout, follow_redirects=False),
        default_query=dict(server.query),
        default_headers=azure,
    )


def explain(error: Exception, key: str) -> str:
    """An exception as one line without the key."""
    message = getattr(error, "body", None)
    if isinstance(message, Mapping) and message.get("message"):
        status = getattr(error, "status_code", None)
        return redact(one_line(Exception(f"{message['message']}{f' (HTTP {status})' if status else ''}")), key)[:400]
    return redact(one_line(error), key)[:400]


def patiently(work: Callable[[], T], settings: Api, key: str, what: str) -> T:
    """Does what can be done again without harm until it succeeds: uploads, looks, and creations that look first.

    Raises:
        UserError: the server refuses it, or the attempts are used up.
    """
    import openai

    transient = (openai.APIConnectionError, openai.InternalServerError, openai.ConflictError)
    for attempt in range(1, settings.attempts + 1):
        try:
            return work()
        except openai.APIError as error:
            line, code = explain(error, key), f"{getattr(error, 'code', '')} {getattr(error, 'type', '')}"
            limited = isinstance(error, openai.RateLimitError) and "quota" not in code and "billing" not in code
            again = attempt < settings.attempts and (limited or isinstance(error, transient))
        if not again:  # raised out here, so that the library's exception, which may quote the key, is not its context
            raise UserError(f"{what}: {line}")
        time.sleep(min(settings.backoff_s * 2 ** (attempt - 1), 30.0) * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended: an HTTP status with its body, or a failure of the connection."""

    status: int = 0
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: Failure = ""  # timeout or dropped
    detail: str = ""
    connected: bool = True  # False: nobody listens there


class Wire:
    """Sends chat completions to one server; made and used inside one event loop."""

    def __init__(self, server: Server, settings: Api, client: openai.OpenAI):
        self._key = server.key()
        self._server, self._settings = server, settings
        url = f"{server.url.rstrip('/')}/chat/completions"
        headers = {str(name): value for name, value in client.default_headers.items() if isinstance(value, str)}
        self._url = url
        self._headers = {**headers, "Content-Type": "application/json"}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Opens the pool of connections. TLS is verified; HTTP(S)_PROXY and NO_PROXY are honoured."""
        import aiohttp

        limits = aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=self._settings.connect_timeout_s)
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
        # Asked once: with `trust_env` aiohttp asks the environment in a thread before each call.
        scheme, host = urlsplit(self._url).scheme, urlsplit(self._url).hostname or ""
        proxies = {} if proxy_bypass(host) else getproxies()
        proxy = proxies.get(scheme) or proxies.get("all")
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers=self._headers,
            proxy=proxy,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Closes the pool."""
        if self._session is not None:
            await self._session.close()

    async def send(self, body: Mapping[str, Any], idempotency_key: str) -> Attempt:
        """One attempt.

        Raises:
            UserError: the server's certificate is not accepted, or the URL is none.
        """
        import aiohttp

        assert self._session is not None
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", errors="replace")
        headers = {"Idempotency-Key": idempotency_key}
        try:
            # A redirect is not followed: it would carry the key to another place.
            async with self._session.post(
                self._url, params=self._server.query, data=data, headers=headers, allow_redirects=False
            ) as reply:
                return Attempt(reply.status, await reply.read(), reply.headers)
        except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
            raise UserError(f"{self._server.url}: {redact(one_line(error), self._key)}") from None
        except aiohttp.ConnectionTimeoutError as error:
            return Attempt(failure="timeout", detail=redact(one_line(error), self._key), connected=False)
        except TimeoutError:
            return Attempt(failure="timeout", detail=f"no reply within {self._settings.timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            return Attempt(failure="dropped", detail=redact(one_line(error), self._key), connected=False)
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            return Attempt(failure="dropped", detail=redact(one_line(error), self._key))
