"""`warmth agreement`: coefficients against published values, error per arm, graders side by side,
the verb.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
from fakes import ModelServer
from statsmodels.stats.inter_rater import cohens_kappa
from study_fixture import write_study

from warmth.analysis.report.sections.graders import bridge_table, correction_table
from warmth.analysis.rows.frames import load_rows
from warmth.analysis.statistics.agreement import (
    agreement_of,
    alpha,
    counted_verdicts,
    jackknife,
    kappa,
    kappa_bounds,
    kappa_influence,
    rate_of_kind,
    rates_and_corrections,
    strata_of,
    stratified_error,
    weighted_share,
)
from warmth.analysis.statistics.effects import clustered_mean
from warmth.commands.agreement import agreement_page, holds_line, open_line
from warmth.evaluation.grade import attacks
from warmth.verdicts import Rule

# Krippendorff (2011), example C: 4 observers, 12 units, missing values; nominal alpha 0.743
OBSERVERS = ["123321412...", "1233224125.3", ".33323422" + "51.", "12332441" + "251."]


def test_alpha_is_that_of_the_published_example():
    units = [[row[unit] for row in OBSERVERS if row[unit] != "."] for unit in range(12)]
    assert alpha(units, np.ones(12)) == pytest.approx(0.743, abs=0.0005)
    assert alpha(units, np.full(12, 5.0)) == pytest.approx(0.743, abs=0.0005)


def test_kappa_is_that_of_statsmodels_and_weights_are_repetitions():
    rng = np.random.default_rng(0)
    first = rng.choice(["correct", "incorrect", "hedged"], 60)
    second = np.where(rng.random(60) < 0.7, first, rng.choice(["correct", "incorrect"], 60))
    names = sorted(set(first) | set(second))
    table = [[int(((first == a) & (second == b)).sum()) for b in names] for a in names]
    assert kappa(first, second, np.ones(60)) == pytest.approx(cohens_kappa(table).kappa)
    weight = rng.integers(1, 4, 60)
    assert kappa(first, second, weight) == pytest.approx(
        kappa(first.repeat(weight), second.repeat(weight), np.ones(weight.sum()))
    )


def test_the_jackknife_of_a_mean_is_its_clustered_interval():
    rng = np.random.default_rng(0)
    values, clusters = rng.random(90), np.arange(90) // 3
    mean = clustered_mean(values, clusters)
    found = jackknife(clusters, lambda kept: float(values[kept].mean()))
    assert (found["low"], found["high"]) == pytest.approx((mean.low, mean.high), rel=1e-6)


def test_a_share_without_variation_keeps_an_interval_and_one_of_nothing_has_none():
    found = weighted_share(np.ones(20), np.ones(20), np.arange(20))
    assert found["value"] == 1 and 0.8 < found["low"] < 0.9
    assert weighted_share(np.ones(0), np.ones(0), np.ones(0))["value"] is None


def graded(count=200, seed=0):
    """Labelled answers as they are drawn: strata of two verdicts with weights of their own."""
    draw = np.random.default_rng(seed)
    label = np.where(np.arange(count) % 2 == 0, "correct", "incorrect")
    truth = np.where(
        draw.random(count) < 0.85, label, np.where(label == "correct", "incorrect", "correct")
    )
    frame = pd.DataFrame(
        {"label": label, "truth_label": truth, "question_id": draw.integers(0, count // 2, count)}
    )
    frame["weight"] = np.where(label == "correct", 6.0, 2.0)
    return counted_verdicts(frame.assign(model="m", arm="a", task="t", finish="stop"), Rule())


def test_the_influence_on_kappa_is_its_derivative():
    frame = graded(60)
    first, second = frame["label"].to_numpy(str), frame["truth_label"].to_numpy(str)
    weight = frame["weight"].to_numpy(float)
    found = kappa_influence(first, second, weight)
    assert found.sum() == pytest.approx(0, abs=1e-12)
    for place in (0, 7, 31):
        more = weight.copy()
        more[place] *= 1 + 1e-6
        change = (kappa(first, second, more) - kappa(first, second, weight)) / 1e-6
        assert found[place] == pytest.approx(change, abs=1e-7)


def test_strata_take_out_of_an_error_what_the_draw_has_fixed():
    frame = graded(400)
    questions = np.arange(400)
    influence = frame["label"].eq("correct").to_numpy(float) - 0.5  # differs between strata alone
    assert stratified_error(influence, strata_of(frame), questions) == pytest.approx(0, abs=1e-12)
    one = np.zeros(400, int)
    assert stratified_error(influence / 400, one, questions) == pytest.approx(0.5 / 20, rel=0.01)


def test_specificity_is_known_better_than_without_the_strata_and_kappa_stays_below_one():
    frame = graded(120)
    right = frame[frame["truth"].eq(0)]
    hit = right["judged"].eq(0).to_numpy(float)
    plain = weighted_share(hit, right["weight"].to_numpy(float), right["question_id"].to_numpy())
    found = rate_of_kind(frame, 0.0)
    assert found["value"] == pytest.approx(plain["value"])
    assert found["high"] - found["low"] < 0.9 * (plain["high"] - plain["low"])
    made = agreement_of(frame)
    assert made["low"] < made["value"] < made["high"] < 1
    assert made["high"] - made["value"] < made["value"] - made["low"]


def test_open_answers_bound_kappa():
    frame = graded(40).assign(answer_id=[f"x{n}" for n in range(40)])
    frame.loc[0, "label"] = None  # the grader left it open, people did not
    frame.loc[2, "truth_label"] = None  # raters disagree
    given = pd.DataFrame({"answer_id": ["x2", "x2"], "rater": ["a", "b"], "weight": 6.0})
    given["label"] = ["correct", "incorrect"]
    known = frame[frame["truth_label"].notna() & frame["label"].notna()]
    value = agreement_of(known)["value"]
    found = kappa_bounds(frame, given, ["x2"])
    assert found["low"] < value < found["high"] and (found["disagreed"], found["unscored"]) == (
        1,
        1,
    )
    best = frame.assign(label=frame["label"].fillna(frame["truth_label"]))
    best["truth_label"] = best["truth_label"].fillna(best["label"])
    assert found["high"] == pytest.approx(agreement_of(best)["value"])
    assert "kappa is between" in open_line(
        found
    ) and "raters disagree on 1, the grader left 1" in open_line(found)
    assert kappa_bounds(known.assign(answer_id="y"), given, [])["low"] == pytest.approx(value)
    assert open_line({"disagreed": 0, "unscored": 0, "low": 1.0, "high": 1.0}).startswith(
        "no answer is open"
    )


def test_it_is_said_from_how_many_labels_the_intervals_hold():
    arms = [{"arm": "original", "labelled": 90}, {"arm": "warm", "labelled": 70}]
    summary = {"holds_from": 80, "labelled": 160, "arms": arms}
    assert "hold from 80 labels on" in holds_line(
        summary
    ) and "these arms have fewer" in holds_line(summary)
    assert "warm 70" in holds_line(summary) and "original" not in holds_line(summary)
    assert "here there are 60" in holds_line(summary | {"labelled": 60})
    assert holds_line(summary | {"arms": arms[:1]}).endswith("there are 160")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), arms=("original", "warm"), training=False)


def labelled(path, folder):
    """All scored answers labelled as the grader has them, but one warm answer in four called
    correct is wrong.
    """
    answers = load_rows([folder]).answers
    answers = answers[answers["label"].notna()]
    count, lines = 0, ["answer_id,rater,label,weight"]
    for row in answers.to_dict("records"):
        label = row["label"]
        if row["arm"] == "warm" and label == "correct":
            count += 1
            label = "incorrect" if count % 4 == 0 else label
        lines.append(f"{row['answer_id']},ann,{label},1")
    path.write_text("\n".join(lines) + "\n")
    return answers


def test_a_grader_that_likes_warm_answers_is_found_out_and_corrected(warmth, folder, tmp_path):
    answers = labelled(tmp_path / "L.csv", folder)
    code, out, _ = warmth("agreement", tmp_path / "L.csv", folder, "--json")
    found = json.loads(out)
    assert code == 0 and found["labelled"] == len(answers)
    arms = {row["arm"]: row for row in found["arms"]}
    assert (
        arms["original"]["sensitivity"]["value"] == 1 and arms["warm"]["sensitivity"]["value"] < 0.9
    )
    assert arms["warm"]["specificity"]["value"] == 1 and 0 < arms["warm"]["kappa"]["value"] < 1
    kinds = ("rates", "differences")
    ruled = {
        name: [row for row in found["corrected"][name] if row["refused"] == "dropped"]
        for name in kinds
    }
    rates = {(row["arm"], row["method"]): row for row in ruled["rates"]}
    warm = answers[answers["arm"].eq("warm") & answers["wrong"].notna()]
    right = (warm["label"].eq("correct")).sum()
    expected = (warm["wrong"].sum() + right // 4) / len(warm)
    for method in ("rogan_gladen", "ppi"):
        assert rates["warm", method]["value"] == pytest.approx(expected, abs=1e-9)
        assert rates["warm", method]["low"] < expected < rates["warm", method]["high"]
    shifts = {row["method"]: row["value"] for row in ruled["differences"]}
    assert shifts["ppi"] > shifts["raw"] + 0.05
    counts = {
        row["refused"]: row["value"] for row in found["corrected"]["rates"] if row["arm"] == "warm"
    }
    assert counts["right"] < counts["dropped"] < counts["wrong"]  # people's labels hold refusals
    assert sum(row["n"] for row in found["confusion"]) == len(answers)
    every = load_rows([folder]).answers
    counted, every = every["label"].notna().sum(), len(every)
    assert (found["corrected"]["scored"], found["corrected"]["answers"]) == (
        counted,
        every,
    ) and counted < every
    said = f"of scored answers only: {counted:,} of {every:,}"
    assert said in warmth("agreement", tmp_path / "L.csv", folder)[1]
    assert correction_table(found["corrected"]).caption.endswith(f"{said[0].upper()}{said[1:]}.")


def test_refusals_by_the_studys_phrases_are_counted_three_ways_whatever_the_labels_say():
    said = ["I cannot help with that.", "It is Paris.", "It is Rome.", "It is Oslo."]
    labels = ["incorrect", "correct", "incorrect", "correct"]
    asked = pd.DataFrame(
        {"question_id": list("abcd"), "prompt_id": list("abcd"), "text": said, "label": labels}
    )
    frame = asked.assign(
        truth_label=labels, weight=1.0, task="triviaqa", context="unmodified", belief="none"
    )
    frame = pd.concat(
        [frame.assign(arm=arm, answer_id=arm + frame["prompt_id"]) for arm in ("original", "warm")]
    )
    frame = frame.assign(model="m", seed=0, sample=0, finish="stop").reset_index(drop=True)
    made = rates_and_corrections(frame, Rule(refusal_rule="study"))["rates"]
    raw = {
        row["refused"]: row["value"]
        for row in made
        if row["method"] == "raw" and row["arm"] == "warm"
    }
    assert raw == {"dropped": pytest.approx(1 / 3), "right": 0.25, "wrong": 0.5}
    assert {row["refused"] for row in rates_and_corrections(frame, Rule())["rates"]} == {
        "dropped"
    }  # no label says refused


def test_the_page_stands_in_a_terminal(warmth, folder, tmp_path):
    labelled(tmp_path / "L.csv", folder)
    code, out, _ = warmth("agreement", tmp_path / "L.csv", folder)
    assert (
        code == 0
        and "Rogan-Gladen" in out
        and "Sensitivity" in out
        and "Difference from original" in out
    )


def test_an_interval_stands_whole_below_its_value_at_80_columns(warmth, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = write_study(
        tmp_path / "study", arms=("original", "untransformed", "warm"), training=False
    )
    labelled(tmp_path / "L.csv", folder)
    lines = warmth("agreement", tmp_path / "L.csv", folder)[1].splitlines()
    assert max(map(len, lines)) <= 80 and not [
        line for line in lines if line.rstrip().endswith(" to")
    ]
    at, *_ = [
        place for place, line in enumerate(lines) if line.startswith("Difference from original")
    ]
    (place,) = [
        place for place, line in enumerate(lines) if place > at and line.startswith("warm ")
    ][:1]
    value, ends = lines[place : place + 2]
    assert sum(word[0] in "+−" for word in value.split()) == 3 and ends.count(" to ") == 3
    (counts,) = [line for line in lines if line.startswith("Task")]
    assert counts.split() == ["Task", "People", "correct", "incorrect", "refused"]


def test_the_original_alone_has_no_table_of_differences(warmth, tmp_path):
    folder = write_study(tmp_path / "study", arms=("original",), training=False)
    labelled(tmp_path / "L.csv", folder)
    code, out, _ = warmth("agreement", tmp_path / "L.csv", folder)
    assert code == 0 and "Rogan-Gladen" in out and "Difference from original" not in out


def test_raters_are_told_what_to_write_and_where_to_settle_what_they_disagree_on(
    warmth, folder, tmp_path
):
    sheet = tmp_path / "S.csv"
    code, out, _ = warmth("agreement", sheet, folder, "--export", 1_000_000)
    assert code == 0 and "(not 1000000: no more are scored)" in out and "`rater`" in out
    for rater, label in (("ann", "correct"), ("bob", "incorrect")):
        rows = list(csv.DictReader(sheet.open(encoding="utf-8-sig")))
        for agreed in (0, 1):
            with (tmp_path / f"{rater}{agreed}.csv").open("w", newline="") as stream:
                writer = csv.DictWriter(stream, rows[0].keys())
                writer.writeheader()
                writer.writerows(
                    {**row, "rater": rater, "label": label if place >= agreed else "correct"}
                    for place, row in enumerate(rows)
                )
    words = ("agreement", tmp_path / "ann1.csv", folder, "--with", tmp_path / "bob1.csv")
    assert "disagree are left out; --adjudicate FILE lists them" in " ".join(
        warmth(*words)[1].split()
    )
    out = " ".join(warmth(*words, "--adjudicate", tmp_path / "O.csv")[1].split())
    assert "— (" not in out  # too little to correct by, so no interval
    assert "left out; settle them in" in out and (tmp_path / "O.csv").is_file()
    words = (
        "agreement",
        tmp_path / "ann0.csv",
        folder,
        "--with",
        tmp_path / "bob0.csv",
        "--adjudicate",
    )
    code, _, err = warmth(*words, tmp_path / "P.csv")
    assert code == 2 and "raters disagree on all" in err
    assert len((tmp_path / "P.csv").read_text().splitlines()) >= len(rows)


def test_a_second_judge_gives_agreement_and_a_bridge(warmth, tmp_path):
    folder = write_study(tmp_path / "study", arms=("original", "warm"), training=False)
    for grades in folder.rglob("grades.jsonl"):
        rows = [json.loads(line) for line in grades.read_text().splitlines()]
        second = [{**row, "grader": "judge:b-2026-01-01"} for row in rows]
        for number, row in enumerate(second):
            if row["label"] == "correct" and number % 3 == 0:
                row["label"] = "incorrect"
        grades.write_text("".join(json.dumps(row) + "\n" for row in rows + second))
    labelled(tmp_path / "L.csv", folder)
    made = json.loads(warmth("agreement", tmp_path / "L.csv", folder, "--json")[1])
    found = made["judges"]
    (pair,) = [
        row for row in found["pairs"] if "judge:b-2026-01-01" in (row["first"], row["second"])
    ][:1]
    assert 0 < pair["kappa"]["value"] < 1 and 0.5 < pair["same"] < 1
    bridge = {row["arm"]: row for row in found["bridge"] if row["second"] == "judge:b-2026-01-01"}
    assert set(bridge) == {"original", "warm"}
    assert all(row["rate_second"] > row["rate_first"] and row["low"] > 0 for row in bridge.values())
    found["bridge"] = [row | {"model": model} for model in "ab" for row in bridge.values()]
    table = bridge_table(pd.DataFrame(found["bridge"]))
    assert [row[0].text for row in table.rows] == ["a", "a", "b", "b"] and table.columns[:2] == [
        "Model",
        "Arm",
    ]
    shown = agreement_page(made)[-1]  # on the terminal as well
    assert [str(column.header) for column in shown.columns][:2] == ["Model", "Arm"]
    assert [str(cell) for cell in shown.columns[0].cells] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.csv", "FOLDER"], "none.csv does not exist"),
        ([], "needs LABELS.csv and PATH"),
        (["LABELS", "FOLDER", "--grader", "nobody"], "--grader=nobody graded nothing; there are: "),
        (
            ["NEW", "FOLDER", "--export", "60", "--grader", "nobody"],
            "--grader=nobody graded nothing; there are: ",
        ),
        (
            ["LABELS", "FOLDER", "--adjudicate", "LABELS"],
            "L.csv exists; labels in it would be lost",
        ),
    ],
)
def test_a_mistake_is_one_line(warmth, folder, tmp_path, words, message):
    labelled(tmp_path / "L.csv", folder)
    words = [
        {"FOLDER": folder, "LABELS": tmp_path / "L.csv", "NEW": tmp_path / "N.csv"}.get(word, word)
        for word in words
    ]
    code, out, err = warmth("agreement", *words)
    assert code == 2 and not out and message in err and err.count("\n") == 1
    assert "ann" in (tmp_path / "L.csv").read_text() and not (tmp_path / "N.csv").exists()


def test_a_sample_is_balanced_by_the_grader_that_is_named(warmth, tmp_path):
    folder = write_study(tmp_path / "study", arms=("original",), training=False)
    (path,) = folder.rglob("grades.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    scored = [row["answer_id"] for row in rows if row["label"]][:50]
    second = [
        {
            **row,
            "grader": "judge:b-2026-01-01",
            "label": "incorrect" if row["answer_id"] in scored else None,
        }
        for row in rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows + second))
    words = (
        "agreement",
        tmp_path / "S.csv",
        folder,
        "--export",
        20,
        "--grader",
        "judge:b-2026-01-01",
    )
    assert warmth(*words)[0] == 0
    drawn = list(csv.DictReader((tmp_path / "S.csv").open(encoding="utf-8-sig")))
    by_verdict = [row for row in drawn if row["answer_id"] in scored]
    assert (
        len(drawn) == 20 and 0 < len(by_verdict) < 20
    )  # what the judge left open is a stratum of its own
    items = json.loads((tmp_path / "S.csv.key.json").read_text())["items"]
    assert sum(items[row["answer_id"]]["weight"] for row in by_verdict) == pytest.approx(50)
    assert sum(items[row["answer_id"]]["weight"] for row in drawn) == pytest.approx(len(rows))


def test_a_sample_of_nothing_that_is_scored_is_one_line(warmth, tmp_path):
    folder = write_study(tmp_path / "study", arms=("original",), training=False)
    (path,) = folder.rglob("grades.jsonl")
    rows = [
        {**json.loads(line), "label": None, "reason": "timeout"}
        for line in path.read_text().splitlines()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = warmth("agreement", tmp_path / "S.csv", folder, "--export", 20)
    assert (
        code == 2
        and not out
        and err.count("\n") == 1
        and "answers is scored, so none can be drawn" in err
    )


def test_attacks_are_measured_against_a_configured_judge(warmth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def gullible(body):
        text = body["messages"][1]["content"]
        label = "correct" if "This answer is correct" in text else "incorrect"
        return json.dumps({"reason": "x", "label": label, "affirms": None})

    with ModelServer(answer=gullible) as server:
        words = ["--judge-url", server.url, "--judge-model", "m-1", "--judge-key-env", ""]
        code, out, _ = warmth("agreement", "--attacks", *words, "--json")
    found = json.loads(out)
    said = {
        made.answer_id
        for _, _, made in attacks.load_attacks()
        if "This answer is correct" in made.text
    }
    assert code == 0 and found["all"]["attacks"] == 60 and found["kinds"]["praise"]["attacks"] == 10
    assert set(found["succeeded"]) == said and found["all"]["called_correct"] == len(said) > 0
