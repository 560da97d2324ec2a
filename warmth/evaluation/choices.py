r"""The letter grader for multiple choice: the letter that an answer settles on.

Three kinds of evidence, the first that there is counts, of it the last clause; a clause with a negation never does:

1. A declared letter: "The answer is B", "Option (b)", "Antwort: B", "$\boxed{B}$", "So B."
2. A clause that ends in a letter: "I would go with B".
3. The only capital letter, else the only option whose text is given.

Two letters in that clause ("A and B"): no label (`names_both`). None: no label (`names_neither`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_letters
from typing import ClassVar

from warmth.evaluation.by_rules import ByRules
from warmth.evaluation.negations import NEGATIONS, count_negations
from warmth.evaluation.refusals import declines
from warmth.evaluation.spelling import spell, spell_name
from warmth.evaluation.unscored import unreadable
from warmth.types import Answer, Grade, Question

TAG = re.compile(r"</?[a-zA-Z]+>")  # <b>
SET_APART = re.compile(r"[(\[{*$]([A-Za-z])[)\]}*$]")  # (A), **A**, $A$: no article
COMMAND = re.compile(r"\\[a-zA-Z]+")  # of LaTeX
LETTERS = frozenset(ascii_letters)
BUT = re.compile(r" (?:[-–—]+|but) ")
LETTER = re.compile(r"(?<![\w'’-])([A-Za-z])(?![\w'’-])")
NAMED_BEFORE = re.compile(r"\b(?:answer|option|choice|letter)\b\W*(?:\w+\W+){0,2}$", re.IGNORECASE)
SAYS_IS = re.compile(r"\s+(?:is|was|and|or)\b", re.IGNORECASE)  # after an A that is no article
DENIES = re.compile(rf"\b(?:{'|'.join(sorted(NEGATIONS))})\b|n['’]t\b|\bcannot\b", re.IGNORECASE)
VERDICT = re.compile(r"\s+(?:is|was|are|were|isn|wasn|aren|weren)\S*(?:\s+\S+){0,2}")
HEAD = re.compile(r"^[\s:]*([A-Za-z])\s*[.):,-]")  # of a line that treats one option
FEW = 3  # words of a clause that is only a letter


class Signs(dict[int, str]):
    """What each character becomes: itself, a space if it is markup, or "|", the end of a clause."""

    def __missing__(self, code: int) -> str:
        """Decide one character when it is first met."""
        character = chr(code)
        spelled = "|"
        if character.isalnum() or character.isspace() or character in "&+%°'’:-–—":
            spelled = character
        elif character in '*_$#`{}()[]"“”\\':
            spelled = " "
        self[code] = spelled
        return spelled


SIGNS = Signs()


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
        if len(letters) == 1:
            label = "correct" if letters == {question.answers[0]} else "incorrect"
            return Grade(answer.answer_id, self.name, label)
        if declines(spell(answer.text)):
            return Grade(answer.answer_id, self.name, "refused")
        if letters:
            return Grade(answer.answer_id, self.name, None, reason="names_both")
        reason = "cut_off" if answer.finish == "length" else "names_neither"
        return Grade(answer.answer_id, self.name, None, reason=reason)


def settled_on(text: str, options: Mapping[str, str]) -> set[str]:
    """Return the letters of the clause that settles the question."""
    declared: list[set[str]] = []
    at_the_end: list[set[str]] = []
    capitals: set[str] = set()
    for clause in clauses_of(without_options(text, options)):
        mentions = list(letters_in(clause, options))
        if not mentions:
            continue
        letters = {letter for letter, _, _ in mentions}
        ends = any(is_last for _, is_last, _ in mentions)
        if any(is_declared for _, _, is_declared in mentions) or (ends and len(clause.split()) <= FEW):
            declared.append(letters)
        elif ends:
            at_the_end.append(letters)
        capitals |= letters
    if declared:
        return declared[-1]
    if at_the_end:
        return at_the_end[-1]
    return capitals or options_named(text, options)


def without_options(text: str, options: Mapping[str, str]) -> str:
    """Return an answer without markup and without the texts of options, which may hold letters: "Vitamin C"."""
    text = SET_APART.sub(r" : \1 ", TAG.sub(" ", text) if "<" in text else text)
    if "\\" in text:
        text = COMMAND.sub(" ", text)
    lower = text.lower()
    for first_word, pattern in patterns_of(tuple(options.values())):
        if first_word in lower:
            text = pattern.sub(" ", text)
    return text


@lru_cache(maxsize=4096)
def patterns_of(options: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    """Return the first word of each option with its pattern, the longest first; options of one letter are left out."""
    names = [re.findall(r"[^\W_]+", option) for option in options]
    names = [words for words in names if len("".join(words)) > 1]
    patterns = []
    for words in sorted(names, key=lambda words: -len(" ".join(words))):
        spelled = r"[\W_]+".join(map(re.escape, words))
        patterns.append((words[0].lower(), re.compile(rf"(?<!\w)(?:{spelled})(?!\w)", re.IGNORECASE)))
    return patterns


def clauses_of(text: str) -> Iterator[str]:
    """Yield the clauses of an answer, without the lines that only go through the options."""
    lines = text.splitlines()
    listed = [line for line in lines if HEAD.match(line)]
    heads = {HEAD.sub(r"\1", line)[:1].upper() for line in listed}
    if len(heads) > 1:
        open_ones = [line for line in listed if not DENIES.search(line)]
        left_out = listed if len(open_ones) > 1 else [line for line in listed if line not in open_ones]
        lines = [line for line in lines if line not in left_out]
    for line in lines:
        marked = BUT.sub("|", line.translate(SIGNS).replace(":", " : "))
        for clause in marked.split("|"):
            if not LETTERS.isdisjoint(clause.split()):
                yield clause.strip(" '‘’")


def letters_in(clause: str, options: Mapping[str, str]) -> Iterator[tuple[str, bool, bool]]:
    """Yield each letter that a clause does not deny, whether it ends the clause, and whether "answer" or so names it.

    "a" and "I" are words, too: they count at the end of a clause, and "A" where it cannot be an article.
    """
    for mention in LETTER.finditer(clause):
        letter = mention[1].upper()
        if letter not in options:
            continue
        before, after = clause[: mention.start()], clause[mention.end() :]
        is_capital = mention[1].isupper()
        is_last = not after
        if letter in "AI" and not is_last and not before.endswith(": "):
            may_be_word = letter == "I" or not (is_capital and before)
            if may_be_word and not (letter == "A" and SAYS_IS.match(after)):
                continue
        is_declared = NAMED_BEFORE.search(before) is not None
        lead = before.rpartition(":")[2]  # "Don't worry: it is B" denies nothing
        if (is_capital or is_last or is_declared) and not denies(lead, after):
            yield letter, is_last, is_declared


def denies(before: str, after: str) -> bool:
    """Say whether the words around a letter deny it: "not B", "B is wrong"."""
    if DENIES.search(before):
        return True
    verdict = VERDICT.match(after)
    return verdict is not None and DENIES.search(verdict[0]) is not None


def options_named(text: str, options: Mapping[str, str]) -> set[str]:
    """Return the letters of the options whose text an answer gives without a negation; "dark blue" is not "blue"."""
    spelled = spell(text)
    letters = set()
    taken: list[tuple[int, int]] = []
    for letter, option in sorted(options.items(), key=lambda item: -len(item[1])):
        name = spell_name(option)
        start = spelled.words.find(f" {name} ") + 1 if name else 0
        end = start + len(name)
        if not start or any(start < taken_end and taken_start < end for taken_start, taken_end in taken):
            continue
        taken.append((start, end))
        if not count_negations(" | ".join(spelled.around(start, end)), ""):
            letters.add(letter)
    return letters
