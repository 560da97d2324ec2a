"""The connection: one HTTP attempt, with the key in its header and nowhere else.

Chat completions go out on aiohttp directly, under the headers that the `openai` client prepares:
the client's own path costs 2 ms of CPU a call, which at 300 calls a second is most of a core.
Files, batches and jobs use the client itself.
"""

from __future__ import annotations

import json
import os
import random
import re
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
SECRET = 16  # characters from which a key is long enough to be one
# bytes of a decoded reply: what is larger is no answer, and might fill the memory
MOST_BYTES = 16 * 2**20
BLOCK = 2**16
SERVED_S = 10.0  # longest wait for a server's list of models


def redact(text: str, key: str) -> str:
    """Remove the key from a message, and all that looks like a secret.

    Servers quote keys. A proxy's password goes too: it stands in the address that its errors name.
    """
    text = hide(text, key)
    text = re.sub(r"(?<=://)[^/@\s]+(?=@)", HIDDEN, text)
    return re.sub(r"\bsk-[\w-]{12,}|(?i:\bbearer)\s+[\w.~+/-]{12,}=*", HIDDEN, text)


def hide(text: str, key: str) -> str:
    """Remove the key from a model's text; nothing else in it is touched.

    A short key, such as the `test` or `EMPTY` of a server of one's own, is a word that answers may
    hold, and no secret.
    """
    return text.replace(key, HIDDEN) if len(key) >= SECRET and key in text else text


def openai_client(server: Server, settings: Api) -> openai.OpenAI:
    """Make the library's client for one server.

    It never retries: who repeats a call must know if it is paid twice.

    Raises:
        UserError: the key is not in the environment.
    """
    import httpx2
    import openai

    proxy = proxy_of(server.url)
    key = server.key() or "none"  # the client insists on a key, servers of one's own do not
    azure = {"api-key": key} if server.query and server.api_key_env else {}
    timeout = httpx2.Timeout(settings.timeout_s, connect=settings.connect_timeout_s)
    return openai.OpenAI(
        base_url=server.url,
        api_key=key,
        max_retries=0,
        timeout=timeout,
        # A redirect is not followed: it would carry the key to another place. Proxy and
        # certificates are those of `Transport`, so that both ways to a server end alike.
        http_client=openai.DefaultHttpxClient(
            timeout=timeout,
            follow_redirects=False,
            proxy=proxy,
            trust_env=False,
            verify=certificates(server.url),
        ),
        default_query=dict(server.query),
        default_headers=azure,
    )


def proxy_of(url: str) -> str | None:
    """Find the proxy that the environment names for an address.

    None if there is none, or NO_PROXY excepts it.

    Raises:
        UserError: the proxy's address has no scheme, or is one of a SOCKS proxy.
    """
    address = urlsplit(url)
    if proxy_bypass(address.hostname or "") or proxy_bypass(address.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    variable = f"{address.scheme}_proxy" if address.scheme in proxies else "all_proxy"
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy:
        return None
    shown = redact(proxy, "")
    if "://" not in proxy:
        raise UserError(f"{variable.upper()}={shown} has no scheme; write http://{shown}")
    if proxy.startswith("socks"):
        raise UserError(
            f"{variable.upper()}={shown} is a SOCKS proxy, which is not supported; "
            f"give an http:// proxy, or name {address.hostname} in NO_PROXY"
        )
    return proxy


def certificates(url: str) -> ssl.SSLContext | bool:
    """Load the certificates that servers are verified by.

    They are those of SSL_CERT_FILE and SSL_CERT_DIR, or the system's.

    Raises:
        UserError: a variable names a file or folder that is not there, or holds no certificates.
    """
    if not url.startswith("https://"):
        return True
    for variable, is_there in (("SSL_CERT_FILE", Path.is_file), ("SSL_CERT_DIR", Path.is_dir)):
        value = os.environ.get(variable)
        if value and not is_there(Path(value)):
            kind = "file" if variable == "SSL_CERT_FILE" else "folder"
            raise UserError(
                f"{variable}={value} is not a {kind}; unset it, or name one that holds certificates"
            )
    context = ssl.create_default_context()
    file = os.environ.get("SSL_CERT_FILE")
    if file:
        try:
            context.load_verify_locations(cafile=file)
        except (ssl.SSLError, OSError) as error:
            raise UserError(
                f"SSL_CERT_FILE={file} holds no certificates that can be read: {one_line(error)}"
            ) from None
    return context


def explain(error: Exception, key: str) -> str:
    """Write an exception as one line without the key."""
    body = getattr(error, "body", None)
    if not isinstance(body, Mapping) or not body.get("message"):
        return redact(one_line(error), key)[:400]
    line = str(body["message"])
    status = getattr(error, "status_code", None)
    if status:
        line += f" (HTTP {status})"
    return redact(one_line(Exception(line)), key)[:400]


def patiently(work: Callable[[], T], settings: Api, key: str, what: str) -> T:
    """Do what can be done again without harm until it succeeds.

    That is: uploads, looks, and creations that look first.

    Raises:
        UserError: the server refuses it, or the attempts are used up.
    """
    import openai

    for attempt in range(1, settings.attempts + 1):
        try:
            return work()
        except openai.APIError as error:
            line = explain(error, key)
            again = attempt < settings.attempts and _may_pass(error)
        # Raised out here, so that the library's exception, which may quote the key, is not its
        # context.
        if not again:
            raise UserError(f"{what}: {line}")
        time.sleep(min(settings.backoff_s * 2 ** (attempt - 1), 30.0) * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable")


def _may_pass(error: openai.APIError) -> bool:
    """Tell whether the same request may succeed a little later."""
    import openai

    if isinstance(error, openai.RateLimitError):
        code = f"{getattr(error, 'code', '')} {getattr(error, 'type', '')}"
        return "quota" not in code and "billing" not in code
    transient = (openai.APIConnectionError, openai.InternalServerError, openai.ConflictError)
    return isinstance(error, transient)


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended: an HTTP status with its body, or a failure of the connection."""

    status: int = 0
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: Failure = ""  # timeout or dropped
    detail: str = ""
    connected: bool = True  # False: nobody listens there
    may_pass: bool = True  # False: the same would come again


class Transport:
    """Sends chat completions to one server; made and used inside one event loop."""

    def __init__(self, server: Server, settings: Api, client: openai.OpenAI):
        self._key = server.key()
        self._server = server
        self._settings = settings
        self._url = f"{server.url.rstrip('/')}/chat/completions"
        self._headers: dict[str, str] = {}
        for name, value in client.default_headers.items():
            if isinstance(value, str):
                self._headers[str(name)] = value
        self._headers["Content-Type"] = "application/json"
        self._headers["Accept-Encoding"] = "gzip, deflate"
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the pool of connections.

        TLS is verified; HTTP(S)_PROXY and NO_PROXY are honoured.
        """
        import aiohttp

        limits = aiohttp.ClientTimeout(
            total=self._settings.timeout_s, sock_connect=self._settings.connect_timeout_s
        )
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, ssl=certificates(self._url))
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers=self._headers,
            # The environment is asked once: with `trust_env` aiohttp asks it before each call.
            proxy=proxy_of(self._url),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `read_bounded` does, and stops in time
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def send(self, body: Mapping[str, Any], idempotency_key: str) -> Attempt:
        """Make one attempt.

        Raises:
            UserError: the server's certificate is not accepted, or the URL is none.
        """
        import aiohttp

        assert self._session is not None
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", errors="replace")
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        try:
            # A redirect is not followed: it would carry the key to another place.
            async with self._session.post(
                self._url,
                params=self._server.query,
                data=data,
                headers=headers,
                allow_redirects=False,
            ) as reply:
                return await read_bounded(reply)
        except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
            raise UserError(f"{self._server.url}: {redact(one_line(error), self._key)}") from None
        except aiohttp.ConnectionTimeoutError as error:
            detail = redact(one_line(error), self._key)
            return Attempt(failure="timeout", detail=detail, connected=False)
        except TimeoutError:
            detail = f"no reply within {self._settings.timeout_s:g} s"
            return Attempt(failure="timeout", detail=detail)
        except aiohttp.ClientConnectorError as error:
            detail = redact(one_line(error), self._key)
            return Attempt(failure="dropped", detail=detail, connected=False)
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            return Attempt(failure="dropped", detail=redact(one_line(error), self._key))

    async def served(self, model: str) -> str:
        """Ask what stands behind a model's name, as vLLM and llama.cpp tell.

        Returns:
            its name or its facts as JSON; "" if the server does not say.
        """
        import aiohttp

        assert self._session is not None
        limit = aiohttp.ClientTimeout(total=min(SERVED_S, self._settings.timeout_s))
        url = f"{self._server.url.rstrip('/')}/models"
        unreadable = (ValueError, LookupError, TypeError)
        try:
            async with self._session.get(
                url, params=self._server.query, allow_redirects=False, timeout=limit
            ) as reply:
                attempt = await read_bounded(reply)
            if attempt.status != 200:
                return ""
            return _behind(json.loads(attempt.raw)["data"], model)
        except (aiohttp.ClientError, TimeoutError, OSError, *unreadable):
            return ""


def _behind(entries: Any, model: str) -> str:
    """Read from a server's list of models what stands behind a name; "" if it is not there.

    Raises:
        LookupError, TypeError: the list has another form.
    """
    for entry in entries:
        if entry["id"] != model:
            continue
        facts = {name: entry[name] for name in ("root", "parent", "meta") if entry.get(name)}
        if set(facts) == {"root"}:
            return str(facts["root"])
        return json.dumps(facts, sort_keys=True)[:400] if facts else ""
    return ""


async def read_bounded(reply: Any) -> Attempt:
    """Read a reply's body, decoded, up to `MOST_BYTES`.

    A larger or damaged one is a failure of this call alone.
    """
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    decoder = None
    if encoding in ("gzip", "x-gzip", "deflate"):
        decoder = zlib.decompressobj(wbits=47)
    elif encoding not in ("identity", ""):
        detail = f"the reply is encoded as {encoding}, which was not asked for"
        return Attempt(failure="server_error", detail=detail)
    body = bytearray()
    async for block in reply.content.iter_chunked(BLOCK):
        try:
            body += decoder.decompress(block, MOST_BYTES + 1 - len(body)) if decoder else block
        except zlib.error as error:
            detail = f"the reply's compression is damaged: {error}"
            return Attempt(failure="server_error", detail=detail)
        if len(body) > MOST_BYTES:
            detail = f"the reply is longer than {MOST_BYTES // 2**20} MiB"
            return Attempt(failure="server_error", detail=detail, may_pass=False)
    return Attempt(reply.status, bytes(body), reply.headers)
