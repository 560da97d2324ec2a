"""A judge in this process: whatever the model, a verdict of the schema, each field the likeliest
value.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from test_judge import CAPITAL, QUICK, answer

from warmth.api import Servers
from warmth.errors import UserError
from warmth.evaluation.grade import local_judge
from warmth.evaluation.grade.judge import Judge, Verdict
from warmth.evaluation.grade.refusal_judge import RefusalJudge
from warmth.evaluation.grade.social import SCHEMAS


def bound(folder, model, kind=Judge, **settings):
    return kind(None, str(model), **settings).bind(
        "judge", Servers(SimpleNamespace(api=QUICK, output=str(folder)))
    )


def test_any_model_gives_a_verdict_of_the_schema(tmp_path, tiny_model_folder):
    judge = bound(tmp_path, tiny_model_folder)
    assert judge.name == "judge:tiny"
    batches = judge.grade_all(
        [(CAPITAL, answer(text, n)) for n, text in enumerate(["Canberra.", "", "It is Sydney."])]
    )
    grades = {grade.answer_id: grade for batch in batches for grade in batch}
    assert grades["a1"].reason == "empty" and len(grades) == 3
    assert all(
        grades[name].label in ("correct", "incorrect", "hedged", "refused") for name in ("a0", "a2")
    )
    refusal = bound(tmp_path, tiny_model_folder, RefusalJudge).grade(CAPITAL, answer("No."))
    assert refusal.label in ("refused", "incorrect")


def test_each_field_is_the_likeliest_value_after_what_stands_before_it(tmp_path, tiny_model_folder):
    judge = bound(tmp_path, tiny_model_folder)
    (reply,) = judge.replies([(CAPITAL, answer("Canberra."))])
    model, tokenizer = local_judge._loaded(str(tiny_model_folder))
    ids = local_judge.prompt_ids(tokenizer, judge.call(CAPITAL, answer("Canberra.")).messages)
    before = reply.text.partition(', "label": ')[0] + ', "label": '
    start = [*ids, *tokenizer(before, add_special_tokens=False).input_ids]
    labels = ("correct", "incorrect", "hedged", "refused")
    ends = [f'"{label}",' for label in labels]
    by_hand = []
    for end in ends:
        tokens = tokenizer(end, add_special_tokens=False).input_ids
        logits = model(torch.tensor([start + tokens])).logits[0, len(start) - 1 : -1]
        by_hand.append(float(logits.float().log_softmax(-1)[range(len(tokens)), tokens].sum()))
    assert local_judge.scores(model, tokenizer, ids, before, ends) == pytest.approx(
        by_hand, abs=1e-3
    )
    assert json.loads(reply.text)["label"] == labels[by_hand.index(max(by_hand))]


def test_a_schema_says_what_its_fields_may_hold():
    assert local_judge.values_of(Verdict, "label") == ["correct", "incorrect", "hedged", "refused"]
    assert local_judge.values_of(Verdict, "affirms") == [True, False, None]
    assert [
        local_judge.values_of(made, list(made.model_fields)[1]) for made in SCHEMAS.values()
    ] == [[True, False]] * 3


def test_too_long_a_case_has_a_name(tmp_path, tiny_model_folder):
    grade = bound(tmp_path, tiny_model_folder).grade(CAPITAL, answer("It goes on. " * 4000))
    assert (grade.label, grade.reason) == (None, "too_long")


def test_a_temperature_is_refused(tmp_path, tiny_model_folder):
    with pytest.raises(
        UserError, match="grader.judge.temperature=0.5: a judge in this process has none"
    ):
        bound(tmp_path, tiny_model_folder, temperature=0.5)
