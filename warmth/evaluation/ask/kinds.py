"""The kind of thing that a question asks for: a person who writes, a river, a year, a title.

It comes from the question's head noun ("Which English county …", "What is the capital of …"), from
what somebody did ("Who composed …"), or from the form of the answer alone (a year, a count). Nouns
that mean the same kind share a line of `kinds.yaml`. A head noun that is not listed is a kind of
its own. A kind of "" means that the question does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml

from warmth.evaluation.spelling import spell_name

LISTS = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text(encoding="utf-8"))


def words_by_group(name: str) -> dict[str, str]:
    """Return word → group for a list of `kinds.yaml` whose groups hold words."""
    return {word: group for group, words in LISTS[name].items() for word in words.split()}


def kind_words(name: str) -> frozenset[str]:
    """Return the words of a list of `kinds.yaml`."""
    return frozenset(LISTS[name].split())


KIND_OF = words_by_group("nouns")
DEED_OF = words_by_group("deeds")
COMPOUNDS = LISTS["compounds"]
WIDER = LISTS["wider"]
MUSIC = kind_words("music")
VERBS_TOO = kind_words("verbs_too")
QUANTITIES = kind_words("quantities")
ENDS_NOUN = kind_words("ends_noun")
WITHIN = kind_words("within")
PASSED = kind_words("passed")
VAGUE = kind_words("vague")
LEADS_IN = kind_words("leads_in")
NUMBERS: list[str] = LISTS["numbers"].split()
COPULA = frozenset(("is", "are", "was", "were"))
ENDINGS = ("ed", "ly", "ing")  # of a word that ends a noun phrase if it comes after a listed noun
YEAR = re.compile(r"(?:1[0-9]|20)\d\d")
DECADE = re.compile(r"(?:the )?(?:1[0-9]|20)?\d0'?s", re.IGNORECASE)
MONTH = re.compile(
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b",
    re.IGNORECASE,
)
TOKEN = re.compile(r"[^\W_]+(?:[.'’-][^\W_]+)*|[?!.,;:()\"“”]")


def kind_of_question(question: str, answer: str) -> str:
    """Name the kind of thing that a question asks for; "" if neither the question nor the answer's
    form tells.
    """
    form = form_of_answer(answer)
    if form in ("year", "decade", "date", "number"):
        return form
    tokens = [
        token.lower().removesuffix("'s").removesuffix("’s") for token in TOKEN.findall(question)
    ]
    kind = next(filter(None, _kinds(tokens)), "")
    if kind in ("year", "decade", "number"):
        return ""  # the answer has not the form that was asked for
    if kind == "group" and MUSIC & set(tokens):
        return "band"
    if kind == "novel" and {"testament", "bible"} & set(tokens):
        return "book of the bible"
    return kind


@lru_cache(maxsize=65536)
def form_of_answer(answer: str) -> str:
    """Name the form of an answer: year, decade, date, number, name (capitalised) or words."""
    text = answer.strip()
    words = text.lower().replace("-", " ").split()
    if YEAR.fullmatch(text):
        return "year"
    if DECADE.fullmatch(text):
        return "decade"
    if MONTH.search(text) and any(map(str.isdigit, text)):
        return "date"
    has_later_digits = any(map(str.isdigit, "".join(words[1:])))
    if number_in(answer) is not None and len(words) <= 3 and not has_later_digits:
        return "number"
    if words and set(words) <= {*NUMBERS, "and"}:
        return "number"
    is_one_of_many = words[:1] in (["a"], ["an"])
    is_name = text[:1].isupper() or text[:1].isdigit()
    return "name" if is_name and not is_one_of_many else "words"


def number_in(answer: str) -> float | None:
    """Return the number that an answer begins with, in digits or as one word; None if there is
    none.
    """
    match = re.match(r"\W*(\d[\d,]*(?:\.\d+)?)(?!\S*[a-z]*\d*['’]?[a-z])", answer.strip())
    if match:
        return float(match[1].replace(",", ""))
    spelled = spell_name(answer)
    if spelled in NUMBERS[:21]:
        return float(NUMBERS.index(spelled))
    return None


def _kinds(tokens: list[str]) -> Iterator[str]:
    """Yield what each part of a question says about the kind, the surest first."""
    for index, token in enumerate(tokens):
        if token == "how" and tokens[index + 1 : index + 2] and tokens[index + 1] in QUANTITIES:
            yield "number"
    for index, token in enumerate(tokens):
        if token in ("which", "what") and tokens[index + 1 : index + 2]:
            yield _head(tokens[index + 1 :])
    for index, token in enumerate(tokens):
        if token in ("who", "whom"):
            yield _person(tokens[index + 1 :])
    if tokens[:1] == ["name"]:
        yield _head(tokens[1:])


def _head(tokens: list[str]) -> str:
    """Name the kind of the noun phrase that tokens begin with; "" if there is none."""
    remaining = list(tokens)
    copula = bool(remaining) and remaining[0] in COPULA
    if copula:
        remaining = remaining[1:]
        if not remaining or remaining[0] not in LEADS_IN | {"name"}:
            return ""
    phrase: list[str] = []
    while remaining:
        token = remaining.pop(0)
        if token == "of" and phrase and phrase[-1] in PASSED:
            phrase.clear()
            continue
        if not token[0].isalnum() or (token in ENDS_NOUN and phrase):
            break
        if token in ENDS_NOUN:
            return ""
        if token not in LEADS_IN:
            phrase.append(token)
    listed = _listed(phrase)
    if listed:
        return listed
    if not phrase or len(phrase) > 4 or phrase[-1].endswith(ENDINGS):
        return ""
    noun = phrase[-1].rsplit("-", 1)[-1]
    is_noun = noun.isalpha() and noun not in PASSED and noun not in VAGUE and len(noun) > 2
    return noun if is_noun else ""


def _listed(phrase: list[str]) -> str:
    """Name the kind of a phrase's head, its last noun before a verb: "film director played"; "" if
    it is not listed.
    """
    words = "-".join(phrase).split("-")
    kind = ""
    for index, word in enumerate(words):
        pair = f"{words[index - 1]} {word}" if index else ""
        if kind and word in VERBS_TOO:
            return kind
        listed = COMPOUNDS.get(pair) or KIND_OF.get(word) or KIND_OF.get(word.removesuffix("s"), "")
        if listed or word in WITHIN:
            kind = listed
        elif kind and (word.endswith(ENDINGS) or word.endswith("s")):
            return kind
        else:
            kind = ""
    return kind


def _person(tokens: list[str]) -> str:
    """Name the kind of person that a question for "who" asks for, by what they did or were; "" if
    it does not say.
    """
    if tokens[:1] and tokens[0] in COPULA:
        return _head(tokens)
    for token in tokens[:3]:
        if token in DEED_OF:
            kind = DEED_OF[token]
            return "songwriter" if kind == "author" and MUSIC & set(tokens) else kind
    return ""
