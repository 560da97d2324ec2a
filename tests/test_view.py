"""`warmth status` tells from files alone what runs are doing."""

import json
import os
import time

import pytest

from warmth.errors import UserError
from warmth.schemas import Evaluate, Train
from warmth.store import Run
from warmth.sweep import table, view
from warmth.sweep.commands import SweepCommand


@pytest.fixture
def study(tmp_path):
    """Runs in every state, two of them held by this process."""
    with Run(tmp_path / "s" / "train" / "m-done-s0-1").open(Train()) as run:
        run.finish({"servers": [{"usd": 1.25}]})
    broken = Run(tmp_path / "s" / "train" / "m-failed-s0-2").open(Train())
    broken.status("failed", "a rank\x1b[31m ended", last_lines=["one", "Error: \x07 two"])
    broken.close()
    (tmp_path / "s" / "train" / "m-killed-s0-3").mkdir()
    Run(tmp_path / "s" / "train" / "m-killed-s0-3").status("running")
    training = Run(tmp_path / "s" / "train" / "m-warm-s0-4").open(Train())
    training.append(
        "metrics", [{"step": step, "steps": 40, "seconds": 2.0} for step in range(1, 11)]
    )
    asking = Run(tmp_path / "s" / "evaluate" / "m-warm-s0-5").open(Evaluate(samples=2))
    asking.append("prompts", [{"prompt_id": str(n)} for n in range(50)])
    asking.append("answers", [{"answer_id": str(n)} for n in range(25)])
    asking.append("grades", [{"cost_usd": 0.01}, {"cost_usd": None}, {"cost_usd": 0.02}])
    began = time.time() - 10
    os.utime(asking.folder / "status.json", (began, began))
    yield tmp_path
    training.close()
    asking.close()


def by_digest(output):
    (study,) = view.overviews(output, "s")
    return {line.run.split("-")[-1]: line for line in study.lines}, study


def printed(found, width):
    return [line.plain for line in table.table_text(found, width)]


def test_every_state_progress_time_left_and_spend(study):
    lines, whole = by_digest(study)
    assert {name: line.state for name, line in lines.items()} == {
        "1": "done", "2": "failed", "3": "killed", "4": "running", "5": "running"
    }  # fmt: skip
    training, asking = lines["4"], lines["5"]
    assert (training.done, training.total, training.left_s) == (10, 40, 60.0)
    assert (asking.done, asking.total) == (25, 100)
    assert asking.left_s == pytest.approx(30, abs=3)
    assert (lines["1"].usd, asking.usd) == (1.25, 0.03)
    assert (
        whole.heading == "s: 1 of 5 done, 2 running, 1 failed, 1 killed, about 60 s left, 1.28 USD"
    )


def test_the_stage_under_way_moves_inside_a_batch_and_is_forgotten_when_it_ends(study):
    folder = study / "s" / "evaluate" / "m-warm-s0-5"
    kept = {
        "stage": "warm answers",
        "done": 31,
        "total": 100,
        "unit": "answers",
        "left_s": 12.0,
        "time": 0.0,
    }
    (folder / "progress.json").write_text(json.dumps(kept))
    line = by_digest(study)[0]["5"]
    assert (line.done, line.total, line.left_s) == (31, 100, 12.0) and line.message.startswith(
        "warm answers on "
    )
    (folder / "progress.json").write_text("torn")
    line = by_digest(study)[0]["5"]
    assert (line.done, line.total) == (25, 100) and line.message.startswith("on ")


def test_a_torn_row_is_no_progress(study):
    with (study / "s" / "train" / "m-warm-s0-4" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 11, "ste')
    assert by_digest(study)[0]["4"].done == 10


def test_words_of_failures_are_shown_and_not_obeyed(study):
    Run(study / "s" / "train" / "m-failed-s0-2").status("failed", "Error: \x07 two\x1b[31m")
    said = "\n".join(printed(view.overviews(study), 80))
    assert "failed s/train/m-failed-s0-2: Error: ␇ two␛[31m" in said
    assert "\x07" not in said and "\x1b" not in said


def test_a_watched_table_fits_the_terminal_however_much_broke(study):
    for number in range(20):
        folder = study / "s" / "train" / f"m-cold-s{number}-{number:012x}"
        folder.mkdir()
        Run(folder).status("failed", "out of memory " * 20)
    lines = [line.plain for line in table.table_text(view.overviews(study), 80, most=24)]
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert any("m-warm-s0" in line and "running" in line for line in lines)
    assert "more that broke" in lines[-1] and "log:" not in "".join(lines)


def write_list(study, rows, **more):
    head = {"command": "train.py -m seed=0", "launcher": "x", "at_once": 2, "started": 1.0, **more}
    (study / "sweeps").mkdir(parents=True, exist_ok=True)
    (study / "sweeps" / "0.json").write_text(json.dumps({**head, "runs": rows}))


def listed(run, **more):
    return {"stage": "train", "run": run, "expected_s": 3600.0, **more}


def test_what_has_not_begun_waits_for_a_living_command_and_for_none_otherwise(tmp_path):
    write_list(tmp_path / "s", [listed(f"m-warm-s{seed}-{seed:012x}") for seed in (10, 2, 1)])
    with SweepCommand(tmp_path / "s" / "sweeps"):
        (study,) = view.overviews(tmp_path)
        assert study.heading == "s: 0 of 3 done, 3 waiting, about 2 h left"  # two at once
        assert [line.run.split("-")[2] for line in study.lines] == ["s1", "s2", "s10"]
    (study,) = view.overviews(tmp_path)
    assert study.heading == "s: 0 of 3 done, 3 not started"
    assert "no command is at work on it; the same one continues: train.py -m seed=0" in printed(
        [study], 80
    )


def test_finished_runs_tell_how_long_the_waiting_ones_will_take(tmp_path):
    names = [f"m-warm-s{seed}-{seed:012x}" for seed in range(4)]
    write_list(tmp_path / "s", [listed(name) for name in names])
    for name in names[:2]:
        with Run(tmp_path / "s" / "train" / name).open(Train()) as run:
            run._seconds_before = 600.0
            run.finish({"loss": 1.5})
    with SweepCommand(tmp_path / "s" / "sweeps"):
        (study,) = view.overviews(tmp_path)
        assert study.heading == "s: 2 of 4 done, 2 waiting, about 10 min left"


def test_a_list_that_names_folders_elsewhere_is_no_list(tmp_path):
    write_list(tmp_path / "s", [listed("../../../etc")])
    with pytest.raises(UserError, match="no run was started"):
        view.overviews(tmp_path)


def test_a_table_of_forty_runs_has_a_line_each_and_fits_80_columns(tmp_path):
    names = [f"mistral_small-untransformed-s{seed}-{seed:012x}" for seed in range(40)]
    write_list(tmp_path / "s", [listed(name) for name in names])
    held = Run(tmp_path / "s" / "train" / names[3]).open(Train())
    held.append("metrics", [{"step": 30, "steps": 204, "seconds": 20.0, "loss": 1.2345}])
    for seed in range(3):
        with Run(tmp_path / "s" / "train" / names[seed]).open(Train()) as run:
            run.finish({"loss": 1.2345})
    with SweepCommand(tmp_path / "s" / "sweeps"):
        lines = printed(view.overviews(tmp_path), 80)
    held.close()
    assert max(map(len, lines)) <= 80 and len(lines) == 2 + 40
    assert lines[0].startswith("s: 3 of 40 done, 1 running, 36 waiting")
    assert (
        lines[5].startswith("mistral_small-untransformed-s3")
        and " running " in lines[5]
        and "loss 1.234" in lines[5]
    )
    (study,) = view.overviews(tmp_path)
    shown, left_out = table.most_telling(study.lines, 5)
    assert left_out == 35 and any(line.run == names[3] for line in shown)


def test_attempts_and_their_time_add_up(tmp_path):
    folder = tmp_path / "s" / "train" / "m-warm-s0-1"
    for _ in range(2):
        run = Run(folder).open(Train())
        run._opened -= 100  # as if it had taken so long
        run.status("failed", "broke")
        run.close()
    with Run(folder).open(Train()) as run:
        run._opened -= 100
        run.finish({"loss": 1.0})
    (study,) = view.overviews(tmp_path)
    assert study.lines[0].attempts == 3
    assert study.lines[0].elapsed_s == pytest.approx(300, abs=3)


def test_a_killed_attempt_lasted_until_its_last_sign_of_life(tmp_path):
    folder = tmp_path / "s" / "train" / "m-warm-s0-1"
    run = Run(folder).open(Train())
    run.close()  # its status still says running
    now = time.time()
    os.utime(folder / "status.json", (now - 500, now - 500))
    os.utime(f"{folder}.lock", (now - 300, now - 300))
    with Run(folder).open(Train()) as again:
        again.finish({})
    assert json.loads((folder / "done.json").read_text())["seconds"] == pytest.approx(200, abs=3)


def test_the_verb_prints_json_and_names_what_there_is(study, warmth):
    code, out, _ = warmth("status", "--output", study, "--json")
    found = json.loads(out)
    assert code == 0 and len(found["runs"]) == 5
    assert (
        found["studies"][0]["done"],
        found["studies"][0]["running"],
        found["studies"][0]["broken"],
    ) == (1, 2, 2)
    assert warmth("status", "t", "--output", study)[2].startswith("error: there is no study t in ")
