"""Texts made comparable: one spelling for case, accents and punctuation, and the clauses of a text.

The spelling is that of TriviaQA's own evaluation (lower case, no punctuation, no articles), with
Unicode. Two things are added. Signs that tell names apart stay: C++, C#, −5. And a clause ends at
punctuation, a line break or any other sign that is no letter, digit or markup: an emoji, a heart
typed as <3 or a tilde ends a clause as a full stop does, while markup (bold, quotes, LaTeX) does
not. Who leaves full stops out still ends a clause by a laugh ("lol") or by a capital that begins a
statement ("don't worry It is Canberra").
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

# End a clause: within a sentence, a sentence, a question
COMMA, BORDER, ASKED = ",", "|", "?"
LONG, STEM = 4, 5  # letters of a word that says something; letters by which its forms are told
MARKS = (COMMA, BORDER, ASKED)
COMMAS = frozenset(",:([{/،、，：（")
WITHIN_WORDS = frozenset("*_`#\"“”„«»°^@'\\+-‐‑%&")

UNDIVIDED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "&": " and "}
)
ACCENT_OR_INVISIBLE = re.compile("[\u0300-\u036f\u200b-\u200f\u2060\ufe0e\ufe0f\u20e3\xad\ufeff]")
CONTRACTED = re.compile(r"'(s|m|d|re|ve|ll)\b")
CONTRACTIONS = {"s": "", "m": " am", "d": " would", "re": " are", "ve": " have", "ll": " will"}
FONT = re.compile(r"\\(?:math|text)[a-z]*\{([^{}]*)\}")  # of LaTeX: \mathrm{H}
SUBSCRIPT = re.compile(r"(?<=[a-z)])\$?_\{?(\d+)\}?\$?")
COMMAND = re.compile(r"\\[a-z]+")  # of LaTeX: \boxed, \alpha
HEART = re.compile(r"<3+(?!\w)")  # its digit is no number
# Its letters are no names
EMOTICON = re.compile(r"[<:;=](?:(?<=<)3+|(?<!<)(?<!\S.)-?[)(dp*])(?!\w)", re.IGNORECASE)
# A capital that begins a statement. The word after it is in lower case, as in no title ("That Was
# Then").
STATEMENT = re.compile(
    r" (?=(?:It(?:'s| is| was)|Th(?:at(?:'s| is)|is is|ey are|ere(?:'s| is| are)|e "
    r"answer)|You(?:'re| are)|I'm) )"
)
# Stand between clauses
LAUGHS = (
    "lol",
    "lmao",
    "haha",
    "hahaha",
    "hehe",
    "omg",
    "xd",
    "xx",
    "xoxo",
)
# "dont", "isnt" …, as careless writers spell them
CARELESS = (
    "do",
    "is",
    "was",
    "are",
    "does",
    "did",
    "would",
    "could",
)
INITIALS = re.compile(r"(?<![a-z])(?:[a-z]\.){2,}")  # U.S., J.K.
TWO_INITIALS = re.compile(r"\.[a-z]\.")
THOUSANDS = re.compile(r",(?=\d{3}(?!\d))(?<=\d,)")
POINT = re.compile(r"\.(?=\d)(?<=\d\.)")
BELOW_ZERO = re.compile(r"-(?=\d|\.\d)(?<![\w.)]-)")
LETTER_SIGN = re.compile(r"(?<![a-z])([a-z])(\+\+?|#)(?!\w)")  # C++, C#
DIGIT = re.compile(r"[0-9]")
MILLIONS = {"m": " million"}
ORDINAL_OR_MILLIONS = re.compile(r"[0-9](?:st|nd|rd|th|m)\b")
# Chinese, Japanese, Korean (as unicodedata decomposes it), Thai, Lao, Burmese and Khmer put no
# spaces between words.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")

# Words that are spelled otherwise; the article "a" may be a name and is looked at more closely.
WORDS = {
    "the": "",
    "an": "",
    "cant": "can not",
    "wont": "will not",
    "cannot": "can not",
    "but": f"{COMMA} but",
}
WORDS |= {laugh: f"{BORDER} {laugh} {BORDER}" for laugh in LAUGHS} | {
    f"{verb}nt": f"{verb} not" for verb in CARELESS
}

ARTICLE = re.compile(r" a (?![,|?])")  # before a mark it is a name, as in "the answer is A"
# Signs to keep, as letters that no text holds, while all others go
HIDDEN = str.maketrans("+#", "\x02\x03")
RESTORED = {"\x01": "-", "\x02": "+", "\x03": "#", "\x04": "."}


class SpelledSigns(dict[int, str]):
    """What each character becomes: itself, a space, or the end of a clause; decided when it is
    first met.
    """

    def __missing__(self, code: int) -> str:
        """Decide one character."""
        character = chr(code)
        category = unicodedata.category(character)
        if character.isalnum() or category.startswith("M") or character in "\x01\x02\x03\x04":
            spelled = character
        elif character in "?？؟":
            spelled = ASKED
        elif character in COMMAS:
            spelled = COMMA
        elif character in WITHIN_WORDS or category in ("Zs", "Sc") or character == "\t":
            spelled = " "
        else:
            spelled = BORDER
        self[code] = spelled
        return spelled


SIGNS = SpelledSigns()


class PlainCharacters(dict[int, str]):
    """What each character is written as: letters and digits of full width or of a bold alphabet as
    plain ones.
    """

    def __missing__(self, code: int) -> str:
        """Decide one character when it is first met."""
        form, _, plain = unicodedata.decomposition(chr(code)).partition(" ")
        self[code] = chr(int(plain, 16)) if form in ("<wide>", "<font>") else chr(code)
        return self[code]


PLAIN = PlainCharacters(str.maketrans(dict.fromkeys("’‘ʼ´`", "'") | dict.fromkeys("−‐‑", "-")))
ASCII_SIGNS = str.maketrans({code: SIGNS[code] for code in range(128)})


@dataclass
class Spelled:
    """A text in one spelling."""

    marked: str  # all words and marks, a space around each
    words: str  # all words, a space around each, without marks

    @cached_property
    def clauses(self) -> list[str]:
        """Return the clauses that hold words, each with a space around its words."""
        clauses = self.marked.replace(COMMA, BORDER).replace(ASKED, BORDER).split(BORDER)
        return [clause for clause in clauses if clause != " "]

    @cached_property
    def sentences(self) -> list[str]:
        """Return the sentences with their commas; of a question only what stands before its last
        clause.
        """
        sentences = []
        for sentence in self.marked.replace(ASKED, f"{ASKED}{BORDER}").split(BORDER):
            if sentence.endswith(ASKED):
                sentence = sentence.rpartition(COMMA)[0]
            if sentence.strip():
                sentences.append(sentence)
        return sentences

    @cached_property
    def ends(self) -> list[int]:
        """Return where each clause ends in `words`."""
        return list(accumulate([len(clause) - 1 for clause in self.clauses]))

    def around(self, start: int, end: int) -> tuple[str, str]:
        """Return what stands before and after a stretch of `words` in the clauses that it
        touches.
        """
        first_clause = bisect_right(self.ends, start)
        last_clause = bisect_left(self.ends, end)
        begin = self.ends[first_clause - 1] if first_clause else 0
        return self.words[begin:start], self.words[end : self.ends[last_clause] + 1]


def spell(text: str) -> Spelled:
    """Return a text in one spelling: "It's not **Canberra**! 😊" has one clause, " it not canberra
    ".
    """
    marked = _marked(text)
    words = marked
    for mark in MARKS:
        words = words.replace(f" {mark}", "")
    return Spelled(marked, words)


def overlaps(start: int, end: int, taken: Iterable[tuple[int, int]]) -> bool:
    """Say whether a stretch shares a character with one that is taken."""
    return any(start < taken_end and taken_start < end for taken_start, taken_end in taken)


def stems(words: str) -> frozenset[str]:
    """Return the beginnings of the longer words among spelled ones, so that forms of one word are
    alike.
    """
    return frozenset([word[:STEM] for word in words.split() if len(word) >= LONG])


def spell_name(name: str) -> str:
    """Return the words of a name in the same spelling, without spaces around them."""
    return spell(name).words.strip()


def end_before_statements(text: str) -> str:
    """Return a text in which a capital that begins a statement ends the clause before it."""
    return STATEMENT.sub(f" {BORDER} ", text)


def _marked(text: str) -> str:
    """Return words in one spelling with a mark at the end of each clause."""
    if text.isascii():
        text = end_before_statements(text).lower()
    else:
        text = end_before_statements(text.translate(PLAIN))
        text = (
            ACCENT_OR_INVISIBLE.sub("", unicodedata.normalize("NFKD", text))
            .casefold()
            .translate(UNDIVIDED)
        )
    if "'" in text:
        text = text.replace("can't", "can not").replace("won't", "will not").replace("n't", " not")
        text = CONTRACTED.sub(lambda contracted: CONTRACTIONS[contracted[1]], text)
    if ":" in text or ";" in text or "=" in text or "<" in text:
        text = EMOTICON.sub(BORDER, text)
    if "_" in text:
        text = SUBSCRIPT.sub(r"\1", FONT.sub(r"\1", text))
    if "\\" in text:
        text = COMMAND.sub(" ", text)
    if "&" in text:
        text = text.replace("&", " and ")
    if TWO_INITIALS.search(text):
        text = INITIALS.sub(lambda initials: initials[0].replace(".", "") + " ", text)
    if "-" in text:
        text = BELOW_ZERO.sub("\x01", text).replace(" - ", " | ").replace("--", "|")
    if "+" in text or "#" in text:
        text = LETTER_SIGN.sub(lambda letter: letter[0].translate(HIDDEN), text)
    if DIGIT.search(text):
        text = THOUSANDS.sub("", POINT.sub("\x04", text))
        text = ORDINAL_OR_MILLIONS.sub(
            lambda number: number[0][0] + MILLIONS.get(number[0][1:], ""), text
        )
    text = text.translate(ASCII_SIGNS if text.isascii() else SIGNS)
    for sign, restored in RESTORED.items():
        text = text.replace(sign, restored)
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    words = text.split()
    words = filter(None, map(WORDS.get, words, words))  # each as WORDS has it, else as it is
    text = f" {' '.join(words)} {BORDER} "
    if " a " in text:
        text = ARTICLE.sub(" ", text)
    return text
