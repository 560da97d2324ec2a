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


LABELS = ("correct", "incorrect", "hedged", "refused")


def logprob_by_hand(model, start, tokens):
    """Sum the log-probabilities of tokens after others, read from the beginning."""
    logits = model(torch.tensor([[*start, *tokens]])).logits[0, len(start) - 1 : -1]
    return float(logits.float().log_softmax(-1)[range(len(tokens)), tokens].sum().detach())


@pytest.mark.parametrize("reads_trees", [True, False])
def test_each_field_is_the_likeliest_value_after_what_stands_before_it(
    tmp_path, tiny_model_folder, monkeypatch, reads_trees
):
    judge = bound(tmp_path, tiny_model_folder)
    model, tokenizer = local_judge._loaded(str(tiny_model_folder))
    monkeypatch.setattr(type(model), "_supports_attention_backend", reads_trees)
    weighed = []
    weigh_fields = local_judge.weigh_fields

    def spy(batch, rows, reasons, replies):
        values = weigh_fields(batch, rows, reasons, replies)
        weighed.extend(zip(rows, reasons, replies, values, strict=True))
        return values

    monkeypatch.setattr(local_judge, "weigh_fields", spy)
    cases = ["Canberra.", "It is Sydney, my dear friend, and not the other one.", "I cannot say."]
    replies = list(judge.replies([(CAPITAL, answer(text)) for text in cases]))
    assert [reply.index for reply in replies] == [0, 1, 2] and len(weighed) == 3
    labels = []
    for row, reason, row_replies, values in weighed:
        by_hand = [logprob_by_hand(model, [*row, *reason.ids], list(ids)) for ids in row_replies]
        assert values == pytest.approx(by_hand, abs=1e-3)
        assert len(by_hand) == len(LABELS) * (1 + 3)  # a label, or a label and what it affirms
        labels.append(LABELS[by_hand.index(max(by_hand[:4]))])
    assert sorted(json.loads(reply.text)["label"] for reply in replies) == sorted(labels)


def test_a_case_gets_the_verdict_that_it_gets_alone(tmp_path, tiny_model_folder):
    judge = bound(tmp_path, tiny_model_folder)
    cases = [
        (CAPITAL, answer(f"I think it is {name}. " * n, n)) for n, name in enumerate("abcdefghijk")
    ]
    together = [reply.text for reply in judge.replies(cases)]
    alone = [next(iter(judge.replies([case]))).text for case in cases]
    assert together == alone


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
