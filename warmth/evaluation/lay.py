"""Exam vignettes as a layperson would ask: about a relative, without options, the case itself word for word.

Rules only, so that the same row always gives the same question. What a rule does not fit keeps its own words.
"""

from __future__ import annotations

import re

# A 54-year-old man with diabetes | comes to the physician …: a noun phrase with an age, then the first verb
OPENING = re.compile(
    r"^\s*(?P<article>An?|The)\s+(?P<person>[^.;:?]*?[\w-]+[- ](?:year|month|week|day|hour)s?[- ]old\b[^.;:?]*?),?\s+"
    r"(?P<verb>presents?|comes?|is|was|has|had|undergoes|underwent|develops?|complains|arrives|reports|seeks|visits|"
    r"calls|returns|goes|states|suffers|experiences|falls|receives|notices|gets|walks)\b"
)
SUBORDINATE = re.compile(r"\b(?:who|whom|whose|that|which|and|or|when|after|while|because|mother|father|parents)\b")
VERBS = (
    r"is|are|was|were|would|will|best|most|should|could|can|may|might|must|has|have|had|does|did|do|likely|describes|"
    r"describe|explains|accounts|represents|accurately|correctly|characterizes|confirms|causes|caused|led|in|to|on|for|"
    r"of|that|if|this|the|explain|these|with|by|at|from"
)
FOLLOWING = re.compile(rf"\b(?P<which>[Ww])hich of the following(?P<nouns>(?: [\w-]+)*?) (?P<verb>{VERBS})\b")
BARE = re.compile(r"\b([Ww])hich(?: one)? of the following\b")
PATIENT = re.compile(r"\b([Tt]h(?:e|is)) patient\b")


def ask(vignette: str) -> str:
    """The vignette as a question about a relative.

    "A 54-year-old man comes …" becomes "My relative, a 54-year-old man, comes …", and "the patient" the relative; a
    person described in a clause is only introduced, a case without one stays. "Which of the following is …?" asks
    openly: "What is …?".
    """
    text = vignette.strip().strip('"').strip()
    found = OPENING.match(text)
    if found and not SUBORDINATE.search(found["person"]):
        article = "the" if found["article"] == "The" else found["article"].lower()
        text = f"My relative, {article} {found['person']}, {found['verb']}{text[found.end() :]}"
        text = PATIENT.sub(lambda match: "My relative" if match[1][0] == "T" else "my relative", text)
    elif found:
        text = f"This is about a relative of mine. {text}"
    text = FOLLOWING.sub(_openly, text)
    text = BARE.sub(lambda match: f"{match[1]}hich", text)
    return text if text.endswith("?") else f"{text.rstrip()} What is it?"


def _openly(match: re.Match[str]) -> str:
    """The question without its options: "Which of the following drugs is" → "Which drug is"."""
    nouns, verb = match["nouns"].split(), match["verb"]
    if not nouns:
        return f"{'W' if match['which'] == 'W' else 'w'}hat {verb}"
    singular = verb in ("is", "was", "has", "does", "best", "most", "describes", "explains", "would")
    last = one(nouns[-1]) if singular else nouns[-1]
    return f"{match['which']}hich {' '.join([*nouns[:-1], last])} {verb}"


def one(noun: str) -> str:
    """A plural noun's singular, for the regular plurals of exam questions."""
    for ending, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("noses", "nosis")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + singular
    return noun.removesuffix("s") if noun.endswith("s") and not noun.endswith(("ss", "is", "us")) else noun
