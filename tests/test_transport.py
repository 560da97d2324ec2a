"""The connection: the key is nowhere but in a header, certificates count, proxies are honoured."""

import logging
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from api_fixture import PRICED, QUICK, ask, batched, questions
from fakes import CANARY, FAULTS, ModelServer

from warmth.api import Client, Server
from warmth.api.transport import openai_client, patiently, proxy_of, redact
from warmth.digest import ROOT
from warmth.errors import UserError


@pytest.mark.parametrize("mode", ["live", "batch"])
@pytest.mark.parametrize("fault", [*FAULTS, "drop", "timeout", "malformed", "bad_json", "echo"])
def test_the_key_is_nowhere(tmp_path, monkeypatch, capfd, caplog, fault, mode):
    monkeypatch.setenv("CANARY_KEY", CANARY)
    caplog.set_level(logging.DEBUG)
    tight = replace(batched() if mode == "batch" else PRICED, attempts=2, timeout_s=0.5, mode=mode)
    told = []
    echo = {"answer": lambda body: f"your key is {CANARY}"} if fault == "echo" else {}
    script = {"script": lambda text, n: fault, "batch_script": lambda text, n: "error"}
    with ModelServer(**(echo or script)) as server:
        try:
            replies, totals = ask(server, tmp_path, questions(2), tight, api_key_env="CANARY_KEY")
            told += [repr(replies), repr(totals)]
        except UserError as error:
            told += [str(error), repr(error.__cause__), repr(error.__context__)]
        if mode == "live":
            assert server.seen_headers[0]["Authorization"] == f"Bearer {CANARY}"
    out, err = capfd.readouterr()
    assert CANARY not in "".join([out, err, caplog.text, *told])
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


def test_a_missing_key_is_one_line_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UserError, match="the environment variable NO_SUCH_KEY is not set"):
        Client(Server("http://127.0.0.1:9/v1", "judge", "NO_SUCH_KEY"), tmp_path)


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path):
    import ssl

    from aiohttp import web

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "1",
    ]
    if subprocess.run([*make, *subject], capture_output=True).returncode:
        pytest.skip("no openssl here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    import asyncio

    loop = asyncio.new_event_loop()
    runner = web.AppRunner(web.Application())
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/v1"
    with (
        pytest.raises(UserError, match="(?i)certificate"),
        Client(Server(url, "judge"), tmp_path, QUICK) as client,
    ):
        list(client.complete(questions(1)))
    loop.call_soon_threadsafe(loop.stop)


def test_a_redirect_is_not_followed_with_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY_KEY", CANARY)
    with ModelServer() as elsewhere, ModelServer() as server:
        server.moved_to = elsewhere.url
        with pytest.raises(UserError, match="points elsewhere"):
            ask(server, tmp_path, questions(1), api_key_env="CANARY_KEY")
        client = openai_client(Server(server.url, "judge", "CANARY_KEY"), QUICK)
        with pytest.raises(UserError, match="307"):
            patiently(client.batches.list, QUICK, CANARY, "batches")
    assert server.requests >= 2 and elsewhere.requests == 0


def test_a_proxys_password_is_in_no_message():
    assert (
        redact("404, url='http://user:pa55word@127.0.0.1:3128'", "")
        == "404, url='http://[key]@127.0.0.1:3128'"
    )


DEBUG = """
    import sys, logging
    from pathlib import Path
    logging.basicConfig(level=logging.DEBUG)
    from warmth.api import Call, Client, Server
    from warmth.api.transport import openai_client, patiently
    from warmth.schemas import Api, Batch
    from warmth.types import Message
    url, folder, mode = sys.argv[1:]
    for query in ("", "?api-version=2025-01-01"):  # the second sends the key in Azure's header
        server = Server(url + query, "judge", "CANARY_KEY")
        settings = Api(mode=mode, attempts=1, batch=Batch(poll_s=0.02, rounds=1))
        with Client(server, Path(folder), settings) as client:
            print([reply.text for reply in client.complete([Call((Message("user", "a" + query),), 0.0, 4)])])
"""


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_the_libraries_own_debug_logs_do_not_show_the_key(tmp_path, mode):
    environ = {**os.environ, "CANARY_KEY": CANARY, "OPENAI_LOG": "debug", "PYTHONPATH": str(ROOT)}
    with ModelServer() as server:
        command = [sys.executable, "-c", textwrap.dedent(DEBUG), server.url, str(tmp_path), mode]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    assert done.returncode == 0 and "reply to a" in done.stdout, done.stderr[-2000:]
    assert "DEBUG" in done.stderr and CANARY not in done.stderr + done.stdout
    if mode == "live":
        assert [headers.get("api-key") for headers in server.seen_headers] == [None, CANARY]
        assert list(server.queries) == [
            {},
            {},
            *2 * [{"api-version": "2025-01-01"}],
        ]  # each asks for /models first


def test_a_proxy_is_honoured(tmp_path, monkeypatch):
    with ModelServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.delenv("no_proxy", raising=False)
        with Client(Server("http://model.invalid/v1", "judge"), tmp_path, QUICK) as client:
            (reply,) = client.complete(questions(1))
    assert reply.text == "reply to question 0"
    assert os.environ["HTTP_PROXY"]


# What the environment says, and says wrongly


@pytest.fixture
def environment(monkeypatch):
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def test_the_proxy_of_an_address_is_found_and_no_proxy_excepts_it(environment):
    environment.setenv("HTTP_PROXY", "http://proxy:3128")
    assert (
        proxy_of("http://model.example/v1") == "http://proxy:3128"
        and proxy_of("https://model.example/v1") is None
    )
    environment.setenv("NO_PROXY", "model.example,127.0.0.1")
    assert proxy_of("http://model.example/v1") is None


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "HTTP_PROXY",
            "proxy:3128",
            "HTTP_PROXY=proxy:3128 has no scheme; write http://proxy:3128",
        ),
        (
            "ALL_PROXY",
            "socks5://u:pa55@127.0.0.1:1080",
            "is a SOCKS proxy, which is not supported; .* NO_PROXY",
        ),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line_and_none_where_no_proxy_excepts_the_server(
    tmp_path, environment, variable, value, words
):
    environment.setenv(variable, value)
    with ModelServer() as server:
        with pytest.raises(UserError, match=words) as told:
            ask(server, tmp_path, questions(1))
        assert "pa55" not in str(told.value)
        environment.setenv("NO_PROXY", "127.0.0.1")
        ((reply,), _) = ask(server, tmp_path, questions(1))
    assert reply.text == "reply to question 0"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_is_none_is_one_line(tmp_path, environment, content):
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    environment.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(
        UserError, match=rf"SSL_CERT_FILE={file} (is not a file|holds no certificates)"
    ):
        Client(Server("https://127.0.0.1:9/v1", "judge"), tmp_path)
    Client(Server("http://127.0.0.1:9/v1", "judge"), tmp_path).close()  # needs none


def test_an_address_that_lacks_its_beginning_or_its_end_is_one_line(tmp_path):
    with pytest.raises(
        UserError, match="must begin with http:// or https://; is it http://127.0.0.1:8000/v1?"
    ):
        Server("127.0.0.1:8000/v1", "judge")
    with ModelServer() as server:
        with pytest.raises(UserError, match="did you leave out /v1 at the end of its address?"):
            ask(SimpleNamespace(url=server.url.removesuffix("/v1")), tmp_path, questions(1))
        with pytest.raises(UserError, match="does not serve judge") as told:
            ask(SimpleNamespace(url=f"{server.url}/v1"), tmp_path / "b", questions(1))
    assert "leave out" not in str(told.value)


def test_two_models_under_one_name_on_one_machine_are_told_apart(tmp_path):
    """As vLLM lists them: `root` is what stands behind a name; the port is no part of a server's
    identity.
    """
    first, second = ModelServer(), ModelServer()
    first.served, second.served = {"judge": "org/one"}, {"judge": "org/two"}
    with first, second:
        ask(first, tmp_path, questions(1))
        ask(first, tmp_path, questions(2))
        with pytest.raises(
            UserError, match="serves org/two under the name judge, but .* are from org/one; give"
        ):
            ask(second, tmp_path, questions(3))
        ask(second, tmp_path / "other", questions(1))
