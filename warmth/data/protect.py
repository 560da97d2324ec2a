"""What a rewriter must not touch is taken out before and put back after.

Code, formulas, tables, links, quotations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = re.compile(r"\[\[KEEP-(\d+)\]\]")
# words from which a passage in quotation marks is a quotation; fewer are a manner of speaking
QUOTED = 4
BLOCKS = ("code", "quoted_lines", "table")  # pieces that stand on lines of their own
PATTERNS = {
    "code": r"^[ \t]*(?P<fence>```+|~~~+).*?(?:^[ \t]*(?P=fence)[ \t]*$|\Z)",
    "mark": MARK.pattern.replace("(", "(?:"),  # a text that holds a mark of its own
    "display": r"\$\$.+?\$\$|\\\[.+?\\\]|\\begin\{(\w+\*?)\}.+?\\end\{\w+\*?\}",
    "inline": r"\\\([^\n]+?\\\)|\$(?=[^\s$\d]|\d[^\n$]*[\\^_=+])[^\n$]*?[^\s$]\$(?!\d)",
    "snippet": r"(?P<tick>`+)[^\n]+?(?P=tick)",
    "quoted_lines": r"^[ \t]*>[^\n]*(?:\n[ \t]*>[^\n]*)*",
    "table": r"^[ \t]*\|[^\n]*\|[ \t]*(?:\n[ \t]*\|[^\n]*)+",
    "url": r"(?:https?://|www\.)[^\s<>\"“”]*[^\s<>\"“”.,;:!?)\]'’]",
    "email": r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w",
    "quotation": r"\"(?!\s)[^\"\n]+(?:\n+[^\"\n]+){0,3}?\"|“[^”]{1,2000}”|«[^»]{1,2000}»",
}
PIECES = re.compile(
    "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in PATTERNS.items()),
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Protected:
    """A text with marks in place of its pieces."""

    text: str
    pieces: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is left to rewrite."""
        return not re.search(r"\w", MARK.sub("", self.text))


def protected_pieces(text: str) -> list[tuple[str, str, int, int]]:
    """Find the pieces of a text in order, each as kind, piece, start, end."""
    located = []
    for match in PIECES.finditer(text):
        piece = match[0]
        kind = _kind_of(match)
        if kind == "quotation" and len(piece.split()) < QUOTED:
            continue
        located.append((kind, piece, match.start(), match.end()))
    return located


def _kind_of(match: re.Match[str]) -> str:
    """Name the pattern that a match is of: the group that holds all of it."""
    kind = match.lastgroup or ""
    if match.groupdict().get(kind) == match[0]:
        return kind
    return next(name for name, text in match.groupdict().items() if text == match[0])


def protect(text: str) -> Protected:
    """Take every piece out of a text, and leave a numbered mark in its place."""
    texts: list[str] = []
    taken: list[str] = []
    kinds: list[str] = []
    position = 0
    for kind, piece, start, end in protected_pieces(text):
        taken.append(piece)
        kinds.append(kind)
        texts += [text[position:start], f"[[KEEP-{len(taken)}]]"]
        position = end
    texts.append(text[position:])
    return Protected("".join(texts), tuple(taken), tuple(kinds))


def restore(text: str, protected: Protected) -> str | None:
    """Put every piece back.

    Returns:
        the text; None if a mark is missing, stands twice, or was never given out.
    """
    numbers = sorted(int(match[1]) for match in MARK.finditer(text))
    if numbers != list(range(1, len(protected.pieces) + 1)):
        return None
    texts: list[str] = []
    position = 0
    for match in MARK.finditer(text):
        number = int(match[1]) - 1
        before = text[position : match.start()]
        after = text[match.end() :]
        is_block = protected.kinds[number] in BLOCKS
        texts.append(before)
        if is_block and before.strip() and not before.endswith("\n"):
            texts.append("\n\n")
        texts.append(protected.pieces[number])
        if is_block and after and not after.lstrip(" \t").startswith("\n"):
            texts.append("\n\n")
        position = match.end()
    texts.append(text[position:])
    return "".join(texts)
