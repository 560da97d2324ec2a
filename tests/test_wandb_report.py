"""The W&B report: its specification is valid offline, holds what the page holds, and makes no
markup of data.
"""

from __future__ import annotations

import json
import socket
import sys
import time

import pytest
from study_fixture import write_study

from warmth.analysis import report
from warmth.analysis.report import publish, wandb_report
from warmth.analysis.report.printing import markdown_row
from warmth.analysis.report.study import QUESTION
from warmth.tracking import Wandb

HOSTILE = "![x](http://evil.example/a.png) <script>alert(1)</script> | [b] `c` # $x$"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return report.build_report([write_study(tmp_path_factory.mktemp("study"))])


def blocks(spec, kind):
    return [block for block in spec["blocks"] if block["type"] == kind]


def test_the_specification_survives_the_librarys_own_models(made):
    import wandb_workspaces.reports.v2 as wr

    composed = wandb_report.compose(made)
    first, again = (
        wandb_report.spec(one) for one in (composed, wr.Report._from_model(composed._to_model()))
    )
    assert [block for block in again["blocks"] if block["type"] != "panel-grid"] == [
        block for block in first["blocks"] if block["type"] != "panel-grid"
    ]
    one, other = (
        blocks(spec, "panel-grid")[0]["metadata"] for spec in (first, again)
    )  # ids are drawn anew
    assert [item["filters"] for item in one["runSets"]] == [
        item["filters"] for item in other["runSets"]
    ]
    kinds = [
        [panel["viewType"] for panel in grid["panelBankSectionConfig"]["panels"]]
        for grid in (one, other)
    ]
    assert kinds[0] == kinds[1] and len(kinds[0]) == 4 + len(made.panels)


def test_it_says_what_the_page_says(made):
    spec = wandb_report.spec(wandb_report.compose(made))
    text = json.dumps(spec, ensure_ascii=False)
    assert report.report_summary(made)["answer"]["text"].partition(";")[0] in text
    assert QUESTION in text
    headline = blocks(spec, "markdown-block")[0]["content"]
    assert headline.count("\n| ") == 1 + 1 + len(made.study.rows.arms)
    assert "+12.8 (+5.5 to +20.0)" in headline.replace("\\", "")


def test_panels_filter_the_studys_own_runs_by_stage(made):
    grid = blocks(wandb_report.spec(wandb_report.compose(made)), "panel-grid")[0]
    filters = {item["name"]: json.dumps(item["filters"]) for item in grid["metadata"]["runSets"]}
    assert set(filters) == {"evaluations", "trainings", "report"}
    for name, job in (("evaluations", "evaluate"), ("trainings", "train"), ("report", "report")):
        assert (
            f'"{job}"' in filters[name]
            and '"demo"' in filters[name]
            and '"jobType"' in filters[name]
        )


def test_data_in_a_table_is_neither_a_link_nor_markup_nor_a_cell_of_its_own():
    line = markdown_row([HOSTILE, "two\nlines"])
    bare = (
        line.replace("\\|", "")
        .replace("\\<", "")
        .replace("\\[", "")
        .replace("\\!", "")
        .replace("\\`", "")
    )
    assert (
        bare.count("|") == 3
        and "<" not in bare
        and "[" not in bare
        and "`" not in bare
        and "\n" not in bare
    )


def test_offline_runs_that_were_not_sent_are_found(tmp_path):
    for name, sent in (("offline-run-1", False), ("offline-run-2", True)):
        folder = tmp_path / "wandb" / name
        folder.mkdir(parents=True)
        (folder / "run.wandb").touch()
        if sent:
            (folder / "run.wandb.synced").touch()
    assert [path.name for path in publish.unsent(tmp_path)] == ["offline-run-1"]


def test_without_a_key_publishing_is_one_line_and_the_specification_a_file(
    made, tmp_path, monkeypatch
):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    line, _ = publish._save(made, Wandb(), [tmp_path])
    assert "\n" not in line and "WANDB_API_KEY is not set" in line


def test_a_server_that_cannot_be_reached_is_one_line_soon_and_nothing_waits_for_it_again(
    made, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and says nothing
        for port, why in ((9, "Connection refused"), (silent.getsockname()[1], "timed out")):
            monkeypatch.setattr(publish, "REACH_S", 0.5)
            address, started = f"http://127.0.0.1:{port}", time.monotonic()
            line, server = publish._save(made, Wandb(base_url=address), [tmp_path])
            assert (
                line.startswith(f"wandb: no report was published: {address} cannot be reached: ")
                and why in line
            )
            assert time.monotonic() - started < 5 and server.resolved_mode() == "offline"
    assert capfd.readouterr() == ("", "")


def test_the_offline_runs_of_every_study_are_sent_and_what_wandb_prints_is_not_shown(
    made, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "")
    monkeypatch.setattr(publish, "reach", lambda _: None)
    for study in ("one", "two"):
        (tmp_path / study / "wandb" / f"offline-run-{study}").mkdir(parents=True)
    sent = []
    monkeypatch.setattr(publish, "_send", lambda folder, _: sent.append(folder.name))

    def refuse():
        print("wandb: ERROR key is not valid", file=sys.stderr)
        raise PermissionError("the key is not valid")

    monkeypatch.setattr(publish, "_default_entity", refuse)
    line, _ = publish._save(made, Wandb(), [tmp_path / "one", tmp_path / "two"])
    assert sent == ["offline-run-one", "offline-run-two"]
    assert (
        line == "wandb: no report was published: the key is not valid"
        and capsys.readouterr() == ("", "")
    )


def test_it_has_the_pages_further_tables(made):
    spec = wandb_report.spec(wandb_report.compose(made))
    headings = json.dumps(blocks(spec, "heading"))
    assert all(
        name in headings for name in ("All paired differences with their tests", "Regressions")
    )
    assert set(made.panels) <= set(made.frames)
