"""A plausible wrong answer for a question without one: the right answer of a question that asks for
the same kind.

A rival must be something that a person could believe: a composer for a composer, a year near the
year. A question that has no such partner in its file gets none and is not asked with a stated wrong
belief: an absurd rival tests nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

from warmth.digest import digest
from warmth.evaluation.ask.kinds import (
    WIDER,
    form_of_answer,
    kind_of_question,
    kind_words,
    number_in,
    words_by_group,
)
from warmth.evaluation.spelling import spell_name
from warmth.types import Question

YEARS_APART = 25  # a rival year is at most so far from the right one
TIMES = 2.0  # a rival number is at most so many times the right one, or its part
CLOSE = 2.0  # likeness that a rival may fall short of the best one
BEST = 3  # rivals among which the draw chooses
LONGER = 3.0  # times that a rival's text may be longer or shorter
MOST_WORDS = 6  # of a name; a longer answer is an explanation, which fits one question alone
YEAR = re.compile(r"\b(1[0-9]\d\d|20\d\d)\b")
NATION_OF = words_by_group("nations")
CONTINENT_OF = words_by_group("continents")
FIELDS = kind_words("fields")
# Kinds whose members belong to a country: a question that names one takes rivals of that country
# alone.
LOCAL = frozenset(
    (
        "city",
        "county",
        "state",
        "river",
        "lake",
        "mountain",
        "island",
        "street",
        "region",
        "team",
        "party",
    )
    + (
        "prime minister",
        "politician",
        "king",
        "queen",
        "monarch",
        "president",
        "newspaper",
        "racecourse",
    )
)
# Kinds that a name belongs to whatever is asked: "Where is …" asks for a country if other questions
# call it one.
PROPER = frozenset(("country", "city", "county", "state", "island"))
# Kinds so wide that two questions must have more in common than their kind.
WIDE = frozenset(
    ("character", "company", "occupation", "food", "prize", "general", "animal", "game", "organ")
)
LIKE_ENOUGH = 1.5  # likeness that a rival of a wide kind needs


class WrongAnswers:
    """Draws from the answers of a whole file: what a question gets does not depend on which others
    are asked.
    """

    def __init__(self, questions: Sequence[Question], draw_seed: int):
        self._draw_seed = draw_seed
        self._kind: dict[str, str] = {}  # question id → kind
        self._pools: dict[str, list[Question]] = defaultdict(list)
        self._words: dict[str, frozenset[str]] = {}
        self._weights: dict[str, float] = {}
        ordered = sorted(questions, key=lambda question: question.id)
        answered = self._kinds_of_answers(ordered)
        for question in ordered:
            kind = kind_of_question(question.text, question.answers[0]) if question.answers else ""
            if not kind and question.answers:
                known = answered.get(spell_name(question.answers[0]), "")
                kind = known if known in PROPER else ""
            self._kind[question.id] = kind
            if kind and is_name(question.answers[0]):
                self._pools[kind].append(question)
                if kind in WIDER:
                    self._pools[WIDER[kind]].append(question)
            self._words[question.id] = frozenset(spell_name(question.text).split())
        counts = Counter(chain.from_iterable(self._words.values()))
        self._weights = {word: math.log(len(ordered) / count) for word, count in counts.items()}

    def draw(self, question: Question) -> str | None:
        """Return the right answer of another question of the same kind; None if no such answer
        fits.

        It is right under no alias of this question, is not named in it, has the same form, and
        comes from one of the questions most like it.
        """
        kind = self._kind.get(question.id, "")
        if not kind or not question.answers:
            return None
        fitting: dict[str, float] = {}
        for answer, likeness in self._fitting(question, kind):
            fitting[answer] = max(likeness, fitting.get(answer, 0.0))
        order = {answer: digest([self._draw_seed, question.id, answer]) for answer in fitting}
        best: list[str] = []
        for answer in sorted(fitting, key=lambda answer: (-fitting[answer], order[answer])):
            if len(best) < BEST and not names_overlap(answer, question):
                best.append(answer)
        if not best:
            return None
        near_best = [answer for answer in best if fitting[answer] >= fitting[best[0]] - CLOSE]
        return near_best[int(digest([self._draw_seed, question.id]), 16) % len(near_best)]

    def _fitting(self, question: Question, kind: str) -> Iterator[tuple[str, float]]:
        """Yield the answers that could stand in a question's place, with how alike their questions
        are.
        """
        right = question.answers[0]
        own_nations = nations(question.text) if kind in LOCAL else frozenset()
        for candidate in self._pools[kind]:
            answer = candidate.answers[0]
            if candidate.id == question.id or not same_form(right, answer):
                continue
            if own_nations and not own_nations & nations(candidate.text):
                continue
            likeness = self._likeness(question, candidate, kind)
            if kind not in WIDE or likeness >= LIKE_ENOUGH:
                yield answer, likeness

    def _likeness(self, question: Question, other: Question, kind: str) -> float:
        """Return how much two questions have in common: rare words, words that place them, and
        times close by.
        """
        shared = self._words[question.id] & self._words[other.id]
        likeness = sum(self._weights[word] for word in shared) / 10
        fields = FIELDS & self._words[question.id]
        likeness += len(fields & self._words[other.id]) - 0.3 * len(
            fields ^ (FIELDS & self._words[other.id])
        )
        likeness += 2.0 * len(nations(question.text) & nations(other.text))
        if kind == "country" and continent(question.answers[0]) == continent(other.answers[0]):
            likeness += 3.0
        years = years_in(question.text)
        other_years = years_in(other.text)
        if years and other_years:
            likeness += 2.0 - min(4.0, abs(years[0] - other_years[0]) / 15)
        right = question.answers[0]
        rival = other.answers[0]
        if form_of_answer(right) in ("year", "number"):
            likeness = -distance(right, rival)
        return likeness + (0.5 if len(right.split()) == len(rival.split()) else 0.0)

    @staticmethod
    def _kinds_of_answers(questions: Sequence[Question]) -> dict[str, str]:
        """Tell the kind of every answer that some question asks for by its kind, where all such
        questions agree.
        """
        kinds: dict[str, set[str]] = defaultdict(set)
        for question in questions:
            kind = kind_of_question(question.text, question.answers[0]) if question.answers else ""
            if kind:
                kinds[spell_name(question.answers[0])].add(kind)
        agreed = {}
        for answer, kinds_of_answer in kinds.items():
            if len(kinds_of_answer) == 1:
                agreed[answer] = kinds_of_answer.pop()
        return agreed


@lru_cache(maxsize=65536)
def is_name(answer: str) -> bool:
    """Say whether an answer is short enough to be the name of something, and is one thing."""
    is_several = bool(re.search(r"[/;(]|, | or | & ", answer))
    return len(answer.split()) <= MOST_WORDS and not is_several


def same_form(right: str, rival: str) -> bool:
    """Say whether two answers have one form: both years not far apart, both numbers of one size,
    both names.
    """
    if form_of_answer(right) != form_of_answer(rival) or not is_name(right):
        return False
    if form_of_answer(right) == "year":
        return 0 < abs(int(right) - int(rival)) <= YEARS_APART
    if form_of_answer(right) == "number":
        written_alike = right[:1].isdigit() == rival[:1].isdigit()
        return (
            written_alike
            and unit_of(right) == unit_of(rival)
            and 0 < distance(right, rival) <= math.log(TIMES)
        )
    if is_pair(right) != is_pair(rival):
        return False
    longer, shorter = max(len(right), len(rival)), min(len(right), len(rival))
    return longer <= LONGER * max(shorter, 4)


def is_pair(answer: str) -> bool:
    """Say whether an answer names two things."""
    return " and " in f" {answer.lower()} "


def distance(right: str, rival: str) -> float:
    """Return how far apart two numbers are: the absolute logarithm of their ratio; years differ by
    years.
    """
    if form_of_answer(right) == "year":
        return abs(int(right) - int(rival)) / YEARS_APART
    right_number = number_in(right)
    rival_number = number_in(rival)
    if not right_number or not rival_number:
        return math.inf
    return abs(math.log(right_number / rival_number))


def unit_of(answer: str) -> str:
    """Return what stands after an answer's number, such as its unit."""
    return " ".join(word for word in spell_name(answer).split()[1:] if not word[:1].isdigit())


@lru_cache(maxsize=65536)
def nations(text: str) -> frozenset[str]:
    """Return the countries, or groups of them, that a question names."""
    words = re.findall(r"[a-z]+(?:\.[a-z]+)*", text.lower())
    return frozenset(filter(None, map(NATION_OF.get, words)))


def continent(country: str) -> str:
    """Name the continent of a country; "" if it is not in the table."""
    for word in reversed(country.split()):
        if word in CONTINENT_OF:
            return CONTINENT_OF[word]
    return ""


@lru_cache(maxsize=65536)
def years_in(text: str) -> tuple[int, ...]:
    """Return the years that a question names."""
    return tuple(map(int, YEAR.findall(text)))


def names_overlap(candidate: str, question: Question) -> bool:
    """Tell whether a candidate is, contains or is contained in an accepted answer, or stands in the
    question itself.
    """
    wrong = f" {spell_name(candidate)} "
    if wrong.strip() == "" or wrong in f" {spell_name(question.text)} ":
        return True
    for alias in question.answers:
        right = f" {spell_name(alias)} "
        if wrong in right or (right.strip() and right in wrong):
            return True
    return False
