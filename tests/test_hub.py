"""Files of hub models, against a hub on loopback: fetched once, and refusals in one line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from warmth.digest import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"w" * 2000,
    "consolidated.safetensors": b"c" * 9,
    "a/b.json": b"{}",
}


class Hub(BaseHTTPRequestHandler):
    """Serves one open model; `gated` needs a token of an account with access, and `absent` is not
    there.
    """

    asked: list[str] = []

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, body):
        type(self).asked.append(f"{self.command} {self.path}")
        if "org/gated" in self.path:
            return self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        if "org/absent" in self.path:
            return self.refuse(404, "RepoNotFound")
        if "/tree/" in self.path:
            tree = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                }
                for name, data in FILES.items()
            ]
            return self.send(json.dumps(tree).encode(), body)
        if self.path.startswith("/api/"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            return self.send(
                json.dumps({"id": "org/open", "sha": COMMIT, "siblings": siblings}).encode(), body
            )
        name = self.path.split(f"/resolve/{COMMIT}/")[-1]
        return self.send(FILES[name], body)

    def refuse(self, code, name):
        self.send_response(code)
        self.send_header("X-Error-Code", name)
        self.send_header("X-Error-Message", "access to this model is restricted")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, data, body):
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()[:40]}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def fetch(hub, tmp_path, hub_id, **env):
    code = "import sys; from warmth.errors import guarded; from warmth.hub import fetch\n"
    code += "from warmth.schemas import Model\n"
    code += "guarded(fetch)(Model(name='mine', kind='hub', hub_id=sys.argv[1]))"
    clean = {
        key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_TOKEN")
    }
    env = {
        **clean,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_DISABLE_XET": "1",
        **env,
    }
    return subprocess.run(
        [sys.executable, "-c", code, hub_id], capture_output=True, text=True, timeout=120, env=env
    )


def test_a_models_files_are_fetched_once_with_their_size_and_without_other_formats(hub, tmp_path):
    first = fetch(hub, tmp_path, "org/open")
    assert first.returncode == 0, first.stderr
    assert (
        "fetching org/open: 2 files, 0.0 GB" in first.stderr and "fetched org/open" in first.stderr
    )
    assert any("model.safetensors" in line for line in Hub.asked)
    assert not any("consolidated" in line or "a/b.json" in line for line in Hub.asked)
    Hub.asked = []
    again = fetch(hub, tmp_path, "org/open")
    assert (
        again.returncode == 0 and again.stderr == "" and len(Hub.asked) == 1
    )  # only asked what there is
    offline = fetch("http://127.0.0.1:9", tmp_path, "org/open")  # nobody listens there
    assert offline.returncode == 0 and offline.stderr == ""


@pytest.mark.parametrize(
    ("hub_id", "env", "line"),
    [
        ("org/gated", {},
         "org/gated is gated and no token is set: accept its licence at {hub}/org/gated, then set "
         "HF_TOKEN"),
        ("org/gated", {"HF_TOKEN": "hf_x"},
         "org/gated is gated and the account of HF_TOKEN has no access: accept its licence at "
         "{hub}/org/gated"),
        ("org/absent", {}, "org/absent is not at {hub}/org/absent, it may be private: set "
        "HF_TOKEN"),
    ],
)  # fmt: skip
def test_a_refusal_of_the_hub_is_one_line_that_says_what_to_do(hub, tmp_path, hub_id, env, line):
    done = fetch(hub, tmp_path, hub_id, **env)
    assert done.returncode == 2 and done.stderr == f"error: model=mine: {line.format(hub=hub)}\n"


def test_a_hub_out_of_reach_is_one_line(tmp_path):
    done = fetch("http://127.0.0.1:9", tmp_path, "org/open")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert (
        "org/open is not in the local cache and http://127.0.0.1:9 cannot be reached" in done.stderr
    )
