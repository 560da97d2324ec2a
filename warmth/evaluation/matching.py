"""Texts made comparable: one spelling for accents, case, numbers, contractions and articles."""

from __future__ import annotations

import re
import unicodedata

CLAUSE, SENTENCE = "|", "¶"  # marks that `marked` leaves in a normalised text

LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "’": "'", "‘": "'", "ʼ": "'", "…": "."})  # noqa: RUF001
ACCENTS = re.compile(r"[\u0300-\u036f]")
PUNCTUATION = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w\s.|¶]|_")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
NUMBER = re.compile(r"(?<!\S)0*(\d+?)(?:\.0+|(\.\d*?[1-9])0*)?(?!\S)")
# "vitamin a" and "hepatitis a" keep their letter
ARTICLE = re.compile(r"(?<!vitamin )(?<!hepatitis )(?<!influenza )(?<!type )(?<!group )(?<!grade )(?<!\S)(?:the|an?)(?= [\w])")
CONTRACTIONS = [
    (re.compile(pattern), repl)
    for pattern, repl in (
        (r"\bcan't\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bain't\b", "is not"),
        (r"n't\b", " not"),
        (r"\b(it|that|this|he|she|what|there|here|who|answer)'s\b", r"\1 is"),
        (r"'re\b", " are"),
        (r"\bi'm\b", "i am"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"'d\b", " would"),
        (r"'s\b", ""),
        (r"(?<=s)'(?=\s|$)", ""),
    )
]
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SMALL = {word: value for value, word in enumerate(UNITS)} | {word: 10 * value for value, word in enumerate(TENS, 2)}
LARGE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
WORDS = "|".join([*SMALL, *LARGE])
# "one" is a number only where it is not a pronoun
NUMBERS = re.compile(rf"(?<!no )(?<!this )(?<!that )(?<!which )(?<!\S)(?!one of\b)(?:[\d.]+ )?(?:{WORDS})(?: (?:and )?(?:{WORDS}))*(?!\S)")

# A full stop ends a sentence when a space and a capital, digit or quote follow, but not after an initial or a title.
STOP = re.compile(r"(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bSt)(?<!\bMrs)([.!?]+)[\"')\]*]*(?=\s+[\"'(*\[A-Z0-9]|\s*$)|\n+")
PAUSE = re.compile(r"[,;:—–()]|\s-\s|\b(?=(?:but|and|although|though|whereas|while|instead(?! of)|rather(?! than)|however)\b)")  # noqa: RUF001


def normalise(text: str) -> str:
    """A text in one spelling: words of letters and digits with single spaces, numbers as digits, no articles."""
    text = _letters(text.replace(CLAUSE, " ").replace(SENTENCE, " "))
    return _words(text)


def marked(text: str) -> str:
    """A normalised text that keeps its borders: `|` between clauses, `¶` after sentences (`? ¶` after a question).

    Begins and ends with a space, so that words can be looked for with spaces around them.
    """
    text = text.replace(CLAUSE, " ").replace(SENTENCE, " ")
    text = STOP.sub(lambda found: f" questioned {SENTENCE} " if "?" in (found[1] or "") else f" {SENTENCE} ", text)
    text = THOUSANDS.sub("", text)
    return f" {_words(_letters(PAUSE.sub(f' {CLAUSE} ', text)))} "


def _letters(text: str) -> str:
    if not text.isascii():
        # the sentence mark survives: NFKD leaves it alone
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text)).translate(LETTERS)
    return text.casefold()


def _words(text: str) -> str:
    if "'" in text or "cannot" in text:
        for pattern, repl in CONTRACTIONS:
            text = pattern.sub(repl, text)
    text = THOUSANDS.sub("", text).replace("%", " percent ")
    text = " ".join(PUNCTUATION.sub(" ", text).split())
    text = NUMBERS.sub(_number, text)
    text = NUMBER.sub(lambda found: found[1] + (found[2] or ""), text)
    stripped = ARTICLE.sub("", text)
    return " ".join(stripped.split())


def _number(found: re.Match[str]) -> str:
    """Number words as digits: "twenty one" is 21, "5 million" 5000000, "nineteen forty five" 1945."""
    total, current, seen = 0.0, 0.0, False
    for word in found[0].split():
        if word == "and":
            continue
        if word in LARGE:
            scale = LARGE[word]
            current = (current if seen else 1) * scale
            if scale > 100:
                total, current, seen = total + current, 0.0, False
            continue
        value = float(word) if word[0].isdigit() else SMALL[word]
        if seen and not (0 < value < 10 <= current and current % 10 == 0) and current % 100 != 0:
            if not (10 <= current < 100 and 10 <= value < 100):
                return found[0]  # "one two three" is a list, not a number
            current *= 100
        current, seen = current + value, True
    result = total + current
    return str(int(result)) if result.is_integer() else str(result)
