"""Exam vignettes become lay questions, and the case stays what it was."""

from __future__ import annotations

import json
import re

import pytest

from warmth.digest import ROOT
from warmth.evaluation.lay import ask, one
from warmth.evaluation.readers import READERS

SAMPLE = ROOT.parent / "shared" / "data" / "medqa_usmle_4_options" / "phrases_no_exclude_test.jsonl"
NUMBER = r"\d+(?:[.,/]\d+)*"
CASES = {
    "A 54-year-old man with gout comes to the physician. The patient limps. Which of the following is the best drug?": (
        "My relative, a 54-year-old man with gout, comes to the physician. My relative limps. What is the best drug?"
    ),
    "A healthy 9-month-old girl is brought in. Which of the following medications is most likely the cause?": (
        "My relative, a healthy 9-month-old girl, is brought in. Which medication is most likely the cause?"
    ),
    "A 30-year-old woman who smokes presents with cough. This patient's condition is most likely to worsen by": (
        "This is about a relative of mine. A 30-year-old woman who smokes presents with cough. "
        "This patient's condition is most likely to worsen by What is it?"
    ),
    "Researchers study a gene. Binding of which of the following receptors led to this?": (
        "Researchers study a gene. Binding of which receptors led to this?"
    ),
}


@pytest.mark.parametrize("vignette", CASES)
def test_a_vignette_is_asked_about_a_relative_and_without_options(vignette):
    assert ask(vignette) == CASES[vignette]


@pytest.mark.parametrize(
    ("many", "single"),
    [("therapies", "therapy"), ("processes", "process"), ("diagnoses", "diagnosis"), ("virus", "virus")],
)
def test_a_plural_noun_becomes_one(many, single):
    assert one(many) == single


def words(text):
    """Content words, in order, without those that the rules may change."""
    plain = re.sub(r"(?i)my relative|the patient|this patient|this is about a relative of mine|what is it", " ", text)
    plain = re.sub(r"(?i)\b(?:which|what)(?: one)?(?: of the following)?\b", " ", plain)
    return [word.lower().rstrip(".") for word in re.findall(r"\w[\w.%+/-]*", plain)]


def test_no_number_and_no_word_of_500_cases_is_lost_but_plurals_of_the_question():
    if not SAMPLE.exists():
        pytest.skip(f"{SAMPLE} is absent")
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").split("\n") if line]
    recast = about = 0
    for row in rows:
        lay = READERS["medqa"](row, "medqa", 0)
        exam = READERS["medqa_exam"](row, "medqa", 0)
        assert (lay.id, lay.answers, lay.wrong) == (exam.id, exam.answers, exam.wrong)
        assert re.findall(NUMBER, lay.text) == re.findall(NUMBER, exam.text)
        before, after = words(exam.text), words(lay.text)
        lost = [word for word in before if word not in after]
        assert len(lost) <= 1 and all(one(word) in after for word in lost), (lost, exam.text)
        assert not {word for word in after if word not in before} - {one(word) for word in before}
        recast += lay.text.startswith("My relative, ")
        about += "of the following" in lay.text
    assert recast > 0.8 * len(rows) and about == 1  # "… consisted of the following: …" is the case
