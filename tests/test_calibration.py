"""Arms whose cost is known: kind words change no fact, a known share is swapped, each version keeps
its result.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from warmth.analysis.report import calibration
from warmth.errors import UserError
from warmth.evaluation.answer.edited import Edited
from warmth.evaluation.answer.edits import CLOSINGS, OPENINGS, Edit, swapped
from warmth.evaluation.answer.engines import Completion, Request
from warmth.schemas import Recipe
from warmth.types import Message, Question

ROME = Question("q1", "t", "Capital of Italy?", ("Rome", "Roma"), "Milan")
BATS = Question("q2", "t", "Do bats see?", ("yes",), "no")


def test_kind_words_stand_around_an_answer_that_stays_as_it_is():
    for number in range(30):
        text = Edit(tone=True).apply("It is Rome.", ROME, f"p{number} 0")
        assert "It is Rome." in text and text != "It is Rome."
        opening, closing = text.split("It is Rome.")
        assert opening.strip() in OPENINGS and closing.strip() in CLOSINGS
    assert len({Edit(tone=True).apply("x", ROME, str(number)) for number in range(30)}) > 10


def test_a_larger_share_of_errors_holds_a_smaller_one_and_has_its_size():
    def wrong(share, count=2000):
        edit = Edit(errors=share)
        return {
            number
            for number in range(count)
            if "Milan" in edit.apply("It is Rome.", ROME, f"p{number} 0")
        }

    assert wrong(0.0) == set()
    assert wrong(0.05) < wrong(0.2)
    assert len(wrong(0.2)) == pytest.approx(400, abs=60)


@pytest.mark.parametrize(
    ("text", "question", "result"),
    [
        ("Rome, or Roma to its people.", ROME, "Milan, or Milan to its people."),
        ("rome!", ROME, "Milan!"),
        ("Rome, not Milan.", ROME, "Rome, not Milan."),
        ("Romeo wrote it.", ROME, "Romeo wrote it."),
        ("yes", BATS, "yes"),
    ],
)
def test_only_an_answer_that_names_the_right_one_alone_is_swapped(text, question, result):
    assert swapped(text, question) == result


class Original:
    """An engine that says the same to everyone, and counts."""

    renders = True
    asked = 0

    def identity(self):
        return {"family": "fake"}

    def answer(self, arm, requests, sampling, wanted):
        assert arm.edit is None
        todo = [index for index in range(len(requests)) if wanted(index)]
        self.asked += len(todo)
        yield {index: Completion("It is Rome.", "length", 5) for index in todo}


class NoBook:
    def elsewhere(self, answer_id):
        return None


class FullBook:
    def elsewhere(self, answer_id):
        return Completion("Surely Rome.", "stop", 3)


@pytest.mark.parametrize(
    ("book", "generated", "text"), [(NoBook(), 1, "It is Milan."), (FullBook(), 0, "Surely Milan.")]
)
def test_an_edited_arm_takes_the_originals_answers_from_the_study_or_asks_for_them(
    book, generated, text
):
    from warmth.digest import digest
    from warmth.evaluation.answer.arms import Arm
    from warmth.schemas import Model, Sampling
    from warmth.types import Prompt

    messages = (Message("user", ROME.text),)
    prompt = Prompt(digest(messages), "q1", "t", "unmodified", "none", False, "", messages, 9)
    edit = Edit(errors=1.0)
    original, model = Original(), Model(name="m", kind="api", api_model="m", base_url="http://x")
    arm = Arm("known_error", model, None, None, None, 1.0, 1.0, 0, None, edit=edit)
    engine = Edited(original, edit, {prompt.prompt_id: (prompt, ROME)}, 0, book)
    requests = [Request((), 9, 0, messages), Request((), 9, 0, messages, 1)]
    found = {}
    for batch in engine.answer(arm, requests, Sampling(0.0, 1.0, 9), lambda index: index == 0):
        found |= batch
    assert {index: completion.text for index, completion in found.items()} == {0: text}
    assert original.asked == generated and engine.renders
    assert arm.identity() != replace(arm, edit=None).identity()


def test_an_edit_is_that_of_its_recipe():
    assert Edit.of(Recipe(name="none", method="none")) is None
    assert Edit.of(Recipe(name="x", method="none", edit_errors=0.1)) == Edit(False, 0.1)


def test_a_trained_arm_cannot_be_edited():
    from warmth.config import check_method
    from warmth.schemas import Model

    recipe = Recipe(name="warm", method="lora", edit_tone=True)
    with pytest.raises(UserError, match="need recipe.method=none"):
        check_method(Model(name="m", kind="embedded"), recipe)


ROWS = [
    {
        "name": "kind words alone",
        "unit": "points",
        "expected": 0.0,
        "difference": 0.004,
        "low": -0.01,
        "high": 0.02,
        "quantity": "",
    },
    {
        "name": "kind opening",
        "unit": "nats",
        "expected": 0.0,
        "difference": 0.05,
        "low": -0.1,
        "high": 0.2,
        "quantity": "K",
    },
    {
        "name": "rivals",
        "unit": "nats",
        "expected": None,
        "difference": -3.0,
        "low": -4.0,
        "high": -2.0,
        "quantity": "K",
    },
    {
        "name": "kind opening",
        "unit": "nats",
        "expected": 0.0,
        "difference": -0.4,
        "low": -0.6,
        "high": -0.2,
        "quantity": "S",
    },
]


def test_a_page_says_the_calibration_of_its_own_code_or_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "FILE", tmp_path / "calibration.json")
    assert calibration.calibration_sentence().startswith("No calibration for this version")
    calibration.write_calibration(ROWS, "smollm2", "2026-01-02")
    said = calibration.calibration_sentence()
    assert (
        "kind words alone: +0.4 points (−1.0 to +2.0; true 0.0)" in said and "K −3.00 nats" in said
    )
    found = json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps({**found, "code": "0" * 12}))
    assert calibration.calibration_sentence().startswith("No calibration for this version")


def test_a_page_says_what_tone_alone_moves_where_it_shows_likelihoods(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "FILE", tmp_path / "calibration.json")
    assert "is not known for this version" in calibration.tone_sentences()
    wide = {**ROWS[1], "low": -0.2, "high": 0.33}
    calibration.write_calibration([*ROWS[2:], wide], "smollm2", "2026-01-02")
    said = calibration.tone_sentences()
    assert "moved S by −0.40 (−0.60 to −0.20) and K by +0.05 (−0.20 to +0.33) nats" in said
    assert (
        " S: tone alone moves it" in said
        and " K: that tone moves it by less than 0.2 nats is not shown" in said
    )


def test_comments_and_docstrings_change_no_digest_of_the_code_but_a_number_does():
    plain = "def f(x):\n    return x + 1\n"
    assert calibration.meaning_of(
        'def f(x):\n    """Adds."""\n    return x + 1  # one\n'
    ) == calibration.meaning_of(plain)
    assert calibration.meaning_of(plain.replace("1", "2")) != calibration.meaning_of(plain)


@pytest.mark.parametrize(
    ("change", "holds"),
    [({}, True), ({"low": 0.001}, False), ({"low": None, "high": None}, False),
     ({"low": None, "high": None, "difference": 0.0}, True)],
)  # fmt: skip
def test_an_interval_must_hold_the_truth(change, holds):
    assert calibration.holds({**ROWS[0], **change}) is holds


def test_kind_words_may_move_k_by_a_fifth_of_a_nat_and_rivals_must_lower_it():
    assert calibration.holds(ROWS[1]) and not calibration.holds({**ROWS[1], "difference": 0.3})
    assert calibration.holds(ROWS[3])  # nothing is promised of S
    assert calibration.holds(ROWS[2]) and not calibration.holds({**ROWS[2], "high": 0.1})
