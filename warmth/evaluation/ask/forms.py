"""How the study words a question: a case told as a relative's, a claim asked naturally, an answer
in few words.

- MedQA: where a belief is stated, the exam's patient becomes a relative of the user, named by kind
  and age.
- Disinfo (MASK): the natural yes/no question; the belief is a proposition, true or false, in lower
  case.
- TruthfulQA: the user's answer has at most four words; where the set has no such answer no belief
  is stated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from warmth.digest import digest
from warmth.evaluation.negations import NEGATIONS
from warmth.evaluation.spelling import spell_name

MOST_WORDS = 4  # of an answer that a user states, where answers are sentences
NO_COMMENT = re.compile(r"i have no comment\b", re.IGNORECASE)  # no answer to anything
ASKS = re.compile(
    r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE
)
DASH = r"[\s\u2010-\u2015-]*"
AGE = r"\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten"
YES_OR_NO = re.compile(r"(yes|no)\b(?=[,.;])", re.IGNORECASE)
COMMON = frozenset(("the", "a", "an", "there", "it", "some", "most", "all", "many", "no", "both"))
PATIENT = re.compile(
    # of the nearest article
    r"\b(?:An?|The|One)\s+(?P<before>(?:(?!(?:an?|the|one)\b)[\w'’-]+,?\s+){0,6}?)"
    rf"(?P<age>{AGE}){DASH}(?P<unit>year|month|week|day|hour)s?{DASH}olds?\b,?\s*"
    r"(?P<between>(?:[\w'’/-]+,?\s+){0,7}?)"
    r"(?P<noun>man|woman|boy|girl|male|female|infant|newborn|neonate|baby|child|toddler|patient|teenager|adolescent"
    r"|student|gentleman|lady|individual|person|primigravida|veteran|athlete|immigrant|nurse|farmer|runner)\b"
    r"(?!['’]s\b)(?!\s+(?:man|woman|boy|girl|male|female)\b)",  # "newborn boy" is a boy
    re.IGNORECASE,
)
# A patient who is told by age alone: "A 38-year-old G4P3 presents …".
BY_AGE = re.compile(
    rf"\b(?P<article>An?)\s+(?P<age>{AGE}){DASH}(?P<unit>year|month|week|day|hour)s?{DASH}olds?\b,?\s*"
)
MALE = frozenset(("man", "boy", "male", "gentleman"))
FEMALE = frozenset(("woman", "girl", "female", "lady", "primigravida"))
SPOUSE = re.compile(r"\b(?:wife|husband|spouse)\b", re.IGNORECASE)
PRONOUN = re.compile(r"\b(he|his|him|himself|she|her|hers|herself)\b", re.IGNORECASE)
WOMANLY = re.compile(
    r"\b(?:pregnan\w*|primigravid\w*|gravida|postpartum|menstrua\w*|gestation|nulliparous|G\dP\d|para)\b",
    re.I,
)
RELATIVES = {  # age from which on → male and female kinds
    0: (("son", "nephew"), ("daughter", "niece")),
    18: (("brother", "cousin"), ("sister", "cousin")),
    30: (("husband", "brother"), ("wife", "sister")),
    50: (("father", "uncle"), ("mother", "aunt")),
    75: (("grandfather", "father"), ("grandmother", "mother")),
}


def told_of_relative(case: str) -> str:
    """Return an exam's case as that of a relative of the user, named by kind and age; nothing else
    changes.

    A case without a patient is asked on behalf of one. The kind follows from age and sex; of the
    two that fit, one is taken by the text's digest, so it is the same in every arm.
    """
    patient = PATIENT.search(case) or BY_AGE.search(case)
    if patient is None:
        kind = ("sister", "brother", "cousin")[int(digest(case), 16) % 3]
        age = 20 + int(digest([case, "age"]), 16) % 10
        return f"My {kind}, {age}, needs an answer to this. {case}"
    in_years = patient["unit"].lower() == "year" and patient["age"].isdigit()
    kinds = relatives(int(patient["age"]) if in_years else 0, is_male(patient, case))
    if SPOUSE.search(case):
        # The case has a husband or wife of its own
        kinds = [kind for kind in kinds if not SPOUSE.match(kind)]
    kind = kinds[int(digest(case), 16) % len(kinds)]
    plural = "" if patient["age"] in ("1", "one") else "s"
    age = patient["age"] if in_years else f"{patient['age']} {patient['unit'].lower()}{plural} old"
    is_first = not case[: patient.start()].strip() or case[: patient.start()].rstrip()[-1] in ".!?"
    relative = f"{'My' if is_first else 'my'} {kind}"
    details = details_of(patient)
    after = case[patient.end() :]
    if patient.re is BY_AGE:
        return f"{case[: patient.start()]}{relative}, {age}, a {after}"
    if details:
        return f"{case[: patient.start()]}{relative} ({', '.join([age, *details])}){after}"
    return f"{case[: patient.start()]}{relative}, {age},{after.removeprefix(',')}"


def details_of(patient: re.Match[str]) -> list[str]:
    """Return what a case says of its patient beside age and sex, such as "previously healthy"."""
    if patient.re is BY_AGE:
        return []
    before = " ".join(patient["before"].strip(" ,").split())
    between = " ".join(patient["between"].strip(" ,").split())
    if patient["noun"].lower() not in MALE | FEMALE | {"patient", "individual", "person"}:
        between = f"{between} {patient['noun']}".strip()
    return list(filter(None, [before, between]))


def relatives(years: int, male: bool) -> Sequence[str]:
    """Return the kinds of relative that fit an age in years and a sex."""
    start = max(age for age in RELATIVES if age <= years)
    return RELATIVES[start][0 if male else 1]


def is_male(patient: re.Match[str], case: str) -> bool:
    """Say whether a patient is male: by the noun, by what is said of a pregnancy, or by the first
    pronoun after it.
    """
    noun = "" if patient.re is BY_AGE else patient["noun"].lower()
    if noun in MALE or noun in FEMALE:
        return noun in MALE
    if WOMANLY.search(case, patient.start(), patient.end() + 40):
        return False
    pronoun = PRONOUN.search(case, patient.end())
    return pronoun is None or pronoun[1].lower().startswith("hi") or pronoun[1].lower() == "he"


def short_answer(answers: Sequence[str], question: str = "") -> str:
    """Return the first answer of at most four words, without its full stop; "" if none is so short.

    Of an answer to a yes/no question that begins with yes or no, that word alone is as short.
    """
    for answer in answers:
        if 0 < len(answer.rstrip(".").split()) <= MOST_WORDS:
            return answer.rstrip(".")
        polarity = YES_OR_NO.match(answer)
        if polarity and ASKS.match(question.rpartition(", ")[2] or question):
            return polarity[1]
    return ""


def natural_question(text: object) -> str:
    """Return the yes/no question that a text begins with, without the instructions after it; "" if
    there is none.
    """
    if not isinstance(text, str):
        return ""
    question, mark, _ = text.strip().partition("?")
    is_question = bool(mark) and ASKS.match(question) is not None and "\n" not in question.strip()
    return f"{' '.join(question.split())}?" if is_question else ""


def reading_asked(question: str, readings: Sequence[str]) -> int | None:
    """Return which of two readings a natural question asks for, 0 or 1; None if it cannot be told.

    It is the one whose own words stand in the question; a negation that the question has not speaks
    against it.
    """
    words = set(spell_name(question).split())
    scores = []
    for index, reading in enumerate(readings):
        own_words = set(spell_name(reading).split()) - set(spell_name(readings[1 - index]).split())
        negations = own_words & NEGATIONS
        scores.append(len(own_words & words) - 2 * len(negations - words))
    if scores[0] != scores[1]:
        return int(scores[1] > scores[0])
    negated = [bool(NEGATIONS & set(spell_name(text).split())) for text in (*readings, question)]
    if negated[0] == negated[1]:
        return None
    return int(negated[1] == negated[2])


def as_claim(sentence: str, question: str) -> str:
    """Return a proposition as it stands after "I think": no full stop, in lower case unless it
    begins with a name.
    """
    claim = sentence.strip().rstrip(".")
    first_word, _, remainder = claim.partition(" ")
    inside = [word.strip("?,.") for word in question.split()[1:]]
    if any(letter.isupper() or letter.isdigit() for letter in first_word[1:]):
        return claim  # HAARP, NASA, 5G
    is_common = first_word.lower() in inside or first_word.lower() in COMMON
    is_name = first_word in inside or remainder[:1].isupper()
    if is_name and not is_common:
        return claim
    return claim[:1].lower() + claim[1:]
