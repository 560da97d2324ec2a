r"""The letter grader for multiple choice: the letter that an answer settles on.

Four kinds of evidence, the first that there is counts. What a negation denies ("not B", "B is
wrong") never does.

1. A declared letter, the last one: after "answer", "option", "choice" or "letter" ("Option (b)",
   "$\boxed{B}$"), at the end of a clause after "is", "so", "actually" or a colon ("It's B",
   "Antwort: B"), or with its text ("B. Venus").
2. A sentence that is only a letter: "B!" After a comma or a dash it may be a signature: "Yours, B."
3. A clause that ends in a letter: "I would go with B".
4. The only capital letter, else the only option whose text is given.

Two letters of the kind that counts ("A and B"): no label (`names_both`). None: no label
(`names_neither`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import ClassVar

from warmth.evaluation.grade.by_rules import ByRules
from warmth.evaluation.grade.refusals import declines
from warmth.evaluation.grade.unscored import unreadable
from warmth.evaluation.negations import NEGATIONS, count_negations
from warmth.evaluation.spelling import (
    EMOTICON,
    PLAIN,
    Spelled,
    end_before_statements,
    overlaps,
    spell,
    spell_name,
)
from warmth.types import Answer, Grade, Question

SENTENCE, CLAUSE = "|", ","  # end a sentence, a clause within it
ALONE = "="  # stands before a letter that is set apart
TAG = re.compile(r"</?[a-zA-Z]+>")  # <b>
SET_APART = re.compile(r"[(\[{*$]([A-Za-z])[)\]}*$]")  # (A), **A**, $A$: no article
COMMAND = re.compile(r"\\[a-zA-Z]+")  # of LaTeX
# "B. Venus", where \x01B stands for "Venus"
WITH_ITS_TEXT = re.compile(r"(?<!\w)([A-Za-z])\W{1,5}\x01(?i:\1)")
OPTION_TEXT = re.compile(r"\x01[A-Z]")
HEAD = re.compile(r"\n[\s:]*([A-Za-z])\s*[.):,-].*")  # a line that treats one option
# A letter of its own. "a" and "I" are words where a word follows, unless it is one of these.
LETTER = re.compile(
    r" (?=[A-Za-z] )([A-HJ-Zb-hj-z]|(?<== )[aIi]|[aIi](?= (?:\W|$|is |was |and |or )))"
)
NAMES = re.compile(r"\b(?:answer|option|choice|letter)\b\W*(?:\w+\W+){0,2}$", re.IGNORECASE)
LEADS = re.compile(r"(?:\b(?:is|so|thus|hence|therefore|actually)|'s|:)\W*$", re.IGNORECASE)
SAYS_IS = re.compile(r"\s+(?:is|was|and|or)\b", re.IGNORECASE)  # after an A that is no article
# What stands between two letters that are given together: "B or C", "B, C".
JOINS = re.compile(r"[ =]*(?:,|or|and|&)[ =]*", re.IGNORECASE)
LIST_END = re.compile(r"[ ']*|[ =]*(?:or|and|&) =? ?[A-Za-z][ ']*", re.IGNORECASE)  # " or C"
DENIES = re.compile(rf"\b(?:{'|'.join(sorted(NEGATIONS))})\b|n't\b|\bcannot\b", re.IGNORECASE)
VERDICT = re.compile(r"\s+(?:is|was|are|were|isn|wasn|aren|weren)\S*(?:\s+\S+){0,2}")
WITHIN_WORDS = "&+%°':-="
MARKUP = '*_$#`{}()[]"“”\\'


class LetterSigns(dict[int, str]):
    """What each character becomes: itself, a space if it is markup, or the end of a clause or
    sentence.
    """

    def __missing__(self, code: int) -> str:
        """Decide one character when it is first met."""
        character = chr(code)
        if character.isalnum() or character in WITHIN_WORDS:
            spelled = character
        elif character in MARKUP or (character.isspace() and character not in "\n\r"):
            spelled = " "
        else:
            spelled = CLAUSE if character in ",–—" else SENTENCE
        self[code] = spelled
        return spelled


SIGNS = LetterSigns()
ASCII_SIGNS = str.maketrans({code: SIGNS[code] for code in range(128)})


class Kind(IntEnum):
    """How a letter is given, the weakest first."""

    CAPITAL = 0
    ENDING = 1
    SENTENCE = 2
    DECLARED = 3


@dataclass(frozen=True)
class Letter(ByRules):
    """Grades multiple choice by the letter an answer settles on."""

    name: ClassVar[str] = "letter"
    serves: ClassVar[str] = "letter"

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Compare the letter with the right one."""
        unread = unreadable(answer, self.name)
        if unread:
            return unread
        letters = settled_on(answer.text, question.options)
        if not letters:
            text = spell(answer.text)
            letters = options_named(text, question.options)
            if not letters and declines(text):
                return Grade(answer.answer_id, self.name, "refused")
        if len(letters) == 1:
            label = "correct" if letters == {question.answers[0]} else "incorrect"
            return Grade(answer.answer_id, self.name, label)
        if letters:
            return Grade(answer.answer_id, self.name, None, reason="names_both")
        reason = "cut_off" if answer.finish == "length" else "names_neither"
        return Grade(answer.answer_id, self.name, None, reason=reason)


def settled_on(text: str, options: Mapping[str, str]) -> set[str]:
    """Return the letters that an answer settles on by the strongest kind of evidence; none if it
    gives no letter.
    """
    text = clauses_of(text, options)
    strongest, letters = Kind.CAPITAL, set()
    for kind, clause_letters in letters_by_clause(text, options):
        if kind > strongest or kind == Kind.DECLARED:
            strongest, letters = kind, clause_letters
        elif kind == strongest:
            letters = letters | clause_letters
    return letters


def clauses_of(text: str, options: Mapping[str, str]) -> str:
    """Return an answer without markup, its clauses divided by CLAUSE and SENTENCE.

    The texts of options, which may hold letters ("Vitamin C"), and the lines that only go through
    the options are left out.
    """
    if not text.isascii():
        text = text.translate(PLAIN)
    if "<" in text:
        text = TAG.sub(" ", text)
    if ":" in text or ";" in text or "=" in text or "<" in text:
        text = EMOTICON.sub(SENTENCE, text)
    text = "\n" + SET_APART.sub(rf" {ALONE} \1 ", text)
    if "\\" in text:
        text = COMMAND.sub(" ", text.replace("\\boxed", " answer "))
    lower = text.lower()
    for first_word, letter, pattern in patterns_of(tuple(options.items())):
        if first_word in lower:
            text = pattern.sub(f"\x01{letter}", text)
    heads = {head[1].upper() for head in HEAD.finditer(text)}
    if len(heads) > 1:
        text = without_lines(text)
    if "\x01" in text:
        text = OPTION_TEXT.sub(" ", WITH_ITS_TEXT.sub(rf" option \1{SENTENCE}", text))
    text = end_before_statements(text)
    text = text.replace("?", f"{ALONE}{SENTENCE}")  # "B?" settles nothing
    text = text.replace(" - ", CLAUSE).replace("--", CLAUSE).replace(" but ", CLAUSE)
    text = text.translate(ASCII_SIGNS if text.isascii() else SIGNS)
    for sign in (SENTENCE, CLAUSE, ALONE, ":"):
        text = text.replace(sign, f" {sign} ")
    return f" {text} "


def without_lines(text: str) -> str:
    """Return an answer without its lines about one option each, but for the only one that is not
    denied.
    """
    lines = HEAD.findall(text)
    not_denied = [line for line in HEAD.finditer(text) if not DENIES.search(line[0])]
    settled_line = not_denied[0][0] if len(lines) > 1 and len(not_denied) == 1 else None
    return HEAD.sub(lambda line: line[0] if line[0] == settled_line else "", text)


@lru_cache(maxsize=4096)
def patterns_of(options: tuple[tuple[str, str], ...]) -> list[tuple[str, str, re.Pattern[str]]]:
    """Return each option's first word, letter and pattern, the longest first; texts of one letter
    are left out.
    """
    named = []
    for letter, option in options:
        words = re.findall(r"[^\W_]+", option)
        if len("".join(words)) > 1:
            named.append((letter, words))
    patterns = []
    for letter, words in sorted(named, key=lambda option: -len(" ".join(option[1]))):
        spelled = r"[\W_]+".join(map(re.escape, words))
        patterns.append(
            (words[0].lower(), letter, re.compile(rf"(?<!\w)(?:{spelled})(?!\w)", re.IGNORECASE))
        )
    return patterns


def letters_by_clause(text: str, options: Mapping[str, str]) -> Iterator[tuple[Kind, set[str]]]:
    """Yield the letters of each clause that gives any which it does not deny, with their strongest
    kind.

    A letter that is joined to the one before it ("B or C", "B, C" at a clause's end) brings that
    one into its clause, in small letters too: neither is settled on.
    """
    letters: dict[int, set[str]] = defaultdict(set)
    kinds: dict[int, Kind] = {}
    previous_letter = ""
    previous_kind = Kind.CAPITAL
    previous_end = 0
    for mention in LETTER.finditer(text):
        letter = mention[1].upper()
        if letter not in options:
            continue
        start, end = mention.span()
        begin = max(text.rfind(SENTENCE, 0, start), text.rfind(CLAUSE, 0, start)) + 1
        before = text[begin:start]
        after = text[end:].partition(SENTENCE)[0].partition(CLAUSE)[0]
        # "Don't worry: it is B" denies nothing
        if denies(before.rpartition(":")[2], after):
            previous_letter = ""
            continue
        kind = kind_of_letter(mention[1], before, after)
        between = text[previous_end:start]
        is_joined = bool(previous_letter) and JOINS.fullmatch(between) is not None
        if CLAUSE in between and not LIST_END.fullmatch(after):
            is_joined = False  # "B, A is too cold" gives B alone
        joined_letter = previous_letter if is_joined else ""
        joined_kind = previous_kind
        previous_letter = letter
        previous_kind = kind or Kind.CAPITAL
        previous_end = end
        if kind is None and joined_letter:
            kind = Kind.CAPITAL  # a small letter, but one of a list
        if kind is None:
            continue
        if kind == Kind.SENTENCE and text[begin - 1] == CLAUSE:
            kind = Kind.ENDING
        letters[begin].add(letter)
        if joined_letter:
            letters[begin].add(joined_letter)
            kind = max(kind, joined_kind)
        kinds[begin] = max(kind, kinds.get(begin, kind))
    for begin, kind in kinds.items():
        yield kind, letters[begin]


def kind_of_letter(letter: str, before: str, after: str) -> Kind | None:
    """Return how a clause gives a letter, None for a word: "a" and "I", and other small letters
    within a clause.
    """
    is_last = not after.strip(" '")
    is_set_apart = before.endswith(ALONE)
    if letter in "AaIi" and not is_last and not is_set_apart:
        may_be_word = letter in "Iia" or not before.strip()
        if may_be_word and not (letter in "Aa" and SAYS_IS.match(after)):
            return None
    if NAMES.search(before) or (is_last and LEADS.search(before)):
        return Kind.DECLARED
    if is_last:
        return Kind.ENDING if before.strip(f" '{ALONE}") else Kind.SENTENCE
    return Kind.CAPITAL if letter.isupper() else None


def denies(before: str, after: str) -> bool:
    """Say whether the words around a letter deny it: "not B", "B is wrong"."""
    if DENIES.search(before):
        return True
    verdict = VERDICT.match(after)
    return verdict is not None and DENIES.search(verdict[0]) is not None


def options_named(text: Spelled, options: Mapping[str, str]) -> set[str]:
    """Return the letters of the options whose text an answer gives without a negation; "dark blue"
    is not "blue".
    """
    letters = set()
    taken: list[tuple[int, int]] = []
    for letter, name in spelled_options(tuple(options.items())):
        start = text.words.find(f" {name} ") + 1
        end = start + len(name)
        if not start or overlaps(start, end, taken):
            continue
        taken.append((start, end))
        if not count_negations(" | ".join(text.around(start, end)), ""):
            letters.add(letter)
    return letters


@lru_cache(maxsize=4096)
def spelled_options(options: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Return each option's letter and spelled text, the longest first."""
    named = []
    for letter, text in options:
        name = spell_name(text)
        if name:
            named.append((letter, name))
    return sorted(named, key=lambda option: -len(option[1]))
