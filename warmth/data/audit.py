"""Whether a rewritten reply still says the same: faults by name, their shares, the worst pairs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from warmth.api import PASSING, Call
from warmth.data.facts import Facts, facts_in_text
from warmth.data.filters import words_of
from warmth.data.ledger import counts_text
from warmth.data.rewrite import Complete
from warmth.dataset import FAULTS
from warmth.delimiter import delimiter
from warmth.errors import RunFailed
from warmth.types import Conversation, Message

WORST = 20
LONG = 20  # words of a reply, from which its length ratio says something
LOOSE_FILLERS = 2  # more than the source has
COUNTED_ONCE = ("quotation", "snippet", "url", "email")  # said twice or once is the same
PIECE_FAULTS = {
    "code": ("code", "snippet"),
    "equations": ("display", "inline"),
    "urls": ("url", "email"),
    "quotes": ("quotation", "quoted_lines"),
    "tables": ("table",),
}


@dataclass(frozen=True)
class RewritePair:
    """A reply and its rewriting: a row of `audit.jsonl`, but for the texts."""

    id: str
    turn: int
    style: str
    user: str
    plain: str
    text: str
    faults: dict[str, str]  # fault → what was found
    ratio: float  # words of the rewritten reply / words of the plain one


def audited_pairs(
    conversations: Iterable[Conversation], length_ratio: Sequence[float]
) -> list[RewritePair]:
    """Audit every reply of every style beside its plain one."""
    pairs = []
    for conversation in conversations:
        context = conversation.system or ""
        for number, turn in enumerate(conversation.turns):
            context += "\n" + turn.user
            plain = turn.replies["plain"]
            for style, text in turn.replies.items():
                if style == "plain":
                    continue
                pair = RewritePair(
                    id=conversation.id,
                    turn=number,
                    style=style,
                    user=turn.user,
                    plain=plain,
                    text=text,
                    faults=faults_of(plain, text, style, context, length_ratio),
                    ratio=len(text.split()) / max(len(plain.split()), 1),
                )
                pairs.append(pair)
            context += "\n" + plain
    return pairs


def faults_of(
    plain: str,
    text: str,
    style: str,
    context: str = "",
    length_ratio: Sequence[float] = (0.4, 1.45),
) -> dict[str, str]:
    """Find what a rewriting lost or added, by the names in `FAULTS`; empty if it is clean.

    Args:
        plain: the reply.
        text: the same in another manner.
        style: that manner; `cold` allows no exclamation marks and no "we".
        context: what was said before, the user's message included: names and numbers from there are
        nothing new.
        length_ratio: bounds of words after to words before.
    """
    before = facts_in_text(plain)
    after = facts_in_text(text)
    known = facts_in_text(context)
    details: dict[str, str | None] = {
        **_pieces(before, after),
        "numbers": _numbers(before, after, known),
        "units": _units(before, after),
        "dates": _dates(before, after, known),
        "names": _names(before, after, known, plain, text, context),
        "lists": _counts("list items (numbered, bulleted)", before.items, after.items),
        "headings": _counts("headings", before.headings, after.headings),
        "emphasis": _counts("bold passages", before.bold, after.bold),
        "length": _length(before.words, after.words, length_ratio),
        "greeting": _greeting(before, after),
        "emoji": "".join(after.emojis - before.emojis),
        "fillers": _fillers(before, after),
        "manner": _manner(before, after, style),
    }
    return {name: details[name] or "" for name in FAULTS if details.get(name)}


def _pieces(before: Facts, after: Facts) -> dict[str, str | None]:
    details: dict[str, str | None] = {}
    for fault, kinds in PIECE_FAULTS.items():
        for kind in kinds:
            pieces_before = before.pieces.get(kind, Counter())
            pieces_after = after.pieces.get(kind, Counter())
            if kind in COUNTED_ONCE:
                pieces_before = Counter(set(pieces_before))
                pieces_after = Counter(set(pieces_after))
            if pieces_before != pieces_after and not details.get(fault):
                missing = set(pieces_before - pieces_after)
                added = set(pieces_after - pieces_before)
                details[fault] = _difference(missing, added)
    return details


def _numbers(before: Facts, after: Facts, known: Facts) -> str | None:
    missing = before.numbers - after.numbers - after.spelled
    added = after.numbers - before.numbers - before.spelled - known.numbers - known.spelled
    return _difference(missing, added)


def _units(before: Facts, after: Facts) -> str | None:
    """Find measures whose number still stands in the text with another unit or with none.

    An age may lose its unit: "14 years old" may become "aged 14".
    """
    renamed = {number for number, _ in after.units - before.units}
    missing = set()
    for number, unit in before.units - after.units:
        if number in after.numbers and (unit != "year" or number in renamed):
            missing.add(f"{number} {unit}")
    added = set()
    if missing:
        for number, unit in after.units - before.units:
            if number in before.numbers:
                added.add(f"{number} {unit}")
    return _difference(missing, added)


def _dates(before: Facts, after: Facts, known: Facts) -> str | None:
    """Find dates lost and added; a date that the user named may be left out if none is added."""
    missing = before.dates - after.dates
    added = after.dates - before.dates - known.dates
    if not added:
        missing -= known.dates
    return _difference(missing, added)


def _names(
    before: Facts, after: Facts, known: Facts, plain: str, text: str, context: str
) -> str | None:
    """Find names lost from inside a sentence, and names that nobody had said before.

    A name counts as kept in another case or form (Japan, Japanese), and one that the user knows,
    having said it or read it before, may be left out. A single new name with none lost is let pass:
    mostly it says what was implied.
    """
    context_stems = _stems(context)
    missing = _unmatched(before.names - after.capitals, _stems(text))
    added = _unmatched(
        after.names - before.capitals - known.capitals, _stems(plain) | context_stems
    )
    if len(added) == 1 and not missing:
        return None
    if not added:
        missing = _unmatched(missing, context_stems)
    return _difference(missing, added)


def _unmatched(names: Iterable[str], stems: Collection[str]) -> set[str]:
    """Return the names of two letters or more that share no stem with a text."""
    return {name for name in names if len(name) > 1 and _stems(name).isdisjoint(stems)}


def _stems(text: str) -> set[str]:
    """List the words of a text in lower case, cut after their first four letters."""
    return {word[:4] for word in words_of(text)}


def _difference(missing: Collection[str], added: Collection[str]) -> str | None:
    """Write `lost …; added …`, five of each at most; None if both are empty."""
    clauses = []
    if missing:
        clauses.append(f"lost {_examples(missing)}")
    if added:
        clauses.append(f"added {_examples(added)}")
    return "; ".join(clauses) or None


def _examples(texts: Collection[str]) -> str:
    return ", ".join(text[:60] for text in sorted(texts)[:5])


def _counts(subject: str, before: Any, after: Any) -> str | None:
    if before == after:
        return None
    return f"{subject}: {before} became {after}"


def _length(before: int, after: int, bounds: Sequence[float]) -> str | None:
    if max(before, after) < LONG:
        return None
    lowest, highest = bounds
    if lowest <= after / max(before, 1) <= highest:
        return None
    return f"{before} words became {after}"


def _greeting(before: Facts, after: Facts) -> str | None:
    return "stock phrase" if after.greetings > before.greetings else None


def _fillers(before: Facts, after: Facts) -> str | None:
    if after.fillers <= before.fillers + LOOSE_FILLERS:
        return None
    return f"{after.fillers} fillers"


def _manner(before: Facts, after: Facts, style: str) -> str | None:
    if style != "cold":
        return None
    marks = []
    if after.exclamations > 0:
        marks.append("exclamation mark")
    if after.joint > before.joint:
        marks.append('"we"')
    return ", ".join(marks) or None


class MeaningVerdict(BaseModel):
    """What the optional judge says of a pair."""

    same_meaning: bool
    difference: str


def judge_meaning(
    pairs: Sequence[RewritePair], prompt: str, complete: Complete
) -> dict[tuple[str, int, str], str]:
    """Ask a judge which pairs differ in meaning, and in what; by id, turn and style.

    Raises:
        RunFailed: some verdicts could not be had. No verdict is not a verdict.
    """
    calls = [Call(_question(pair, prompt), 0.0, 300, schema=MeaningVerdict) for pair in pairs]
    differences: dict[tuple[str, int, str], str] = {}
    failures = Counter[str]()
    for reply in complete(calls):
        pair = pairs[reply.index]
        if reply.failure or not isinstance(reply.parsed, MeaningVerdict):
            failures[reply.failure or "bad_json"] += 1
        elif not reply.parsed.same_meaning:
            differences[pair.id, pair.turn, pair.style] = reply.parsed.difference or "differs"
    if failures:
        if set(failures) & set(PASSING):
            remedy = "the same command asks for these alone"
        else:
            remedy = "unset data.meaning_prompt"
        raise RunFailed(
            f"{failures.total()} verdicts on meaning could not be had "
            f"({counts_text(failures)}); {remedy}"
        )
    return differences


def _question(pair: RewritePair, prompt: str) -> tuple[Message, ...]:
    tag = delimiter("\n".join((pair.user, pair.plain, pair.text)))
    texts = {"user": pair.user, "first": pair.plain, "second": pair.text}
    body = "\n\n".join(f"<{tag} {name}>\n{text}\n</{tag}>" for name, text in texts.items())
    return (
        Message("system", prompt.strip()),
        Message("user", f"Tag of this message: {tag}\n\n{body}"),
    )


def summarise_audit(pairs: Sequence[RewritePair]) -> dict[str, Any]:
    """Count replies, faults and lengths by style."""
    return {style: _summary(group) for style, group in by_style(pairs).items()}


def by_style(pairs: Iterable[RewritePair]) -> dict[str, list[RewritePair]]:
    """Group pairs by style, styles in alphabetical order."""
    groups: dict[str, list[RewritePair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.style].append(pair)
    return dict(sorted(groups.items()))


def fault_counts(pairs: Iterable[RewritePair]) -> Counter[str]:
    """Count how many pairs have each fault."""
    counts: Counter[str] = Counter()
    for pair in pairs:
        counts.update(pair.faults.keys())
    return counts


def _summary(pairs: Sequence[RewritePair]) -> dict[str, Any]:
    """Summarise the pairs of one style; lengths are words rewritten / words plain."""
    faults = fault_counts(pairs)
    p5, p50, p95 = np.quantile([pair.ratio for pair in pairs], [0.05, 0.5, 0.95]).tolist()
    return {
        "replies": len(pairs),
        "with_a_fault": _with_fault(pairs),
        "faults": {name: faults[name] for name in FAULTS if faults[name]},
        "length_ratio": {"p5": round(p5, 3), "p50": round(p50, 3), "p95": round(p95, 3)},
    }


def _with_fault(pairs: Sequence[RewritePair]) -> int:
    return sum(bool(pair.faults) for pair in pairs)


def worst(pairs: Sequence[RewritePair], count: int = WORST) -> list[RewritePair]:
    """Choose the pairs to read first: most faults, then farthest from the source's length."""

    def rank(pair: RewritePair) -> tuple[int, float, str, int]:
        return -len(pair.faults), -abs(pair.ratio - 1), pair.id, pair.turn

    return sorted(pairs, key=rank)[:count]


def failed_share(pairs: Sequence[RewritePair], not_had: int) -> float:
    """Compute the share of all rewritings that have a fault or could not be had."""
    total = len(pairs) + not_had
    if total == 0:
        return 0.0
    return (_with_fault(pairs) + not_had) / total
