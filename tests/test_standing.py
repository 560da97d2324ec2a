"""A plan against the answers of a report: sealed before all of them, or exploratory, and the page
says so.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from warmth.analysis.report.kernel import Notes, Table
from warmth.analysis.rows.runs import read_run
from warmth.analysis.statistics import preregistration, standing
from warmth.analysis.statistics.settings import of_runs
from warmth.errors import UserError
from warmth.store import Run

PLAN = "hypotheses: [{name: H1, arm: warm}]\nestimand: paired difference\nmargin_points: 2\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return file


def run_at(tmp_path, name, first, plan=None):
    """A finished evaluation whose first answer came at `first` (None: not recorded), perhaps made
    under a plan.
    """
    folder = tmp_path / "evaluate" / name
    folder.mkdir(parents=True)
    config = {"model": {"name": "m"}, "recipe": {"name": "warm"}}
    if plan is not None:
        preregistration.attach(str(plan), folder)
        config["preregister"] = str(plan)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "done.json").write_text(json.dumps({"time": (first or 0) + 60}))
    if first is not None:
        (folder / "first_answer.json").write_text(json.dumps({"time": first}))
    return read_run(folder)


def test_a_plan_that_is_older_than_every_answer_is_pre_registered(path, tmp_path):
    sealed = preregistration.seal_plan(path)
    runs = [run_at(tmp_path, name, sealed.time + 10, path) for name in ("a", "b")]
    settings = of_runs(runs)
    found = settings.standing
    assert found.confirmatory and settings.preregistered and found.word == "pre-registered"
    (line,) = found.lines
    assert line.startswith(
        f"2 of 2 runs under this plan, sealed {sealed.date} at commit {sealed.commit}"
    )
    assert found.summary()["confirmatory"] and not standing.seal_findings(
        runs, sealed.line("plan.yaml")
    )


def test_a_plan_younger_than_any_answer_is_exploratory_whatever_the_command_says(path, tmp_path):
    sealed = preregistration.seal_plan(path)
    runs = [run_at(tmp_path, "new", sealed.time + 10), run_at(tmp_path, "old", sealed.time - 10)]
    settings = of_runs(runs, margin_points=2.0, preregister=path)
    found = settings.standing
    assert not found.confirmatory and not settings.preregistered and found.word == "exploratory"
    first, older, so = found.lines
    assert first.startswith("1 of 2 runs under this plan")
    assert older == "Younger than answers of old: the plan was sealed after them."
    assert so.startswith("So every claim below is exploratory")


def test_a_plan_that_some_runs_do_not_show_to_follow_is_exploratory(path, tmp_path):
    sealed = preregistration.seal_plan(path)
    runs = [run_at(tmp_path, "a", sealed.time + 10, path), run_at(tmp_path, "b", None)]
    runs[1].folder.joinpath("done.json").write_text(json.dumps({"time": sealed.time + 99}))
    found = of_runs(runs).standing
    assert found.lines[0].startswith("1 of 2 runs under this plan")
    assert (
        "Not shown to be the plan, or older than the answers, of b." in found.lines
        and not found.confirmatory
    )


def test_a_run_made_without_the_plan_that_another_run_keeps_is_not_under_it(path, tmp_path):
    sealed = preregistration.seal_plan(path)
    runs = [run_at(tmp_path, "a", sealed.time + 10, path), run_at(tmp_path, "b", sealed.time + 10)]
    for found in (of_runs(runs).standing, of_runs(runs, preregister=path).standing):
        assert found.lines[0].startswith("1 of 2 runs under this plan") and not found.confirmatory
        assert "Not shown to be the plan, or older than the answers, of b." in found.lines


def test_answers_copied_from_an_older_run_are_as_old_as_they_were(path, tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.note_first_answer(100.0)
    run.note_first_answer(200.0)
    assert standing.time_in(run.folder / "first_answer.json") == 100.0
    run.note_first_answer(50.0)
    assert standing.time_in(run.folder / "first_answer.json") == 50.0
    run.note_first_answer(0.0)  # copied from a run that does not say
    assert standing.time_in(run.folder / "first_answer.json") is None


def test_a_frozen_file_that_was_dated_back_is_found(path, tmp_path):
    sealed = preregistration.seal_plan(path)
    target = preregistration.frozen_path(path)
    body = json.loads(target.read_text())
    target.write_text(json.dumps(body | {"time": sealed.time - 1e6}))
    with pytest.raises(
        UserError, match="was edited: its time and commit are not what the seal says"
    ):
        preregistration.thaw(path)
    undated = {name: value for name, value in body.items() if name not in ("time", "seal")}
    target.write_text(json.dumps(undated))
    run = run_at(tmp_path, "a", sealed.time + 10)
    found = of_runs([run], preregister=path).standing
    assert not found.confirmatory and "sealed at an unknown time" in found.lines[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.unlink(), "is missing, though"),
        (lambda file: file.write_text(""), "was emptied: it holds no plan"),
        (lambda file: file.write_text("{}"), "was emptied: it holds no plan"),
        (
            lambda file: file.write_text(file.read_text().replace('"warm"', '"cold"')),
            "was edited: its plan is not what",
        ),
    ],
    ids=["missing", "emptied", "empty object", "edited"],
)
@pytest.mark.parametrize("place", ["run", "plan"])
def test_a_frozen_file_that_is_not_what_it_was_is_said_in_report_and_evaluation(
    path, tmp_path, spoil, words, place
):
    sealed = preregistration.seal_plan(path)
    run = run_at(tmp_path, "a", sealed.time + 10, path)
    frozen = (
        preregistration.frozen_path(path)
        if place == "plan"
        else preregistration.attached_path(run.folder)
    )
    spoil(frozen)
    with pytest.raises(UserError, match=words):
        of_runs([run])
    if (
        words.startswith("is missing") and place == "run"
    ):  # the plan's own file shows that it is older: it is restored
        preregistration.attach(str(path), run.folder)
        assert of_runs([run]).standing.confirmatory
        return
    with pytest.raises(UserError, match=words):
        preregistration.attach(str(path), run.folder)
    if place == "run":
        assert standing.seal_findings([run])[0]["key"] == "plan"


def test_a_published_line_finds_a_plan_that_was_sealed_again(path, tmp_path):
    line = preregistration.seal_plan(path).line("plan.yaml")
    preregistration.frozen_path(path).unlink()
    again = preregistration.seal_plan(path)
    run = run_at(tmp_path, "a", again.time + 10, path)
    (row,) = standing.seal_findings([run], line)
    assert row["key"] == "seal" and row["expected"] in line and row["found"] == again.stamp
    late = run_at(tmp_path, "b", again.time + 10, path)
    late.folder.joinpath("first_answer.json").write_text(json.dumps({"time": again.time - 5}))
    assert [row["key"] for row in standing.seal_findings([late])] == ["time"]


def test_nothing_is_sealed_for_a_run_that_has_answers_already(path, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "answers.jsonl").write_text("")
    with pytest.raises(UserError, match="holds answers that are older"):
        preregistration.attach(str(path), folder)
    assert not preregistration.frozen_path(path).exists()


def test_answers_of_a_shard_are_answers_and_a_plan_sealed_before_them_may_be_kept_later(
    path, tmp_path
):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "answers.1-2.shard").write_text("")
    with pytest.raises(UserError, match="holds answers that are older"):
        preregistration.attach(str(path), folder)
    sealed = preregistration.seal_plan(path)
    (folder / "first_answer.json").write_text(json.dumps({"time": sealed.time - 1}))
    with pytest.raises(UserError, match="holds answers that are older"):
        preregistration.attach(str(path), folder)
    (folder / "first_answer.json").write_text(json.dumps({"time": sealed.time + 1}))
    preregistration.attach(str(path), folder)
    assert preregistration.opened(preregistration.attached_path(folder))[1] == sealed


QUESTIONS = {"seed_trivia": frozenset({"q1"})}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("tasks: [triviaqq]", "tasks=triviaqq matches nothing"),
        ("contexts: [sadd]", "contexts=sadd matches nothing; there are: anger"),
        ("beliefs: [wrong]", "beliefs=wrong matches nothing"),
        (
            "exclusions: {finish: [lenght]}",
            "exclusions: finish=lenght matches nothing; there are: error, filtered",
        ),
        ("exclusions: {task: [medqaa]}", "exclusions: task=medqaa matches nothing"),
        (
            "exclusions: {question_id: [q2]}",
            "exclusions: question_id=q2 matches nothing; there are: ids of the",
        ),
        ("family: {arm: [warmer]}", "family: arm=warmer matches nothing"),
        ("hypotheses: [{name: H1, arm: warmm}]", "hypothesis H1: arm=warmm matches nothing"),
        (
            "hypotheses: [{name: H1, arm: warm, reference: none}]",
            "hypothesis H1: reference=none matches nothing",
        ),
        (
            "hypotheses: [{name: H1, arm: warm, reference: warm}]",
            "hypothesis H1 compares warm with itself",
        ),
        (
            "hypotheses: [{name: H1, arm: 'warm, dosis 2'}]",
            "hypothesis H1: arm=warm, dosis 2 is an arm that no recipe makes: after",
        ),
        ("hypotheses: [{name: H1, arm: 'warm,dose 2'}]", "is an arm that no recipe makes"),
        ("hypotheses: [{name: H1, arm: 'warm, dose 1'}]", "only if it is not the plain arm"),
        ("hypotheses: [{name: H1, arm: 'warm, dose 0.50'}]", "is an arm that no recipe makes"),
        ("hypotheses: [{name: H1, arm: 'warm, dose 2, strength 0.5'}]", "in this order"),
        ("hypotheses: [{name: H1, arm: 'warm, strength 2'}]", "2 is not between 0 and 1"),
        ("hypotheses: [{name: H1, arm: 'system_warm, dose 2'}]", "system_warm has no dose of its"),
        ("hypotheses: [{name: H1, arm: 'steer_warm, epoch 2'}]", "steer_warm has no epoch of its"),
        ("hypotheses: [{name: H1, arm: 'original, dose 2'}]", "original has no dose of its own"),
        ("family: {arm: ['warm, dose two']}", "family: arm=warm, dose two is an arm that no"),
    ],
)
def test_names_that_match_nothing_are_refused_and_nothing_is_sealed(path, more, words):
    body = PLAN if not more.startswith("hypotheses") else PLAN.partition("\n")[2]
    path.write_text(f"{body}{more}\n")
    with pytest.raises(UserError, match=words):
        preregistration.seal_plan(path, preregistration.PlanNames(questions=QUESTIONS))
    assert not preregistration.frozen_path(path).exists()


def test_names_that_could_be_there_are_taken(path):
    path.write_text(
        PLAN.replace("arm: warm}", "arm: 'warm, dose 0.5', reference: mine}")
        + (
            "models: [org--name, smollm2]\ngraders: ['judge:gpt-1', alias]\nexclusions: "
            "{question_id: [q1]}\n"
        )
        + "tasks: [seed_trivia]\nfamily: {family: [context], context: [close]}\n"
    )
    names = preregistration.PlanNames(arms=frozenset({"mine"}), questions=QUESTIONS)
    assert preregistration.freeze(path, names) == preregistration.thaw(path)[1].digest


@pytest.mark.parametrize(
    "arm",
    [
        "warm, strength 0.5, dose 2, epoch 3",
        "steer_warm, dose -2",
        "cold-warm, dose 0.5",
        "warm, epoch 0.5",
        "system_warm",
    ],
)
def test_an_arm_that_a_recipe_makes_can_be_planned(path, arm):
    path.write_text(PLAN.replace("arm: warm}", f"arm: '{arm}'}}"))
    assert preregistration.freeze(path)


def test_excluded_questions_need_their_tasks(path, warmth):
    path.write_text(PLAN + "exclusions: {question_id: [q1]}\n")
    code, out, err = warmth("seal", path)
    assert code == 2 and not out and "questions of no stated task" in err and "tasks: [" in err
    assert not preregistration.frozen_path(path).exists()
    # an evaluation says which tasks it asks
    assert preregistration.freeze(path, preregistration.PlanNames(questions=QUESTIONS))


@pytest.mark.parametrize("time", ["yesterday", True, [1.0], -5, 1e300])
def test_a_sealed_time_that_is_no_time_is_refused_though_the_seal_is_its_own(path, time):
    preregistration.seal_plan(path)
    frozen = preregistration.frozen_path(path)
    body = json.loads(frozen.read_text())
    body["time"] = time
    body["seal"] = preregistration.stamp_of(body["digest"], time, body["commit"])
    frozen.write_text(json.dumps(body))
    with pytest.raises(UserError, match=r"time=.* must be a number of seconds since 1970"):
        preregistration.thaw(path)


def test_the_verb_prints_a_line_that_holds_the_seal(path, warmth):
    code, out, _ = warmth("seal", path)
    again = json.loads(warmth("seal", path, "--json")[1])
    assert code == 0 and out.strip() == again["line"] and again["stamp"] in out
    assert Path(again["file"]).name == "plan.yaml.frozen.json"
    path.write_text(PLAN.replace("warm", "cold"))
    code, out, err = warmth("seal", path)
    assert code == 2 and not out and "was frozen as" in err
    path.write_text(PLAN + "tasks: [seed_trivia]\nexclusions: {question_id: [nope]}\n")
    preregistration.frozen_path(path).unlink()
    assert "question_id=nope matches nothing" in warmth("seal", path)[2]


def test_the_page_has_the_dates_and_calls_a_late_plan_exploratory(path, tmp_path, monkeypatch):
    from study_fixture import write_study

    from warmth.analysis import report
    from warmth.analysis.report.sections import plan
    from warmth.analysis.rows import frames

    study = write_study(tmp_path / "study", arms=("original", "warm"), training=False)
    sealed = preregistration.seal_plan(path)
    loaded = report.Study(frames.load_rows([study]), of_runs([]), (study,))
    runs = [run for run in loaded.rows.runs if run.evaluation]
    made = plan(replace(loaded, settings=of_runs(runs, 2.0, path)))
    (notes,) = [part for part in made.parts if isinstance(part, Notes)]
    assert made.title == "A plan, exploratory" and made.summary["plan"]["under"] == 0
    assert notes.lines[0].startswith(f"0 of 2 runs under this plan, sealed {sealed.date}")
    assert set(made.frames["hypotheses"]["status"]) == {"exploratory"}
    (table,) = [part for part in made.parts if isinstance(part, Table)]
    assert table.rows[0][-1].text.endswith("(exploratory)")
