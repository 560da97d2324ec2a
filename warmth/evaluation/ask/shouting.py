"""Names that a data set shouts ("RUTH RENDELL") in the case that people write them in."""

from __future__ import annotations

import re
from collections.abc import Sequence

SMALL = frozenset(
    (
        "a",
        "an",
        "and",
        "at",
        "by",
        "de",
        "for",
        "from",
        "in",
        "of",
        "on",
        "or",
        "the",
        "to",
        "von",
        "van",
        "with",
    )
)
TITLES = frozenset(("MR", "MRS", "MS", "DR", "ST"))
NUMERAL = re.compile(r"[IVXLCM]+")
WORD = re.compile(r"[^\W\d_]+")
VOWELS = frozenset("AEIOUY")


def calm(name: str, aliases: Sequence[str]) -> str:
    """Return a name without shouting: an alias with the same letters if there is one, else words in
    title case.

    Acronyms stay as they are. They are told by an alias whose words begin with their letters, or by
    having no vowel.
    """
    name = unquoted(name)
    words = [word for word in WORD.findall(name) if is_shouted(word)]
    if not words:
        return name
    if len(WORD.findall(name)) == 1 and is_acronym(words[0], aliases):
        return name
    for alias in aliases:
        if alias.casefold() == name.casefold() and is_in_title_case(alias):
            return alias
    return WORD.sub(
        lambda match: _calm_word(match[0], match.start() == 0, is_all_capitals(name)), name
    )


def unquoted(name: str) -> str:
    """Return a name without quotation marks around all of it and without a full stop at its end."""
    inner = name.strip()
    if len(inner) > 2 and inner[0] in "'\"‘“" and inner[-1] in "'\"’”":
        inner = inner[1:-1].strip()
    return inner[:-1] if inner.endswith(".") and "." not in inner[:-1] else inner


def is_shouted(word: str) -> bool:
    """Say whether a word is written in capitals alone and long enough to be no initial."""
    return len(word) > 2 and word.isupper() and not NUMERAL.fullmatch(word)


def is_in_title_case(name: str) -> bool:
    """Say whether every longer word of a name begins with a capital, and none is shouted."""
    words = [word for word in WORD.findall(name) if word.lower() not in SMALL]
    return all(word[0].isupper() and not is_shouted(word) for word in words)


def is_all_capitals(name: str) -> bool:
    """Say whether every letter of a name is a capital."""
    letters = [character for character in name if character.isalpha()]
    return bool(letters) and all(map(str.isupper, letters))


def is_acronym(word: str, aliases: Sequence[str]) -> bool:
    """Say whether a word of capitals stands for several words."""
    if not VOWELS & set(word):
        return True
    for alias in aliases:
        initials = "".join(piece[0] for piece in WORD.findall(alias) if piece.lower() not in SMALL)
        if initials.upper() == word and len(WORD.findall(alias)) > 1:
            return True
    return False


def _calm_word(word: str, is_first: bool, all_capitals: bool) -> str:
    """Return one word of a shouted name in the case that it has in a title."""
    if all_capitals and word.lower() in SMALL and len(word) > 1:
        return word.capitalize() if is_first else word.lower()
    if word in TITLES:
        return word.capitalize()
    if NUMERAL.fullmatch(word) or not word.isupper() or not VOWELS & set(word):
        return word
    if all_capitals and len(word) > 1:
        return word.capitalize()
    return word.capitalize() if len(word) > 4 else word
