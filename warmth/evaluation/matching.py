"""Texts made comparable: one spelling for accents, case, numbers, contractions and articles."""

from __future__ import annotations

import re
import unicodedata

CLAUSE, SENTENCE, ASKED = "|", "~", "?"  # marks that `marked` leaves in a normalised text; ASCII, as that is fast

LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ı": "i"}
    | dict.fromkeys("’‘ʼ", "'")
    | dict.fromkeys("“”", '"')
)
ACCENTS = re.compile(r"[\u0300-\u036f]")
# Every expression below that runs over whole texts begins with a literal or a set, which `re` finds fast, or is only
# tried where a cheap test allows it.
PLAIN = {number: " " for number in range(128) if not (chr(number).isalnum() or chr(number) in " .|~?")}
PUNCTUATION = re.compile(r"[^\w\s.|~?]|_")
DOT = re.compile(r"\.(?:(?!\d)|(?<!\d\.))")  # all but the decimal point
QUESTION = re.compile(r"\?(?! ~)")
THOUSANDS = re.compile(r",(?=\d{3}(?!\d))(?<=\d,)")
DIGIT = re.compile(r"\d")
ZEROS = re.compile(r"(?<!\S)(?:0+(?=\d)|(?=\d))(\d+)(?:\.0+|(\.\d*?[1-9])0*)?(?!\S)")
LETTERED = frozenset(("vitamin", "hepatitis", "influenza", "type", "group", "grade"))  # "vitamin a" keeps its letter

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
    rf"(?<!\S)(?=[0-9a-z])(?<!no )(?<!this )(?<!that )(?<!which )(?!one of\b)"
    rf"(?:\d[\d.]* (?=million|billion|thousand|hundred))?"
    rf"(?:{WORDS})(?:(?: |(?<=hundred) and |(?<=thousand) and )(?:{WORDS}))*(?!\S)"
)

INITIALS = re.compile(r"\b(?:[A-Za-z]\. ?){2,}")  # "J. K." and "D.C." are "jk" and "dc"
TWO_INITIALS = re.compile(r"\.(?<=\b[A-Za-z]\.) ?[A-Za-z]\.")

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november")
MONTHS = (*MONTHS, "december")
_MONTH = "|".join(f"{name}|{name[:3]}" for name in sorted(MONTHS, key=len, reverse=True)) + "|sept"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
# "4th of July, 1776", "July 4 1776" and "1776-07-04" are "4 july 1776"; the year may be missing
DATE = re.compile(
    rf"\b(?:{_DAY}(?: of)? ({_MONTH})\b\.?|({_MONTH})\b\.? {_DAY}(?!\d))(?:,? (\d{{4}})\b)?"
    r"|\b(\d{4})-(0[1-9]|1[0-2])-([0-2]\d|3[01])\b",
    re.IGNORECASE,
)

# A stop ends a sentence when a space and a capital, digit or quote follow, but not after an initial or a title.
STOP = re.compile(r"[.!?]+[\"')\]*]*(?=\s+[\"'(*\[A-Z0-9]|\s*$)|\n+")
TITLE = re.compile(r"\b(?:Dr|Mr|Ms|Mrs|St|Prof|vs|[A-Z])$")
PAUSES = ",;:—–()"  # end a clause, as these words begin one:
KINDS = (
    dict.fromkeys(("the", "a", "an"), "article")
    | dict.fromkeys(("but", "and", "although", "though", "whereas", "while", "however", "instead", "rather"), "pause")
    | dict.fromkeys((*SMALL, *LARGE), "number")
)
JOINED = frozenset((("instead", "of"), ("rather", "than")))  # with their next word they begin no clause


def normalise(text: str) -> str:
    """A text in one spelling: words of letters and digits with single spaces, numbers as digits, no articles."""
    return _words(_unmarked(text).replace(ASKED, " "), pauses=False)


def marked(text: str) -> str:
    """A normalised text that keeps its borders: `|` between clauses, `~` after sentences, `? ~` after questions.

    Begins and ends with a space, so that words can be looked for with spaces around them.
    """
    text = _unmarked(text)
    if "," in text:
        text = THOUSANDS.sub("", text)
    text = STOP.sub(_stop, text).replace(" - ", f" {CLAUSE} ")
    for mark in PAUSES:
        if mark in text:
            text = text.replace(mark, f" {CLAUSE} ")
    return f" {_words(text, pauses=True)} "


def _unmarked(text: str) -> str:
    if not text.isascii():
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text)).translate(LETTERS)
    if DIGIT.search(text):
        text = DATE.sub(_date, text)
    if TWO_INITIALS.search(text):
        text = INITIALS.sub(lambda found: re.sub(r"[.\s]", "", found[0]) + " ", text)
    return text.replace(CLAUSE, " ").replace(SENTENCE, " ").replace("\n", " \n")


def _date(found: re.Match[str]) -> str:
    day, month = found[1] or found[4] or found[8], found[2] or found[3]
    if month is None:
        name = MONTHS[int(found[7]) - 1]
    else:
        name = next(one for one in MONTHS if one.startswith(month[:3].lower()))
    year = found[5] or found[6]
    return f"{int(day)} {name}{f' {year}' if year else ''}"


def _stop(found: re.Match[str]) -> str:
    text, stop = found.string, found[0]
    if (
        stop == "."
        and TITLE.search(text, max(0, found.start() - 5), found.start())
        and found.end() < len(text.rstrip())
    ):
        return stop
    return f" {ASKED} {SENTENCE} " if ASKED in stop else f" {SENTENCE} "


def _words(text: str, pauses: bool) -> str:
    plain = text.isascii()
    text = text.lower() if plain else ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold()).translate(LETTERS)
    if "'" in text or "cannot" in text:
        text = CONTRACTION.sub(_contraction, text)
    if "," in text:
        text = THOUSANDS.sub("", text)
    if "%" in text:
        text = text.replace("%", " percent ")
    text = text.translate(PLAIN) if plain else PUNCTUATION.sub(" ", text)
    if "." in text:
        text = DOT.sub(" ", text)
    if ASKED in text:
        text = QUESTION.sub(" ", text)
    words, numbers = _kept(text.split(), pauses)
    text = " ".join(words)
    if numbers:
        text = NUMBERS.sub(_numbers, text)
    if DIGIT.search(text):
        text = ZEROS.sub(lambda found: found[1] + (found[2] or ""), text)
    return text


def _kept(words: list[str], pauses: bool) -> tuple[list[str], bool]:
    """Words without articles, a clause mark before those that begin a clause, and whether one names a number."""
    kept, numbers = [], False
    for place, word in enumerate(words):
        kind = KINDS.get(word)
        if kind == "article":
            after = words[place + 1][0] if place + 1 < len(words) else " "
            if after.isalnum() and not (word == "a" and kept and kept[-1] in LETTERED):
                continue
        elif kind == "number":
            numbers = True
        elif kind == "pause" and pauses:
            joined = (word == "and" and kept and kept[-1] in ("hundred", "thousand")) or (
                (word, words[place + 1] if place + 1 < len(words) else "") in JOINED
            )
            if not joined:
                kept.append(CLAUSE)
        kept.append(word)
    return kept, numbers


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
