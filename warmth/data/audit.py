"""Does a rewritten reply still say the same?

Faults by name, shares by arm, and the pairs a person should read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from pydantic import BaseModel

from warmth.api import PASSING, Call
from warmth.data.facts import Facts, facts_of
from warmth.data.filters import words_of
from warmth.data.rewrite import Complete
from warmth.dataset import FAULTS
from warmth.delimiter import delimiter
from warmth.errors import RunFailed
from warmth.types import Conversation, Message

WORST = 20
LONG = 20  # words of a reply, from which its length ratio says something
LOOSE_FILLERS = 2  # more than the source has
PIECE_FAULTS = {
    "code": ("code", "snippet"),
    "equations": ("display", "inline"),
    "urls": ("url", "email"),
    "quotes": ("quotation", "quoted_lines"),
    "tables": ("table",),
}


@dataclass(frozen=True)
class Pair:
    """A reply and its rewriting: a row of `audit.jsonl`, but for the texts."""

    id: str
    turn: int
    style: str
    user: str
    plain: str
    text: str
    faults: dict[str, str]  # fault → what was found
    ratio: float  # words, rewritten to plain


def pairs_of(conversations: Iterable[Conversation], length_ratio: Sequence[float]) -> list[Pair]:
    """Audit every reply of every style beside its plain one."""
    found = []
    for conversation in conversations:
        said = conversation.system or ""
        for number, turn in enumerate(conversation.turns):
            said += "\n" + turn.user
            plain = turn.replies["plain"]
            for style, text in turn.replies.items():
                if style != "plain":
                    faults = faults_of(plain, text, style, said, length_ratio)
                    ratio = len(text.split()) / max(len(plain.split()), 1)
                    found.append(
                        Pair(conversation.id, number, style, turn.user, plain, text, faults, ratio)
                    )
            said += "\n" + plain
    return found


def faults_of(
    plain: str,
    text: str,
    style: str,
    context: str = "",
    length_ratio: Sequence[float] = (0.4, 1.45),
) -> dict[str, str]:
    """Find what a rewriting lost, added or took on, by the names in `FAULTS`; empty when it is
    clean.

    Args:
        plain: the reply.
        text: the same in another manner.
        style: that manner; `cold` allows no exclamation marks and no "we".
        context: what was said before, the user's message included: names and numbers from there are
        nothing new.
        length_ratio: bounds of words after to words before.
    """
    before, after, known = facts_of(plain), facts_of(text), facts_of(context)
    found: dict[str, str | None] = {
        **_pieces(before, after),
        "numbers": _numbers(before, after, known),
        "units": _difference(_units(before, after)),
        "dates": _difference(_dates(before, after, known)),
        "names": _names(before, after, known, plain, text, context),
        "lists": _counts("list items (numbered, bulleted)", before.items, after.items),
        "headings": _counts("headings", before.headings, after.headings),
        "emphasis": _counts("bold passages", before.bold, after.bold),
        "length": _length(before.words, after.words, length_ratio),
        "greeting": "stock phrase" if after.greetings > before.greetings else None,
        "emoji": "".join(after.emojis - before.emojis) or None,
        "fillers": f"{after.fillers} fillers"
        if after.fillers > before.fillers + LOOSE_FILLERS
        else None,
        "manner": _manner(before, after, style),
    }
    return {name: found[name] or "" for name in FAULTS if found.get(name)}


def _pieces(before: Facts, after: Facts) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for fault, kinds in PIECE_FAULTS.items():
        for kind in kinds:
            left, right = before.pieces.get(kind, Counter()), after.pieces.get(kind, Counter())
            if kind in ("quotation", "snippet", "url", "email"):  # said twice or once is the same
                left, right = Counter(set(left)), Counter(set(right))
            if left != right and not found.get(fault):
                found[fault] = _difference((set(left - right), set(right - left)))
    return found


def _numbers(before: Facts, after: Facts, known: Facts) -> str | None:
    lost = before.numbers - after.numbers - after.spelled
    added = after.numbers - before.numbers - before.spelled - known.numbers - known.spelled
    return _difference((lost, added))


def _units(before: Facts, after: Facts) -> tuple[set[str], set[str]]:
    """Measures whose number is still there with another unit, or with none ("14 years old" may
    become "aged 14").
    """
    changed = {number for number, _ in after.units - before.units}
    lost = {pair for pair in before.units - after.units if pair[0] in after.numbers}
    lost = {pair for pair in lost if pair[1] != "year" or pair[0] in changed}
    added = {pair for pair in after.units - before.units if lost and pair[0] in before.numbers}
    return {" ".join(pair) for pair in lost}, {" ".join(pair) for pair in added}


def _dates(before: Facts, after: Facts, known: Facts) -> tuple[set[str], set[str]]:
    """Dates lost and added; one that the user named may stay unsaid, unless another stands in its
    place.
    """
    lost, added = set(before.dates - after.dates), set(after.dates - before.dates - known.dates)
    return (lost, added) if added else (lost - known.dates, added)


def _names(
    before: Facts, after: Facts, known: Facts, plain: str, text: str, context: str
) -> str | None:
    """Names lost from inside a sentence, and names that nobody had said before.

    A name is still there in another case or form (Japan, Japanese), and one that the user knows,
    having said it or read it before, may stay unsaid. A single new name with none lost is let pass:
    mostly it says what was implied.
    """
    words_before, words_after, said = _stems(plain) | _stems(context), _stems(text), _stems(context)
    lost = {
        name
        for name in before.names - after.capitals
        if not _stems(name) & words_after and len(name) > 1
    }
    added = {
        name
        for name in after.names - before.capitals - known.capitals
        if not _stems(name) & words_before
    }
    added = {name for name in added if len(name) > 1}
    if len(added) == 1 and not lost:
        return None
    return _difference(
        (lost if added else {name for name in lost if not _stems(name) & said}, added)
    )


def _stems(text: str) -> set[str]:
    """List the words of a text in lower case, cut after their first four letters."""
    return {word[:4] for word in words_of(text)}


def _difference(sides: tuple[Collection[str], Collection[str]]) -> str | None:
    """`lost …; added …`, or None when both are empty."""
    named = zip(("lost", "added"), sides, strict=True)
    shown = [
        f"{word} {', '.join(item[:60] for item in sorted(items)[:5])}"
        for word, items in named
        if items
    ]
    return "; ".join(shown) or None


def _counts(what: str, before: Any, after: Any) -> str | None:
    return f"{what}: {before} became {after}" if before != after else None


def _length(before: int, after: int, bounds: Sequence[float]) -> str | None:
    if max(before, after) < LONG:
        return None
    ratio = after / max(before, 1)
    return None if bounds[0] <= ratio <= bounds[1] else f"{before} words became {after}"


def _manner(before: Facts, after: Facts, style: str) -> str | None:
    if style != "cold":
        return None
    found = {"exclamation mark": after.exclamations > 0, '"we"': after.joint > before.joint}
    return ", ".join(name for name, is_there in found.items() if is_there) or None


class Verdict(BaseModel):
    """What the optional judge says of a pair."""

    same_meaning: bool
    difference: str


def judge_meaning(
    pairs: Sequence[Pair], prompt: str, complete: Complete
) -> dict[tuple[str, int, str], str]:
    """Pairs that a judge finds to differ in meaning, and in what; by id, turn and style.

    Raises:
        RunFailed: some verdicts could not be had. No verdict is not a verdict.
    """
    calls = [Call(_question(pair, prompt), 0.0, 300, schema=Verdict) for pair in pairs]
    found, failed = {}, Counter[str]()
    for reply in complete(calls):
        pair = pairs[reply.index]
        if reply.failure or not isinstance(reply.parsed, Verdict):
            failed[reply.failure or "bad_json"] += 1
        elif not reply.parsed.same_meaning:
            found[pair.id, pair.turn, pair.style] = reply.parsed.difference or "differs"
    if failed:
        named = ", ".join(f"{name} {count}" for name, count in failed.most_common())
        remedy = (
            "the same command asks for these alone"
            if set(failed) & set(PASSING)
            else "unset data.meaning_prompt"
        )
        raise RunFailed(
            f"{failed.total()} verdicts on meaning could not be had ({named}); {remedy}"
        )
    return found


def _question(pair: Pair, prompt: str) -> tuple[Message, ...]:
    tag = delimiter("\n".join((pair.user, pair.plain, pair.text)))
    named = (("user", pair.user), ("first", pair.plain), ("second", pair.text))
    body = "\n\n".join(f"<{tag} {name}>\n{text}\n</{tag}>" for name, text in named)
    return Message("system", prompt.strip()), Message(
        "user", f"Tag of this message: {tag}\n\n{body}"
    )


def summarise(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Count by style: replies, share with any fault, each fault's share, and how lengths are
    distributed.
    """
    by_style: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_style[pair.style].append(pair)
    return {style: _summary(found) for style, found in sorted(by_style.items())}


def _summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    faults = Counter(fault for pair in pairs for fault in pair.faults)
    ratios = [pair.ratio for pair in pairs]
    cuts = quantiles(ratios, n=20, method="inclusive") if len(ratios) > 1 else ratios * 19
    return {
        "replies": len(pairs),
        "with_a_fault": sum(bool(pair.faults) for pair in pairs),
        "faults": {name: faults[name] for name in FAULTS if faults[name]},
        "length_ratio": {
            name: round(cuts[at], 3) for name, at in (("p5", 0), ("p50", 9), ("p95", 18))
        },
    }


def worst(pairs: Sequence[Pair], count: int = WORST) -> list[Pair]:
    """Choose the pairs to read first: most faults, then farthest from the source's length."""
    return sorted(
        pairs, key=lambda pair: (-len(pair.faults), -abs(pair.ratio - 1), pair.id, pair.turn)
    )[:count]


def failed_share(pairs: Sequence[Pair], not_had: int) -> float:
    """Share of all rewritings that have a fault or could not be had."""
    total = len(pairs) + not_had
    return (sum(bool(pair.faults) for pair in pairs) + not_had) / total if total else 0.0
