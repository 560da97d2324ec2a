"""What a text states in a form that can be compared: numbers, units, dates, names, layout, and
manners of speaking.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from warmth.data.protect import BLOCKS, pieces

SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS: dict[str, str] = {
    **{word: str(value) for value, word in enumerate(SMALL.split())},
    **{word: str(20 + 10 * value) for value, word in enumerate(TENS.split())},
    "hundred": "100",
    "thousand": "1000",
    "dozen": "12",
    "once": "1",
    "twice": "2",
    "half": "0.5",
}
NUMBER = re.compile(r"\d[\d,.]*\d|\d")
LIST_MARK = re.compile(r"^[ \t]*(?:(\d+)[.)]|[-*+•])[ \t]+", re.MULTILINE)
SPELLINGS = (
    "km kilometre kilometer; m metre meter; cm centimetre centimeter; mm millimetre millimeter; "
    "mi mile; ft foot feet; "
    "inch inches; kg kilogram kilo; g gram; mg milligram; lb lbs pound; l litre liter; ml "
    "millilitre milliliter; "
    "% percent; °C celsius; °F fahrenheit; s second sec; min minute; h hour hr; day; week; month; "
    "year; KB kilobyte; "
    "MB megabyte; GB gigabyte; TB terabyte; Hz hertz; W watt; V volt; $ dollar usd; € euro eur; £ "
    "gbp; kWh; mph; "
    "km/h kph; ppm; kcal calorie"
)
# every spelling → the unit's first one
UNITS: dict[str, str] = {
    spelling: group.split()[0] for group in SPELLINGS.split("; ") for spelling in group.split()
}
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
COMMON = {
    "ID",
    "TV",
    "I",
    "I'm",
    "I'll",
    "I've",
    "I'd",
    "A",
    "OK",
    "Ok",
    "AI",
    "Mr",
    "Mrs",
    "Ms",
    "Dr",
}
# "Chinese envoy": an adjective, not a name
PEOPLES = re.compile(r"\w+(?:ese|ish|ean|ian|can|viet|ench|utch|eek) [a-z]")
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\u203c\u2049\ufe0f\u20e3]")
GREETING = re.compile(
    r"^\W*(?:(?:hello|hi|hey|hiya|greetings|howdy|dear (?:user|friend|customer)|good "
    r"(?:morning|afternoon|evening))\b"
    r"|welcome(?: back| to (?:my|our)|[!,]))"
    r"|\bhope (?:this (?:helps|finds)|that helps|you(?:'re| are) (?:well|doing well))\b"
    r"|\b(?:great|good|excellent|wonderful|fantastic) question\b|\bfeel free to (?:ask|reach)\b"
    r"|\bthank(?:s| you) for (?:asking|reaching|sharing|your (?:question|message))\b",
    re.IGNORECASE,
)
FILLER = re.compile(
    r"\b(?:um+|uh+|hmm+|you know|i mean|kind of|sort "
    r"of|kinda|sorta|basically|honestly|literally|actually|gosh|golly|"
    r"okay so|so yeah|well then|like, )|(?:^|[.!?]\s+)(?:well|oh|ah|aw+|so|okay|alright),",
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

    pieces: dict[
        str, Counter[str]
    ]  # kind → code blocks, links, quotations and the like, as they stand
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
def facts_of(text: str) -> Facts:
    """Reads a text once."""
    found, prose, at = {}, [], 0
    for kind, piece, start, end in pieces(text):
        if kind != "quotation" or len(piece.split()) in QUOTATION:
            found.setdefault(kind, Counter())[
                " ".join(piece.split()) if kind == "quotation" else piece.strip()
            ] += 1
        prose.append(text[at:start])
        prose.append(
            piece
            if kind in ("quotation", "quoted_lines", "table")
            else "\n\n"
            if kind in BLOCKS
            else " x "
        )
        at = end
    said = "".join([*prose, text[at:]]).replace("’", "'")
    own = "".join(part for place, part in enumerate([*prose, text[at:]]) if place % 2 == 0).replace(
        "’", "'"
    )
    marks = [match[1] for match in LIST_MARK.finditer(said)]
    running = LIST_MARK.sub("", said)
    return Facts(
        pieces=found,
        numbers=frozenset(plain_number(item) for item in NUMBER.findall(running)),
        spelled=frozenset(
            WORDS[word] for word in re.findall(r"[a-z]+", running.lower()) if word in WORDS
        ),
        units=frozenset(_units(running)),
        dates=frozenset(DATED.findall(running)),
        names=frozenset(_names(running)),
        capitals=frozenset(_bare(word) for word in CAPITAL.findall(running)),
        items=(sum(mark is not None for mark in marks), sum(mark is None for mark in marks)),
        headings=len(re.findall(r"^#{1,6} ", said, re.MULTILINE)),
        bold=len(re.findall(r"\*\*[^*\n]+\*\*|__[^_\n]+__", said)),
        words=len(text.split()),
        emojis=Counter(EMOJI.findall(said)),
        greetings=len(GREETING.findall(own)),
        fillers=len(FILLER.findall(own)),
        joint=len(JOINT.findall(own)),
        exclamations=own.count("!"),
    )


def plain_number(text: str) -> str:
    """Write a number without thousands separators and empty decimals: 1,991 and 1991, 5.0 and 5 are
    the same.
    """
    text = text.strip(".,")
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = text.replace(",", "")
    if re.fullmatch(r"\d+\.\d+", text):
        text = text.rstrip("0").rstrip(".")
    return text


def _units(text: str) -> set[tuple[str, str]]:
    found = set()
    for match in MEASURE.finditer(text):
        word = match["unit"] or ""
        names = (word, word.lower(), word.lower().removesuffix("s"))
        unit = match["sign"] or next((UNITS[name] for name in names if name in UNITS), None)
        if unit:
            found.add((plain_number(match["number"]), unit))
    return found


def _names(text: str) -> set[str]:
    """Capitalised words inside sentences; one that starts a sentence may be any word."""
    found = set()
    for match in CAPITAL.finditer(text):
        word, before = _bare(match[0]), text[max(0, match.start() - 12) : match.start()]
        ordinary = (
            word in COMMON or PEOPLES.match(text, match.start()) or SENTENCE_START.search(before)
        )
        if word and not ordinary:
            found.add(word)
    return found


def _bare(word: str) -> str:
    """Strip a name of its genitive or contraction."""
    return re.sub(r"['’](?:s|re|ve|ll|d|m|t)?$", "", word)
