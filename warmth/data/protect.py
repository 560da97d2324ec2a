"""What a rewriter must not touch is taken out before and put back after: code, formulas, tables,
links, quotations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = re.compile(r"\[\[KEEP-(\d+)\]\]")
# words from which a passage in quotation marks is a quotation; fewer are a manner of speaking
QUOTED = 4
BLOCKS = ("code", "quoted_lines", "table")  # pieces that stand on lines of their own
PIECES = re.compile(
    "|".join(
        f"(?P<{name}>{pattern})"
        for name, pattern in {
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
        }.items()
    ),
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


def pieces(text: str) -> list[tuple[str, str, int, int]]:
    """Split a text into its pieces in order: kind, piece, start, end."""
    found = []
    for match in PIECES.finditer(text):
        kind = match.lastgroup or ""
        kind = next(
            name for name in (kind, *match.groupdict()) if match.groupdict().get(name) == match[0]
        )
        if kind == "quotation" and len(match[0].split()) < QUOTED:
            continue
        found.append((kind, match[0], match.start(), match.end()))
    return found


def protect(text: str) -> Protected:
    """Takes every piece out of a text."""
    parts, taken, kinds, at = [], [], [], 0
    for kind, piece, start, end in pieces(text):
        taken.append(piece)
        kinds.append(kind)
        parts += [text[at:start], f"[[KEEP-{len(taken)}]]"]
        at = end
    return Protected("".join([*parts, text[at:]]), tuple(taken), tuple(kinds))


def restore(text: str, protected: Protected) -> str | None:
    """Puts every piece back. None when a mark is missing, stands twice, or was never given out."""
    marks = [int(match[1]) for match in MARK.finditer(text)]
    if sorted(marks) != list(range(1, len(protected.pieces) + 1)):
        return None
    parts, at = [], 0
    for match in MARK.finditer(text):
        number = int(match[1]) - 1
        before, after = text[at : match.start()], text[match.end() :]
        block = protected.kinds[number] in BLOCKS
        parts.append(before)
        if block and before and not before.endswith("\n") and before.strip():
            parts.append("\n\n")
        parts.append(protected.pieces[number])
        if block and after and not after.lstrip(" \t").startswith("\n"):
            parts.append("\n\n")
        at = match.end()
    return "".join([*parts, text[at:]])
