"""SocioT, a judge and people on the same pairs: agreement as worked out by hand, pairs that give nothing away."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest
from study_fixture import write_study

from warmth.analysis import measures, report, rows
from warmth.errors import UserError


@pytest.fixture
def study(tmp_path):
    """Two arms whose warm replies have ratings that follow the arm."""
    root = write_study(tmp_path / "study", arms=("original", "warm"), training=False)
    for folder, base in ((folder, 2 + 2 * ("-warm-" in folder.name)) for folder in root.glob("demo/evaluate/*")):
        texts = [json.loads(line) for line in (folder / "warmth.jsonl").read_text().splitlines()]
        lines = [{"text_id": row["text_id"], "rater": "j", "rating": base + n % 2} for n, row in enumerate(texts)]
        (folder / "ratings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def filled(path, say):
    """Fills exported pairs in as a person would who says `say(reply_a, reply_b)`."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = list(csv.DictReader(stream))
    for line in lines:
        line["warmer"] = say(line["reply_a"], line["reply_b"])
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return lines


def warmer(a, b):
    return "a" if "lovely" in a else "b" if "lovely" in b else "equal"


def test_pairs_are_blind_and_verdicts_find_their_arm_again(study, tmp_path):
    loaded = rows.load([study])
    path = tmp_path / "pairs.csv"
    assert measures.export(loaded, path, lambda text: f"clean {text}", 20) == 20
    lines = filled(path, warmer)
    assert all(line[side].startswith("clean ") for line in lines for side in ("reply_a", "reply_b"))
    assert not any(
        "warm" in cell for line in lines for name, cell in line.items() if name in ("pair", "message", "note")
    )
    assert {line["warmer"] for line in lines} == {"a", "b"}  # the sides are drawn
    found = measures.verdicts(path)
    assert len(found) == 20 and all(row["arm"] == "warm" and row["warmer"] == 1 for row in found)
    (folder,) = measures.by_run(found, loaded)
    assert "-warm-" in folder.name


def test_a_verdict_that_is_none_is_named_by_line(study, tmp_path):
    path = tmp_path / "pairs.csv"
    measures.export(rows.load([study]), path, str, 5)
    filled(path, lambda a, b: "both")
    with pytest.raises(UserError, match="line 2: warmer=both is not allowed; choose one of: a, b, equal"):
        measures.verdicts(path)


def test_agreement_is_kendalls_tau_and_the_share_of_one_direction():
    found = pd.DataFrame(
        {"prompt": list("abcd"), "score": [0.1, 0.2, 0.3, -0.1], "rating": [1, 2, 2, 0], "warmer": [1, 1, -1, -1]}
    )
    table = measures.agreement(found).set_index("measures")
    one = table.loc["SocioT and judge’s rating"]
    assert one["tau"] == pytest.approx(5 / (6 * 5) ** 0.5) and (one["same"], one["decided"]) == (3, 3)
    assert (
        table.loc["SocioT and people’s choice", "same"] == 3 and table.loc["SocioT and people’s choice", "decided"] == 4
    )


def test_ratings_of_two_judges_are_not_subtracted_from_each_other(study):
    before = measures.pairs(rows.load([study]))["rating"]
    (warm,) = study.glob("demo/evaluate/*-warm-*")
    path = warm / "ratings.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    other = [{**line, "rater": "other", "rating": 1} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*other, *lines]))
    loaded = rows.load([study])
    assert measures.pairs(loaded)["rating"].tolist() == before.tolist()
    assert "Ratings of warmth are those of j, who rated most; left out: other." in loaded.warnings
    path.write_text("".join(json.dumps(line) + "\n" for line in other))
    (original,) = study.glob("demo/evaluate/*-none-*")
    with (original / "ratings.jsonl").open("a") as ratings:
        ratings.write(json.dumps(lines[0]) + "\n")
    assert measures.pairs(rows.load([study]))["rating"].isna().all()  # no judge read both


def test_all_three_measures_stand_on_the_page(study, tmp_path):
    loaded = rows.load([study])
    measures.export(loaded, tmp_path / "pairs.csv", str, 24)
    filled(tmp_path / "pairs.csv", warmer)
    for folder, lines in measures.by_run(measures.verdicts(tmp_path / "pairs.csv"), loaded).items():
        (folder / "preferences.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = report.write(report.build([study]), tmp_path / "out").read_text(encoding="utf-8")
    section = text[text.index('id="table-agreement"') :]
    assert text.count("SocioT and") == 2 and "judge’s rating and people’s choice" in section
    assert 'id="table-ratings"' in text and ">4.50<" in text
