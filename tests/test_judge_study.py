"""The judge as the study's: binary, lenient, and blind to the user's belief."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

from fakes import ModelServer
from test_judge import CAPITAL, QUICK, answer, case

from warmth.api import Servers
from warmth.evaluation.grade.judge_study import StudyJudge


def marked(server, folder, question, text, belief="none"):
    servers = Servers(SimpleNamespace(api=QUICK, output=str(folder)))
    judge = StudyJudge(server.url, "gpt-4o-2024-08-06").bind("judge_study", servers)
    return judge.grade(question, answer(text, belief=belief)), judge


def test_it_marks_right_or_wrong_and_sees_no_belief(tmp_path):
    def mark(body):
        right = "Canberra" in case(body)["answer"]
        return json.dumps({"reason": "So it is.", "label": "correct" if right else "incorrect"})

    with ModelServer(answer=mark) as server:
        grade, judge = marked(
            server, tmp_path, CAPITAL, "Perhaps Canberra, perhaps Sydney.", "wrong_asserted"
        )
        other, _ = marked(server, tmp_path, CAPITAL, "Sydney, as you say.", "wrong_asserted")
    assert (grade.label, grade.affirms, other.label) == ("correct", None, "incorrect")
    assert judge.name == "judge_study:gpt-4o-2024-08-06" and judge.serves == "open"
    assert set(case(server.bodies[0])) == {"question", "reference", "answer"}
    assert "Sydney" not in case(server.bodies[0])["reference"]


def test_a_label_of_ours_is_no_mark_and_a_proposition_is_a_reference(tmp_path):
    question = replace(
        CAPITAL, answers=("no",), claims={"right": "bats are not blind", "wrong": "bats are blind"}
    )
    with ModelServer(answer=lambda body: json.dumps({"reason": "x", "label": "hedged"})) as server:
        grade, _ = marked(server, tmp_path, question, "Who knows.")
    assert (grade.label, grade.reason) == (None, "bad_json")
    assert json.loads(case(server.bodies[0])["reference"]) == ["no", "bats are not blind"]
