"""Texts made comparable: one spelling for accents, case, numbers, contractions and articles."""

from __future__ import annotations

import re
import unicodedata

CLAUSE, SENTENCE, ASKED = "|", "¶", "?"  # marks that `marked` leaves in a normalised text

LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "’": "'", "‘": "'", "ʼ": "'"})
ACCENTS = re.compile(r"[\u0300-\u036f]")
PUNCTUATION = re.compile(r"(?<!\d)\.|\.(?!\d)|\?(?! ¶)|[^\w\s.|¶?]|_")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
ZEROS = re.compile(r"(?<!\S)(?:0+(?=\d)|(?=\d))(\d+)(?:\.0+|(\.\d*?[1-9])0*)?(?!\S)")
# "vitamin a" and "hepatitis a" keep their letter
ARTICLE = re.compile(
    r"(?<!\S)(?:the|an|(?<!vitamin )(?<!hepatitis )(?<!influenza )(?<!type )(?<!group )(?<!grade )a) (?=\w)"
)

CONTRACTION = re.compile(r"(\w+)'(\w*)|\bcannot\b")
SUFFIXES = {"re": " are", "m": " am", "ve": " have", "ll": " will", "d": " would"}
HEADS = {"ca": "can not", "wo": "will not", "ai": "is not", "sha": "shall not"}
SUBJECTS = frozenset(("it", "that", "this", "he", "she", "what", "there", "here", "who", "answer"))

UNITS = (
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    + ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SMALL = {word: value for value, word in enumerate(UNITS)} | {word: 10 * value for value, word in enumerate(TENS, 2)}
LARGE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
WORDS = "|".join([*SMALL, *LARGE])
# "one" is no number where it is a pronoun ("no one", "one of"); "and" joins only after hundred or thousand
NUMBERS = re.compile(
    rf"(?<!no )(?<!this )(?<!that )(?<!which )(?<!\S)(?!one of\b)(?:\d[\d.]* (?=million|billion|thousand|hundred))?"
    rf"(?:{WORDS})(?:(?: |(?<=hundred) and |(?<=thousand) and )(?:{WORDS}))*(?!\S)"
)

INITIALS = re.compile(r"\b(?:[A-Za-z]\. ?){2,}")  # "J. K." and "D.C." are "jk" and "dc"

# A stop ends a sentence when a space and a capital, digit or quote follow, but not after an initial or a title.
STOP = re.compile(r"[.!?]+[\"')\]*]*(?=\s+[\"'(*\[A-Z0-9]|\s*$)|\n+")
TITLE = re.compile(r"\b(?:Dr|Mr|Ms|Mrs|St|Prof|vs|[A-Z])$")
PAUSE = re.compile(
    r"[,;:—–()]|\s-\s|\b(?=but\b|(?<!hundred )(?<!thousand )and\b|although\b|though\b|whereas\b|while\b|however\b"
    r"|instead\b(?! of)|rather\b(?! than))"
)


def normalise(text: str) -> str:
    """A text in one spelling: words of letters and digits with single spaces, numbers as digits, no articles."""
    return _words(_unmarked(text).replace(ASKED, " "))


def marked(text: str) -> str:
    """A normalised text that keeps its borders: `|` between clauses, `¶` after sentences, `? ¶` after questions.

    Begins and ends with a space, so that words can be looked for with spaces around them.
    """
    text = STOP.sub(_stop, THOUSANDS.sub("", _unmarked(text)))
    return f" {_words(PAUSE.sub(f' {CLAUSE} ', text))} "


def _unmarked(text: str) -> str:
    text = INITIALS.sub(lambda found: re.sub(r"[.\s]", "", found[0]) + " ", text)
    return text.replace(CLAUSE, " ").replace(SENTENCE, " ").replace("\n", " \n")


def _stop(found: re.Match[str]) -> str:
    text, stop = found.string, found[0]
    if (
        stop == "."
        and TITLE.search(text, max(0, found.start() - 5), found.start())
        and found.end() < len(text.rstrip())
    ):
        return stop
    return f" {ASKED} {SENTENCE} " if ASKED in stop else f" {SENTENCE} "


def _words(text: str) -> str:
    if not text.isascii():
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold()).translate(LETTERS)
    text = text.casefold()
    if "'" in text or "cannot" in text:
        text = CONTRACTION.sub(_contraction, text)
    text = " ".join(PUNCTUATION.sub(" ", THOUSANDS.sub("", text).replace("%", " percent ")).split())
    text = ZEROS.sub(lambda found: found[1] + (found[2] or ""), NUMBERS.sub(_numbers, text))
    return ARTICLE.sub("", text).strip()


def _contraction(found: re.Match[str]) -> str:
    head, tail = found[1], found[2]
    if head is None:
        return "can not"
    if tail == "t" and head.endswith("n"):
        return HEADS.get(head[:-1], f"{head[:-1]} not")
    if tail == "s":
        return f"{head} is" if head in SUBJECTS else head
    return head + SUFFIXES.get(tail, f" {tail}" if tail else "")


def _numbers(found: re.Match[str]) -> str:
    """Number words as digits: "twenty one" is 21, "5 million" 5000000, "nineteen forty five" 1945, "one two" 1 2."""
    done: list[float] = []
    total, current = 0.0, None
    for word in found[0].split():
        if word in LARGE:
            current = (1 if current is None else current) * LARGE[word]
            if LARGE[word] > 100:
                total, current = total + current, None
        elif word != "and":
            value = float(word) if word[0].isdigit() else float(SMALL[word])
            if (
                current is None
                or (current % 100 == 0 and current > 0)
                or (current % 10 == 0 and current % 100 >= 20 and 0 < value < 10)
            ):
                current = (current or 0.0) + value
            elif 10 <= current < 100 and 10 <= value < 100 and not total:
                current = current * 100 + value
            else:
                done.append(total + current)
                total, current = 0.0, value
    done.append(total + (current or 0.0))
    return " ".join(f"{value:.10g}" if value < 1e9 else f"{value:.0f}" for value in done)
