"""Texts made comparable: one spelling for accents, case, numbers, contractions and articles.

Most of an answer's words have been seen before, so each blank-separated piece of text is spelled once and remembered
(`Pieces`). What depends on a piece's neighbours (does a stop end a sentence, is an article the last word of a clause,
do number words belong together) is left in the spelling as a sign of one character, which `str.replace` then resolves
over the whole text, or a pattern that begins with the sign and so is tried nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CLAUSE, SENTENCE, ASKED = "|", "~", "?"  # marks that `marked` leaves in a normalised text; ASCII, as that is fast

# Signs inside a spelling; control characters of a text itself never get there.
ARTICLE, LETTERED, NUMBER = "\x01", "\x02", "\x03"  # before an article; after "vitamin" and its like; before a number
MONTH = "\x08"  # before the name of a month
STOPPED, QUERIED, TITLED, OPENS = "\x04", "\x05", "\x06", "\x07"  # ends with a stop; may begin a sentence

LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ı": "i"}
    | dict.fromkeys("’‘ʼ", "'")
    | dict.fromkeys("“”", '"')
)
ACCENTS = re.compile(r"[\u0300-\u036f]")
PLAIN = {number: " " for number in range(128) if not (chr(number).isalnum() or chr(number) == ".")}
PUNCTUATION = re.compile(r"[^\w\s.]|_")
DOT = re.compile(r"\.(?:(?!\d)|(?<!\d\.))")  # all but the decimal point
THOUSANDS = re.compile(r",(?=\d{3}(?!\d))(?<=\d,)")
DIGIT = re.compile(r"\d")
ZEROS = re.compile(r"(?<!\S)(?:0+(?=\d)|(?=\d))(\d+)(?:\.0+|(\.\d*?[1-9])0*)?(?!\S)")
LETTERED_WORDS = frozenset(("vitamin", "hepatitis", "influenza", "type", "group", "grade"))  # "vitamin a" keeps its "a"

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
DIGITS = re.compile(r"\d[\d.]*|\d{1,2}(?:st|nd|rd|th)")
# "one" is no number where it is a pronoun ("no one", "one of"); "and" joins only after hundred or thousand
NUMBERS = re.compile(
    rf"{NUMBER}(?<!no {NUMBER})(?<!this {NUMBER})(?<!that {NUMBER})(?<!which {NUMBER})(?!one of\b)"
    rf"(?:\d[\d.]* {NUMBER}(?=million|billion|thousand|hundred))?"
    rf"(?:{WORDS})(?:(?: |(?<=hundred) and |(?<=thousand) and ){NUMBER}(?:{WORDS}))*(?!\S)"
)

INITIALS = re.compile(r"\b(?:[A-Za-z]\. ?){2,}")  # "J. K." and "D.C." are "jk" and "dc"
TWO_INITIALS = re.compile(r"\.(?<=\b[A-Za-z]\.) ?[A-Za-z]\.")

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november")
MONTHS = (*MONTHS, "december")
MONTH_WORDS = {word: name for name in MONTHS for word in (name, name[:3])} | {"sept": "september"}
_DAY = rf"{NUMBER}(\d{{1,2}})(?:st|nd|rd|th)?"
# "4th of July, 1776", "July 4 1776" and "1776-07-04" are "4 july 1776"; the year may be missing
DATE = re.compile(
    rf"(?:{_DAY} (?:of )?{MONTH}(\w+)|{MONTH}(\w+) {_DAY}(?= ))(?:(?: \{CLAUSE})? {NUMBER}(\d{{4}})(?= ))?"
)
ISO_DATE = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-([0-2]\d|3[01])\b")

# A stop ends a sentence when a space and a capital, digit or quote follow, but not after an initial or a title.
STOP = re.compile(r"[.!?]+[\"')\]*]*$")
TITLE = re.compile(r"\b(?:(?i:Dr|Mr|Ms|Mrs|Prof)|St|vs|[A-Z]|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)$")
OPENING = frozenset("\"'(*[ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
PAUSES = re.compile(r"[,;:—–()]")  # end a clause, as these words begin one:
LINES = re.compile(r"\n\s*")
STARTS = frozenset(("but", "and", "although", "though", "whereas", "while", "however", "instead", "rather"))
# with their next word they begin no clause
JOINED = ((f"{CLAUSE} instead of ", "instead of "), (f"{CLAUSE} rather than ", "rather than "))
ARTICLES = frozenset(("the", "a", "an"))
# The last word before a mark or the end stays: it is a letter, as in "group a", or the end of a text that was cut.
_STARTED = rf"\{CLAUSE} (?:{'|'.join(sorted(STARTS))})\b"  # but not before the mark that such a word brings itself
ARTICLED = re.compile(
    rf"{ARTICLE}(?:(?=\w+ (?:(?!{_STARTED})[{CLAUSE}{SENTENCE}{ASKED}]|$))|(?:{'|'.join(sorted(ARTICLES))}) )"
)
REMEMBERED = 200_000  # pieces; a text's words repeat, but a long study must not fill the memory with typing errors


class Pieces(dict[str, str]):
    """Blank-separated pieces of texts, each with its spelling and signs, made when first met."""

    def __init__(self, pauses: bool) -> None:
        super().__init__()
        self.pauses = pauses  # whether clauses and sentences are marked

    def __missing__(self, piece: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        spelled = self[piece] = _marked_piece(piece) if self.pauses else _signed(_spelled(piece), pauses=False)
        return spelled


WORDED, MARKED = Pieces(pauses=False), Pieces(pauses=True)


def normalise(text: str) -> str:
    """A text in one spelling: words of letters and digits with single spaces, numbers as digits, no articles."""
    return _resolved(f" {' '.join(map(WORDED.__getitem__, _unmarked(text).split()))} ").strip()


def marked(text: str) -> str:
    """A normalised text that keeps its borders: `|` between clauses, `~` after sentences, `? ~` after questions.

    Begins and ends with a space, so that words can be looked for with spaces around them.
    """
    text = _unmarked(text)
    if "\n" in text:
        text = LINES.sub(f" {SENTENCE} ", text.lstrip())
    text = " ".join(map(MARKED.__getitem__, text.split()))
    if text.endswith(TITLED):
        text = text[:-1] + STOPPED
    text = f" {text} {OPENS}"  # the end is a border, like the beginning of a sentence
    text = text.replace(f"{STOPPED} {OPENS}", f" {SENTENCE} ")
    if QUERIED in text:
        text = text.replace(f"{QUERIED} {OPENS}", f" {ASKED} {SENTENCE} ")
        text = text.replace(f"{QUERIED} {SENTENCE}", f" {ASKED} {SENTENCE}").replace(QUERIED, "")
    text = _resolved(text.replace(OPENS, "").replace(STOPPED, "").replace(TITLED, ""))
    for apart, together in JOINED:
        text = text.replace(apart, together)
    return text


def holds(text: str, signs: Iterable[str]) -> bool:
    """Whether any of some pieces stands in a text: a cheap look before a pattern that needs one of them."""
    for sign in signs:  # noqa: SIM110  a loop is faster than any()
        if sign in text:
            return True
    return False


def _unmarked(text: str) -> str:
    if not text.isascii():
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text)).translate(LETTERS)
    if TWO_INITIALS.search(text):
        text = INITIALS.sub(lambda found: re.sub(r"[.\s]", "", found[0]) + " ", text)
    return text.replace(SENTENCE, " ")


def _marked_piece(piece: str) -> str:
    """A piece with clause marks and the signs of what its neighbours decide."""
    if piece in (SENTENCE, "-"):
        return SENTENCE if piece == SENTENCE else CLAUSE
    opens = OPENS if piece[0] in OPENING else ""
    stop, ends = STOP.search(piece), ""
    if stop:
        piece = piece[: stop.start()]
        titled = stop[0] == "." and TITLE.search(piece)
        ends = QUERIED if ASKED in stop[0] else TITLED if titled else STOPPED
        piece += ")" if ")" in stop[0] else ""
    clauses = [_signed(_spelled(clause), pauses=True) for clause in PAUSES.split(THOUSANDS.sub("", piece))]
    return opens + " ".join(f" {CLAUSE} ".join(clauses).split()) + ends


def _spelled(piece: str) -> str:
    """One piece in the common spelling: lower case, no accents, words apart, numbers without ornaments."""
    plain = piece.isascii()
    if plain:
        piece = piece.lower()
        if piece.isalpha() and piece != "cannot":
            return piece
    else:
        piece = ACCENTS.sub("", unicodedata.normalize("NFKD", piece.casefold())).translate(LETTERS)
    piece = ISO_DATE.sub(lambda found: f"{int(found[3])} {MONTHS[int(found[2]) - 1]} {found[1]}", piece)
    piece = CONTRACTION.sub(_contraction, piece)
    piece = THOUSANDS.sub("", piece).replace("%", " percent ")
    piece = DOT.sub(" ", piece.translate(PLAIN) if plain else PUNCTUATION.sub(" ", piece))
    return ZEROS.sub(lambda found: found[1] + (found[2] or ""), " ".join(piece.split()))


def _contraction(found: re.Match[str]) -> str:
    head, tail = found[1], found[2]
    if head is None:
        return "can not"
    if tail == "t" and head.endswith("n"):
        return HEADS.get(head[:-1], f"{head[:-1]} not")
    if tail == "s":
        return f"{head} is" if head in SUBJECTS else head
    return head + SUFFIXES.get(tail, f" {tail}" if tail else "")


def _signed(spelled: str, pauses: bool) -> str:
    return " ".join(_sign(word, pauses) for word in spelled.split())


def _sign(word: str, pauses: bool) -> str:
    if word in ARTICLES:
        return ARTICLE + word
    if word in STARTS:
        return f"{CLAUSE} {word}" if pauses else word
    if word in LETTERED_WORDS:
        return word + LETTERED
    if word in MONTH_WORDS:
        return MONTH + word
    return NUMBER + word if word in SMALL or word in LARGE or DIGITS.fullmatch(word) else word


def _resolved(text: str) -> str:
    """Single spaces, no articles, and number words as digits."""
    if "  " in text:
        text = f" {' '.join(text.split())} "
    if LETTERED in text:
        text = text.replace(f"{LETTERED} {ARTICLE}a ", " a ").replace(LETTERED, "")
    if ARTICLE in text:
        text = ARTICLED.sub("", text)
    if MONTH in text:
        text = DATE.sub(_date, text).replace(MONTH, "")
    if NUMBER in text:
        if f"d {CLAUSE} and " in text:
            for large in ("hundred", "thousand"):
                text = text.replace(f"{large} {CLAUSE} and ", f"{large} and ")
        text = NUMBERS.sub(_numbers, text).replace(NUMBER, "")
    return text


def _date(found: re.Match[str]) -> str:
    day, word, year = found[1] or found[4], found[2] or found[3], found[5]
    return f"{int(day)} {MONTH_WORDS[word]}{f' {year}' if year else ''}"


def _numbers(found: re.Match[str]) -> str:
    """Number words as digits: "twenty one" is 21, "5 million" 5000000, "nineteen forty five" 1945, "one two" 1 2."""
    done: list[float] = []
    total, current = 0.0, None
    for word in found[0].replace(NUMBER, "").split():
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
