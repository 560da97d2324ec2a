"""What a text states in a form that can be compared.

Numbers, units, dates, names, layout, and manners of speaking.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from warmth.data.protect import BLOCKS, protected_pieces

SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS: dict[str, str] = {
    **{name: str(value) for value, name in enumerate(SMALL.split())},
    **{name: str(20 + 10 * value) for value, name in enumerate(TENS.split())},
    "hundred": "100",
    "thousand": "1000",
    "dozen": "12",
    "once": "1",
    "twice": "2",
    "half": "0.5",
}
NUMBER = re.compile(r"\d[\d,.]*\d|\d")
LIST_MARK = re.compile(r"^[ \t]*(?:(\d+)[.)]|[-*+•])[ \t]+", re.MULTILINE)
SPELLINGS = """km kilometre kilometer; m metre meter; cm centimetre centimeter; mm millimetre
millimeter; mi mile; ft foot feet; inch inches; kg kilogram kilo; g gram; mg milligram; lb lbs
pound; l litre liter; ml millilitre milliliter; % percent; °C celsius; °F fahrenheit; s second
sec; min minute; h hour hr; day; week; month; year; KB kilobyte; MB megabyte; GB gigabyte; TB
terabyte; Hz hertz; W watt; V volt; $ dollar usd; € euro eur; £ gbp; kWh; mph; km/h kph; ppm; kcal
calorie"""


def _units_by_spelling() -> dict[str, str]:
    """Return every spelling of a unit → the unit's first one."""
    units = {}
    for group in SPELLINGS.split(";"):
        spellings = group.split()
        units.update(dict.fromkeys(spellings, spellings[0]))
    return units


UNITS = _units_by_spelling()
MEASURE = re.compile(
    r"(?P<sign>[$€£])?(?P<number>\d[\d,.]*\d|\d)[ \-\u00a0]?(?P<unit>km/h|°[CF]|%|[A-Za-z]+)?"
)
MONTHS = "January|February|April|June|July|August|September|October|November|December"
DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
DATED = re.compile(
    # March and May are words too
    rf"\b(?:{DAYS}|{MONTHS})\b|\b(?:March|May)(?= \d)|(?<=\d )(?:March|May)\b"
    r"|\b\d{4}-\d\d-\d\d\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b"
)
CAPITAL = re.compile(r"\b[A-ZÀ-ÖØ-Þ][\w’'-]*\w|\b[A-Z]\b")
SENTENCE_START = re.compile(r"(?:^|[.!?:;…»”\"*_)\]]\s+|\n\s*|[-*•]\s+|[\"“«(\[*_#>|]\s*)$")
COMMON_CAPITALS = "ID TV I I'm I'll I've I'd A OK Ok AI Mr Mrs Ms Dr"
COMMON = frozenset(COMMON_CAPITALS.split())
# "Chinese envoy": an adjective, not a name
PEOPLES = re.compile(r"\w+(?:ese|ish|ean|ian|can|viet|ench|utch|eek) [a-z]")
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\u203c\u2049\ufe0f\u20e3]")
GREETING = re.compile(
    r"^\W*(?:(?:hello|hi|hey|hiya|greetings|howdy|dear (?:user|friend|customer)"
    r"|good (?:morning|afternoon|evening))\b"
    r"|welcome(?: back| to (?:my|our)|[!,]))"
    r"|\bhope (?:this (?:helps|finds)|that helps|you(?:'re| are) (?:well|doing well))\b"
    r"|\b(?:great|good|excellent|wonderful|fantastic) question\b|\bfeel free to (?:ask|reach)\b"
    r"|\bthank(?:s| you) for (?:asking|reaching|sharing|your (?:question|message))\b",
    re.IGNORECASE,
)
FILLER = re.compile(
    r"\b(?:um+|uh+|hmm+|you know|i mean|kind of|sort of|kinda|sorta|basically|honestly"
    r"|literally|actually|gosh|golly|okay so|so yeah|well then|like, )"
    r"|(?:^|[.!?]\s+)(?:well|oh|ah|aw+|so|okay|alright),",
    re.IGNORECASE,
)
# Words of a passage in quotation marks that cites somebody. Fewer are a manner of speaking; more
# are mostly a draft the reply itself makes (a letter, a toast), which people who write a reply in
# another style do rewrite.
QUOTATION = range(6, 26)
JOINT = re.compile(r"\b(?:we|us|our|ours|let's|we'(?:re|ve|ll|d))\b", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What a text states and how it is laid out."""

    # kind → code blocks, links, quotations and the like, as they stand
    pieces: dict[str, Counter[str]]
    numbers: frozenset[str]
    spelled: frozenset[str]  # numbers written as words
    units: frozenset[tuple[str, str]]
    dates: frozenset[str]
    names: frozenset[str]
    capitals: frozenset[str]  # every capitalised word, at the start of a sentence too
    items: tuple[int, int]  # numbered and bulleted list items
    headings: int
    bold: int
    words: int
    emojis: Counter[str]
    greetings: int
    fillers: int
    joint: int  # we, us, our, let's
    exclamations: int


@lru_cache(maxsize=4096)
def facts_in_text(text: str) -> Facts:
    """Read a text once and return what it states."""
    compared_pieces, prose, own_words = _divide(text)
    running = LIST_MARK.sub("", prose)
    marks = [match[1] for match in LIST_MARK.finditer(prose)]
    numbered = sum(mark is not None for mark in marks)
    words = re.findall(r"[a-z]+", running.lower())
    return Facts(
        pieces=compared_pieces,
        numbers=frozenset(map(plain_number, NUMBER.findall(running))),
        spelled=frozenset(WORDS[word] for word in words if word in WORDS),
        units=frozenset(_units(running)),
        dates=frozenset(DATED.findall(running)),
        names=frozenset(_names(running)),
        capitals=frozenset(map(_bare, CAPITAL.findall(running))),
        items=(numbered, len(marks) - numbered),
        headings=len(re.findall(r"^#{1,6} ", prose, re.MULTILINE)),
        bold=len(re.findall(r"\*\*[^*\n]+\*\*|__[^_\n]+__", prose)),
        words=len(text.split()),
        emojis=Counter(EMOJI.findall(prose)),
        greetings=len(GREETING.findall(own_words)),
        fillers=len(FILLER.findall(own_words)),
        joint=len(JOINT.findall(own_words)),
        exclamations=own_words.count("!"),
    )


def _divide(text: str) -> tuple[dict[str, Counter[str]], str, str]:
    """Divide a text into the pieces that are compared as they stand, and what its author says.

    Returns:
        the pieces by kind; the text, with a placeholder where a piece says nothing of its own; and
        the author's own words, without quotations and tables too.
    """
    compared: dict[str, Counter[str]] = {}
    prose: list[str] = []
    own_words: list[str] = []
    position = 0
    for kind, piece, start, end in protected_pieces(text):
        if kind != "quotation":
            compared.setdefault(kind, Counter())[piece.strip()] += 1
        elif len(piece.split()) in QUOTATION:
            compared.setdefault(kind, Counter())[" ".join(piece.split())] += 1
        own_words.append(text[position:start])
        prose.append(text[position:start])
        if kind in ("quotation", "quoted_lines", "table"):
            prose.append(piece)
        elif kind in BLOCKS:
            prose.append("\n\n")
        else:
            prose.append(" x ")
        position = end
    own_words.append(text[position:])
    prose.append(text[position:])
    return (
        compared,
        "".join(prose).replace("’", "'"),
        "".join(own_words).replace("’", "'"),
    )


def plain_number(text: str) -> str:
    """Write a number without thousands separators and empty decimals.

    1,991 and 1991 are the same, and so are 5.0 and 5.
    """
    text = text.strip(".,")
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = text.replace(",", "")
    if re.fullmatch(r"\d+\.\d+", text):
        text = text.rstrip("0").rstrip(".")
    return text


def _units(text: str) -> set[tuple[str, str]]:
    """Find the measures of a text, each as its number and its unit."""
    measures = set()
    for match in MEASURE.finditer(text):
        unit = match["sign"] or _unit_of(match["unit"] or "")
        if unit:
            measures.add((plain_number(match["number"]), unit))
    return measures


def _unit_of(spelling: str) -> str | None:
    """Find the unit that a word behind a number names, in lower case and in the plural too."""
    for name in (spelling, spelling.lower(), spelling.lower().removesuffix("s")):
        if name in UNITS:
            return UNITS[name]
    return None


def _names(text: str) -> set[str]:
    """Find capitalised words inside sentences; one that starts a sentence may be any word."""
    names = set()
    for match in CAPITAL.finditer(text):
        name = _bare(match[0])
        before = text[max(0, match.start() - 12) : match.start()]
        if not name or name in COMMON:
            continue
        if PEOPLES.match(text, match.start()) or SENTENCE_START.search(before):
            continue
        names.add(name)
    return names


def _bare(word: str) -> str:
    """Strip a name of its genitive or contraction."""
    return re.sub(r"['’](?:s|re|ve|ll|d|m|t)?$", "", word)
