import json
import struct
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from warmth.errors import UserError
from warmth.store import Run
from warmth.tracking import (
    NoLogger,
    Tracker,
    Wandb,
    flat_values,
    grouped_metrics,
    headline_metrics,
    start_trackers,
)


def records(path):
    """The records of a .wandb file: LevelDB's log framing in blocks of 32 KiB after a header of 7
    bytes.

    The format is not published, so wandb is pinned and this reader stays in the tests.
    """
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    offset, parts = 7, b""
    while offset + 7 <= len(data):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        if kind == 0:
            offset += left
            continue
        piece = data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        parts = piece if kind in (1, 2) else parts + piece  # whole, first; middle, last
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


@dataclass
class Recipe:
    name: str = "warm"
    learning_rate: float = 1e-5


@dataclass
class Config:
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 3
    task: dict = field(default_factory=lambda: {"seed_trivia": {"questions": 12}})


NAME = "smollm2-warm-s3-0123456789ab"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "multirun" / "controls" / "train" / NAME
    folder.mkdir(parents=True)
    return Run(folder)


def offline_files(run):
    import wandb

    wandb.teardown()  # its service writes the last records after `finish` returned
    return sorted((run.folder.parent.parent / "wandb").glob("offline-run-*/*.wandb"))


def of_kind(found, kind):
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def values(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture
def recorded(run, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    tracker = Wandb().start(run, Config(), "train")
    for step in (1, 2, 3):
        tracker.log({"train/loss": 1.0 / step, "train/learning_rate": 1e-5}, step=step)
    tracker.table(
        "answers",
        [{"text": "Paris", "tokens": 2}, {"text": None, "label": "refused", "seen": [1, 2]}],
    )
    tracker.artifact("adapter-" + NAME, "model", adapter, {"digest": "0123456789ab"})
    tracker.summary({"steps": 3, "warmth": {"close": -2.5}})
    tracker.finish()
    (file,) = offline_files(run)
    return list(records(file))


def test_an_offline_run_carries_study_stage_name_and_config(recorded):
    (start,) = of_kind(recorded, "run")[:1]
    assert (start.project, start.run_group, start.job_type) == ("warmth", "controls", "train")
    assert (start.run_id, start.display_name) == (NAME, "smollm2-warm-s3 train")
    config = values(start.config.update)
    assert config["recipe.learning_rate"] == 1e-5
    assert config["task.seed_trivia.questions"] == 12
    assert config["seed"] == 3


def test_metrics_are_read_back_with_their_steps(recorded):
    rows = [values(record.item) for record in of_kind(recorded, "history")]
    losses = {row["_step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert losses == {1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3)}


def test_a_table_keeps_its_rows_as_an_artifact(recorded, run):
    tables = [item for item in of_kind(recorded, "artifact") if item.type == "run_table"]
    assert [entry.path for item in tables for entry in item.manifest.contents] == [
        "answers.table.json"
    ]
    (file,) = run.folder.parent.parent.glob("wandb/offline-run-*/files/media/table/*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["text", "tokens", "label", "seen"]
    assert table["data"] == [["Paris", 2, None, None], [None, None, "refused", "[1, 2]"]]


def test_a_long_table_is_kept_whole(run):
    tracker = Wandb().start(run, Config(), "evaluate")
    tracker.table("answers", ({"number": number} for number in range(10_001)))
    tracker.finish()
    (file,) = offline_files(run)
    (table,) = file.parent.glob("files/media/table/*.table.json")
    assert len(json.loads(table.read_text())["data"]) == 10_001


def test_an_adapter_is_an_artifact_with_its_files(recorded):
    (adapter,) = [item for item in of_kind(recorded, "artifact") if item.type == "model"]
    assert adapter.name == f"adapter-{NAME}"
    assert json.loads(adapter.metadata) == {"digest": "0123456789ab"}
    paths = [entry.path for entry in adapter.manifest.contents]
    assert sorted(paths) == ["adapter_config.json", "adapter_model.safetensors"]


def test_the_summary_has_dotted_names(recorded):
    summary = {}
    for record in of_kind(recorded, "summary"):
        summary |= values(record.update)
    assert summary["train/steps"] == 3
    assert summary["warmth/close"] == -2.5


def test_a_resumed_run_reads_back_as_one_run_with_one_history(run):
    kept = (
        (1, 2),
        (1, 2, 3, 4),
    )  # a run that goes on tells its whole history again, from the rows of its folder
    for steps, failed in zip(kept, (True, False), strict=True):
        tracker = Wandb().start(run, Config(), "train")
        for step in steps:
            tracker.log({"loss": 1.0 / step}, step=step)
        tracker.finish(failed=failed)
    (file,) = offline_files(run)
    found = list(records(file))
    assert {start.run_id for start in of_kind(found, "run")} == {NAME}
    rows = [values(record.item) for record in of_kind(found, "history")]
    assert [row["_step"] for row in rows if "loss" in row] == [1, 2, 3, 4]


def test_what_was_sent_already_is_kept(run):
    Wandb().start(run, Config(), "train").finish()
    (file,) = offline_files(run)
    (file.parent / f"{file.name}.synced").touch()
    Wandb().start(run, Config(), "train").finish()
    assert file.exists() and len(offline_files(run)) == 2


def test_a_failure_raises_an_alert_and_a_success_none(run, tmp_path):
    alerts = []
    for failed in (True, False):
        Wandb().start(run, Config(), "train").finish(failed=failed)
        alerts.append([alert.title for alert in of_kind(records(offline_files(run)[-1]), "alert")])
    assert alerts == [["smollm2-warm-s3 train failed"], []]


def test_artifacts_say_what_was_read_and_what_was_made(run):
    run.append("conversations", [{"id": "a"}])
    run.append("answers", [{"text": "Paris"}])
    tracker = Wandb().start(run, Config(), "train")
    tracker.artifact(
        "adapter-1", "adapter", run.folder, copy=True, files=["answers.jsonl"], used=True
    )
    tracker.artifact("answers-1", "answers", run.folder, copy=True, files=["answers.jsonl"])
    tracker.finish()
    (file,) = offline_files(run)
    found = {item.name: item for item in of_kind(records(file), "artifact")}
    (data,) = [name for name in found if name.startswith("data-")]
    read = {name: item.use_after_commit for name, item in found.items()}
    assert read == {data: True, "adapter-1": True, "answers-1": False}
    assert [entry.path for entry in found["answers-1"].manifest.contents] == ["answers.jsonl"]


def test_summary_metrics_are_those_of_the_report():
    cell = {
        "task": "a",
        "n": 10,
        "scored": 8,
        "errors": 2,
        "refused": 1,
        "unscored": 1,
        "cut_off": 5,
    }
    other = {
        "task": "b",
        "n": 10,
        "scored": 2,
        "errors": 2,
        "refused": 0,
        "unscored": 8,
        "cut_off": 0,
    }
    assert headline_metrics({"cells": [cell, other]}) == {
        "error_percent": 40.0, "error_percent.a": 25.0, "error_percent.b": 100.0,
        "refused_percent": 5.0, "unscored_percent": 45.0, "cut_off_percent": 25.0,
    }  # fmt: skip
    assert headline_metrics({"loss": 1.0}) == {}


def test_a_name_w_and_b_refuses_becomes_one_it_takes(tmp_path):
    long = Run(
        tmp_path
        / "study"
        / "train"
        / f"my model: v1/2#{'x' * 150}-warm-s0-0123456789ab".replace("/", "?")
    )
    tracker = Wandb().start(long, Config(), "train")
    tracker.finish()
    (file,) = offline_files(long)
    name = of_kind(records(file), "run")[0].run_id
    assert len(name) == 128
    assert name.endswith("-warm-s0-0123456789ab")


def test_only_rank_0_records(run, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert type(Wandb().start(run, Config(), "train")) is Tracker
    assert offline_files(run) == []


def test_an_unreachable_server_means_an_offline_record(run, monkeypatch, capfd):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    tracker = Wandb(base_url="http://127.0.0.1:9", init_timeout_s=2.0).start(run, Config(), "train")
    tracker.log({"loss": 1.0}, step=1)
    tracker.finish()
    assert [record.item for record in of_kind(records(offline_files(run)[-1]), "history")]
    lines = capfd.readouterr().err.splitlines()
    assert [line[:24] for line in lines] == ["wandb: recording offline", "wandb: smollm2-warm-s3 t"]


class Hub(BaseHTTPRequestHandler):
    """As much of W&B's server as a run needs to start; a request after `cut` finds the line
    dead.
    """

    protocol_version = "HTTP/1.1"
    bucket = {
        "id": "b",
        "name": NAME,
        "displayName": NAME,
        "description": None,
        "config": "{}",
        "sweepName": None,
        "createdAt": "2026-01-01T00:00:00",
        "historyLineCount": 0,
        "project": {"id": "p", "name": "warmth", "entity": {"id": "e", "name": "me"}},
    }

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.cut:
            self.close_connection = True
            self.connection.close()
            return
        data = {"model": None}
        if b"mutation UpsertBucket" in body:
            data = {"upsertBucket": {"bucket": self.bucket, "inserted": True}}
        if b"mutation CreateRunFiles" in body:
            data = {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}}
        reply = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)


def test_a_network_cut_in_the_middle_ends_well_and_says_what_to_send(run, monkeypatch, capfd):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.cut = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    logger = Wandb(
        base_url=f"http://127.0.0.1:{server.server_port}", init_timeout_s=30, finish_timeout_s=2
    )
    tracker = logger.start(run, Config(), "train")
    tracker.log({"loss": 1.0}, step=1)
    server.cut = True
    tracker.log({"loss": 0.5}, step=2)
    tracker.finish()
    server.shutdown()
    (folder,) = (run.folder.parent.parent / "wandb").glob("run-*")
    assert f"wandb: not all was sent: wandb sync {folder}" in capfd.readouterr().err.splitlines()
    import wandb

    wandb.teardown()
    rows = [
        values(record.item) for record in of_kind(records(next(folder.glob("*.wandb"))), "history")
    ]
    assert [row["loss"] for row in rows if "loss" in row] == [1.0, 0.5]


def test_a_key_is_written_nowhere(run, monkeypatch):
    key = "5ec4e7" * 6 + "abcd"
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracker = Wandb().start(run, Config(), "train")
    tracker.finish()
    files = [path for path in run.folder.parent.parent.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if key.encode() in path.read_bytes()]


def test_a_wrong_mode_names_what_is_allowed():
    with pytest.raises(UserError, match="logger.mode=onlin .*auto, online, offline"):
        Wandb(mode="onlin")


def test_no_logger_works_without_wandb_installed(tmp_path):
    script = f"""
        import sys
        sys.modules["wandb"] = None  # an import now fails as if the package were absent
        from pathlib import Path
        from warmth.store import Run
        from warmth.tracking import NoLogger
        tracker = NoLogger().start(Run(Path({str(tmp_path)!r}) / "s" / "train" / "r"), object(), "train")
        tracker.log({{"loss": 1.0}}, step=1)
        tracker.table("answers", [{{"text": "Paris"}}])
        tracker.artifact("adapter", "model", Path({str(tmp_path)!r}))
        tracker.summary({{"steps": 1}})
        tracker.finish(failed=True)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_wandb_without_the_package_is_a_line_for_the_user(run, monkeypatch):
    monkeypatch.setattr("warmth.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match="choose logger=none"):
        Wandb().start(run, Config(), "train")


@pytest.fixture
def login(tmp_path, monkeypatch):
    """As `wandb login` leaves it: a key in a netrc file, none in the environment."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))

    def write(server):
        path.write_text(f"machine {server}\n  login user\n  password {'0' * 40}\n")
        path.chmod(0o600)

    return write


def test_the_key_of_wandb_login_is_found_for_its_server_alone(login):
    assert Wandb().resolved_mode() == "offline"
    login("api.wandb.ai")
    assert Wandb().resolved_mode() == "online"
    assert Wandb(base_url="https://wandb.example.org").resolved_mode() == "offline"
    login("wandb.example.org")
    assert Wandb(base_url="https://wandb.example.org").resolved_mode() == "online"
    assert Wandb(mode="offline", base_url="https://wandb.example.org").resolved_mode() == "offline"


def test_one_line_says_where_a_run_is_recorded_and_what_sends_it(run, capfd):
    Wandb(mode="offline").start(run, Config(), "train").finish()
    (line,) = capfd.readouterr().err.splitlines()
    (file,) = offline_files(run)
    assert line == (
        f"wandb: smollm2-warm-s3 train: recorded offline in {file.parent}; wandb sync "
        f"{file.parent} sends it"
    )


def test_a_run_has_the_tags_people_filter_by(run):
    Wandb(mode="offline", tags=["pilot"]).start(run, Config(), "train").finish()
    (file,) = offline_files(run)
    assert set(of_kind(records(file), "run")[0].tags) == {"controls", "train", "warm", "pilot"}


def test_final_values_stand_under_train_eval_and_warmth():
    values = {"loss": 1.0, "steps": 3, "warmth.mean": 0.1, "answers.per_second": 2.0}
    assert grouped_metrics(values, "train") == {
        "train/mean_loss": 1.0,
        "train/steps": 3,
        "warmth/mean": 0.1,
        "train/answers.per_second": 2.0,
    }
    assert grouped_metrics({"error_percent": 40.0}, "evaluate") == {"eval/error_percent": 40.0}
    assert grouped_metrics({"answer": "x"}, "report") == {"answer": "x"}


def test_several_loggers_record_one_run(run, monkeypatch):
    kept = []

    class Kept(Tracker):
        def log(self, metrics, step=None):
            kept.append(("log", dict(metrics), step))

        def finish(self, failed=False):
            kept.append(("finish", failed))

    monkeypatch.setattr(NoLogger, "start", lambda self, run, config, job_type: Kept())
    entry = {"_target_": "warmth.tracking.NoLogger"}
    tracker = start_trackers(run, SimpleNamespace(logger={"a": entry, "b": entry}), "train")
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.finish()
    assert kept == [("log", {"train/loss": 1.0}, 1)] * 2 + [("finish", False)] * 2


def test_tensorboard_holds_curves_final_values_and_samples(run):
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from warmth.tensorboard import TensorBoard

    tracker = TensorBoard().start(run, Config(), "train")
    tracker.log({"train/loss": 2.0}, step=1)
    tracker.log({"train/loss": 1.0}, step=2)
    tracker.table("train/samples", [{"step": 1, "reply": "<b>| no"}])
    tracker.summary({"loss": 1.5, "device": "cpu"})
    tracker.finish()
    (folder,) = (run.folder.parent.parent / "tensorboard").iterdir()
    found = EventAccumulator(str(folder)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [
        (1, 2.0),
        (2, 1.0),
    ]
    assert [event.value for event in found.Scalars("train/mean_loss")] == [1.5]
    text = found.Tensors("train/samples/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "&lt;b>&#124; no" in text and folder.name == f"train-{NAME}"


def test_tensorboard_without_the_package_is_a_line_for_the_user(run, monkeypatch):
    from warmth import tensorboard

    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"warmth-study\[tensorboard\]"):
        tensorboard.TensorBoard().start(run, Config(), "train")


def test_flat_joins_names_with_dots_and_keeps_empty_mappings():
    assert flat_values({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": {}}) == {
        "a.b": 1,
        "a.c.d": [1, 2],
        "e": {},
    }


def test_both_loggers_belong_to_their_group():
    assert (Wandb.group, NoLogger.group) == ("logger", "logger")


def test_wandb_advertises_nothing_where_it_sees_another_library(tmp_path, monkeypatch):
    import openai  # noqa: F401  (what it looks for)
    import wandb
    from wandb.integration.weave import weave

    monkeypatch.delenv("WANDB_DISABLE_WEAVE", raising=False)
    told = []
    monkeypatch.setattr(wandb, "termlog", lambda text="", **how: told.append(text))
    weave.init_weave_if_imported(None, "project")
    assert any("Weave" in text for text in told)  # what would be printed
    told.clear()
    run = Run(tmp_path / "study" / "evaluate" / NAME)
    run.folder.mkdir(parents=True)
    Wandb(mode="offline").start(run, Config(), "evaluate").finish()
    weave.init_weave_if_imported(None, "project")
    assert not any("Weave" in text for text in told)
