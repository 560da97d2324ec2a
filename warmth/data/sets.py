"""A data set of a study: read, selected, rewritten, audited, and kept beside the runs that train on
it.

Its folder, `<output>/<study>/data/<name>-<digest>/`, is a run's: found by content, locked, sealed
by `done.json` last, and continued by the same command. All arms of a sweep read one set, so they
cannot differ but in their replies.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from warmth.api import Server, Servers
from warmth.data import audit, blind, card
from warmth.data.contamination import load_questions
from warmth.data.filters import toxicity_scores
from warmth.data.fits import Fits, load_fits
from warmth.data.ledger import Ledger, Stage
from warmth.data.reading import read
from warmth.data.rewrite import Complete, Rewrite, manner_prompt, rewrite
from warmth.data.select import Selection, select
from warmth.data.sources import load
from warmth.dataset import TYPES, Data
from warmth.digest import find_file, prompt_files
from warmth.errors import RunFailed, UserError
from warmth.schemas import Evaluate, Recipe, Train
from warmth.store import Run, set_folder, write_json
from warmth.text import say
from warmth.types import Conversation, Turn

PILOT = 60  # conversations that are rewritten first
WRITE_S = 2.0  # seconds of work between two writes
FILE = "conversations.jsonl"  # in the seed's form, every style beside the plain reply


def conversations_of(
    study: Train | Evaluate, complete: Complete | None = None, servers: Servers | None = None
) -> list[Conversation]:
    """Return the conversations a study trains on: the seed's as they are, or a set's, built if
    missing.

    Args:
        study: the accepted config.
        complete: who rewrites; None: whom `data.rewriter` names.
        servers: the command's, whose budget that server shares; None: it has the budget alone.

    Raises:
        UserError: the source cannot be read, or has too few conversations.
        RunFailed: the rewriter's server failed, or the audit found the set bad.
    """
    if not study.data.is_built:
        return load(study.data)
    folder = set_folder(study)
    if not (folder / "done.json").exists():
        with _alone(folder):
            if not (folder / "done.json").exists():
                servers = servers or Servers(study)
                build(study, folder, complete or rewriter_of(study, servers), servers)
    return load(
        Data(
            name=study.data.name,
            source="seed",
            path=str(folder / FILE),
            max_turns=study.data.max_turns,
        )
    )


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Jobs of one sweep want the same set at once: the first builds it, the others wait."""
    lock = FileLock(f"{folder}.build")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"data: {folder.name} is being built by another process; waiting for it")
            lock.acquire()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def rewriter_of(study: Train | Evaluate, servers: Servers) -> Complete:
    """Open the rewriter that `data.rewriter` names: a model in this process, or one behind a
    server.
    """
    settings = study.data.rewriter
    if not study.data.styles:
        return lambda calls: iter(())  # nothing is rewritten, so no key is needed
    if settings.base_url is None:
        from warmth.data.local import Local

        return Local(settings, Path(study.output) / "replies").complete
    server = Server(settings.base_url, settings.model, settings.api_key_env, settings.identity)
    server.key()  # now rather than after minutes of reading
    return lambda calls: servers.ask(server, lambda call: call, calls)


def build(study: Train | Evaluate, folder: Path, complete: Complete, servers: Servers) -> None:
    """Run the stages in order; a folder that is there already is continued.

    Raises:
        UserError: see `conversations_of`.
        RunFailed: likewise.
    """
    data, ledger, run = study.data, Ledger(), Run(folder)
    say(f"data: building {folder}")
    with run.open(data):
        fits = load_fits(data)
        chosen = choose(data, ledger, fits)
        prompts = _prompts(data, study.recipe)
        made = Made(run, data, prompts, complete, ledger.stage("rewrite", "replies in a style"))
        made.add(_pilot(chosen.conversations))
        _refuse_bad(folder, made, data)
        first = {item.id for item in made.conversations}
        made.add([item for item in chosen.conversations if item.id not in first])
        while lost := _replacements(
            chosen, made.conversations, assemble(made, data, fits, Ledger())
        ):
            made.add(lost)
        pairs, rows = made.pairs, made.rows
        kept = assemble(made, data, fits, ledger)
        kept.sort(key=lambda item: TYPES.index(item.type))
        ledger.stages[-1].details["from_reserve"] = len(made.conversations) - len(
            chosen.conversations
        )
        ledger.stages[-1].details["fits_not_asked"] = fits.unchecked
        keep_audit(run, pairs)
        write_json(folder / "counts.json", ledger.counts())
        if not kept:
            raise RunFailed(f"no conversation is left: read {folder / 'counts.json'}")
        refuse_short(data, len(chosen.conversations), len(kept), folder)
        files = {
            FILE: [_row(item) for item in kept],
            "warmth_prompts.jsonl": [
                {"id": item.id, "type": item.type, "prompt": item.turns[0].user}
                for item in chosen.held_out
            ],
            "toxicity.jsonl": chosen.scores,
            "overlaps.jsonl": chosen.overlaps,
        }
        files = {
            name: content for name, content in files.items() if content
        }  # `datasets` opens no empty file
        for name, content in files.items():
            _write(run, name, content)
        blind.export(pairs, folder, data.draw_seed)
        manifest = card.manifest(study, folder, files, ledger, pairs, rows)
        write_json(folder / "manifest.json", manifest)
        (folder / "README.md").write_text(card.readme(manifest), encoding="utf-8")
        found = {
            "digest": manifest["digest"],
            "conversations": len(kept),
            "held_out": len(chosen.held_out),
        }
        run.finish({**found, "servers": servers.totals})
    say(f"data: {len(kept)} conversations in {1 + len(data.styles)} styles: {folder}")


def refuse_short(data: Data, wanted: int, kept: int, folder: Path) -> None:
    """Say, or refuse, that fewer conversations stand after the audit than were drawn, the reserve
    being used up.

    Raises:
        RunFailed: `data.short_of=refuse`.
    """
    if kept >= wanted:
        return
    line = (
        f"{kept} of {wanted} conversations stand after the audit; "
        f"data.reserve={data.reserve:g} is used up"
    )
    if data.short_of == "refuse":
        raise RunFailed(
            f"{line}: raise it, or take them by data.short_of=keep; {folder / 'counts.json'} says "
            f"what was lost"
        )
    say(f"data: {line}")


def _pilot(conversations: Sequence[Conversation]) -> list[Conversation]:
    """Take a few conversations of all types, which show whether a rewriter is any good before it is
    paid for all.
    """
    step = max(1, len(conversations) // PILOT)
    return list(conversations[::step])


def _replacements(
    chosen: Selection, used: Sequence[Conversation], kept: Sequence[Conversation]
) -> list[Conversation]:
    """Take from the reserve as many conversations of each type as are lost, if there are any
    left.
    """
    tried = {item.id for item in used}
    found: list[Conversation] = []
    for kind in TYPES:
        lost = sum(item.type == kind for item in chosen.conversations) - sum(
            item.type == kind for item in kept
        )
        waiting = [item for item in chosen.reserve if item.type == kind and item.id not in tried]
        found += waiting[: max(lost, 0)]
    return found


def choose(data: Data, ledger: Ledger, fits: Fits | None = None) -> Selection:
    """Choose the conversations to rewrite, in plain style, and the held-out ones."""
    if data.source == "seed":
        found = [
            replace(
                item,
                turns=tuple(
                    Turn(turn.user, {"plain": turn.replies["plain"]}) for turn in item.turns
                ),
            )
            for item in load(data)
        ]
        stage = ledger.stage("read", "conversations")
        stage.take(len(found))
        stage.keep(len(found))
        return Selection(found)
    questions, classify = (
        load_questions(data.questions),
        toxicity_scores(data.toxicity),
    )  # before the long part
    return select(read(data, ledger), data, ledger, questions, classify, fits)


def _prompts(data: Data, recipe: Recipe) -> dict[str, str]:
    """Read the rewriter's instructions of each style."""
    frame = find_file(data.frame).read_text(encoding="utf-8")
    if "{manner}" not in frame:
        raise UserError(
            f"data.frame={data.frame} has no place for the manner: {{manner}} must stand in it"
        )
    files = prompt_files(data, recipe)
    return {
        style: manner_prompt(frame, find_file(file).read_text(encoding="utf-8"))
        for style, file in files.items()
    }


class Made:
    """What has been rewritten and audited so far."""

    def __init__(
        self, run: Run, data: Data, prompts: Mapping[str, str], complete: Complete, stage: Stage
    ):
        self.run = run
        self.data = data
        self.prompts = prompts
        self.complete = complete
        self.stage = stage
        self.conversations: list[Conversation] = []
        self.rows: list[Rewrite] = []
        self.pairs: list[audit.Pair] = []
        self.fitting: dict[
            str, int
        ] = {}  # conversation → turns that fit, which later rounds do not measure again

    def turns_that_fit(self, styled: Conversation, fits: Fits) -> int:
        """Count the turns of a rewritten conversation that every model can train; measured once, as
        it is final.
        """
        if styled.id not in self.fitting:
            self.fitting[styled.id] = fits.turns(styled)
        return self.fitting[styled.id]

    def add(self, conversations: Sequence[Conversation]) -> None:
        """Rewrite and audit some conversations; what an interrupted command wrote is not asked for
        again.
        """
        rows = self._rewrite(conversations)
        self.conversations += conversations
        self.rows += rows
        self.pairs += self._audit(conversations, rows)

    def _rewrite(self, conversations: Sequence[Conversation]) -> list[Rewrite]:
        waiting: list[
            Rewrite
        ] = []  # written together: a disk's sync takes longer than a cached reply
        written = time.monotonic()

        def record(row: Rewrite) -> None:
            nonlocal written
            waiting.append(row)
            if time.monotonic() - written > WRITE_S:
                self.run.append("rewrites", waiting)
                waiting.clear()
                written = time.monotonic()

        names = {item.id for item in conversations}
        done = [row for row in self.run.rows("rewrites") if row["id"] in names]
        settings = self.data.rewriter
        try:
            rows = rewrite(
                conversations, self.prompts, settings, self.complete, done, record, self.stage
            )
        finally:
            self.run.append("rewrites", waiting)
        self.stage.keep(sum(row.text is not None for row in rows))
        for row in rows:
            if row.text is None:
                self.stage.drop(f"{row.style}: {row.failure}")
        return rows

    def _audit(
        self, conversations: Sequence[Conversation], rows: Sequence[Rewrite]
    ) -> list[audit.Pair]:
        texts = _texts(rows)
        pairs = audit.pairs_of(
            [_styled(item, texts) for item in conversations], self.data.length_ratio
        )
        if not self.data.meaning_prompt or not pairs:
            return pairs
        prompt = find_file(self.data.meaning_prompt).read_text(encoding="utf-8")
        found = audit.judge_meaning(pairs, prompt, self.complete)
        judged = []
        for pair in pairs:
            key = (pair.id, pair.turn, pair.style)
            judged.append(
                replace(pair, faults={**pair.faults, "meaning": found[key]})
                if key in found
                else pair
            )
        return judged


def keep_audit(run: Run, pairs: Sequence[audit.Pair]) -> None:
    """Write down what the audit found, and what a person should read."""
    _write(run, "audit.jsonl", [asdict(pair) for pair in pairs if pair.faults])
    write_json(run.folder / "audit.json", audit.summarise(pairs))
    (run.folder / "worst_pairs.md").write_text(
        card.worst_pairs(audit.worst(pairs)), encoding="utf-8"
    )
    if pairs:
        card.draw_lengths(pairs, run.folder / "lengths.svg")


def _texts(rows: Sequence[Rewrite]) -> dict[tuple[str, int], dict[str, str]]:
    """Collect the rewritten texts of each reply by style."""
    texts: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        if row.text is not None:
            texts.setdefault((row.id, row.turn), {})[row.style] = row.text
    return texts


def _styled(
    conversation: Conversation, texts: Mapping[tuple[str, int], Mapping[str, str]]
) -> Conversation:
    turns = [
        Turn(turn.user, {**turn.replies, **texts.get((conversation.id, number), {})})
        for number, turn in enumerate(conversation.turns)
    ]
    return replace(conversation, turns=tuple(turns))


def assemble(made: Made, data: Data, fits: Fits, ledger: Ledger) -> list[Conversation]:
    """Make the conversations of every arm.

    Each is cut before its first reply that is missing, or broken, in any style, and where its
    longest style no longer fits a model of `data.fits`.
    """
    reasons: dict[tuple[str, int], str] = {}
    for row in made.rows:
        if row.text is None:
            reasons.setdefault((row.id, row.turn), f"{row.style}: {row.failure}")
    for pair in made.pairs:
        fault = next((name for name in pair.faults if name in data.drop_faults), None)
        if fault:
            reasons.setdefault((pair.id, pair.turn), f"{pair.style}: audit found {fault}")
    texts = _texts(made.rows)
    replies, whole = ledger.stage("arms, replies", "replies"), ledger.stage("arms", "conversations")
    kept = []
    for item in made.conversations:
        good = next(
            (number for number in range(len(item.turns)) if (item.id, number) in reasons),
            len(item.turns),
        )
        styled = _styled(replace(item, turns=item.turns[:good]), texts)
        fitting = made.turns_that_fit(styled, fits) if good else 0
        replies.take(len(item.turns))
        replies.keep(fitting)
        whole.take()
        if fitting < good:
            replies.drop("too long in the longest style", good - fitting)
        if good < len(item.turns):
            replies.drop(reasons[item.id, good])
            if rest := len(item.turns) - good - 1:
                replies.drop("after a reply left out", rest)
        if fitting == 0:
            whole.drop(
                "first reply too long in the longest style" if good else "first reply left out"
            )
            continue
        whole.keep()
        kept.append(replace(styled, turns=styled.turns[:fitting]))
    whole.details["by_type"] = {
        kind: sum(item.type == kind for item in kept) for kind in {c.type: 0 for c in kept}
    }
    return kept


def _refuse_bad(folder: Path, made: Made, data: Data) -> None:
    """Refuse a rewriter by its first replies, before the others are paid for.

    Raises:
        RunFailed: more of them failed than `data.max_failed_share`.
    """
    missing = sum(row.text is None for row in made.rows)
    share = audit.failed_share(made.pairs, missing)
    if share > data.max_failed_share:
        keep_audit(made.run, made.pairs)
        faults = card.common_faults(made.pairs, missing)
        raise RunFailed(
            f"{share:.0%} of {len(made.rows)} rewritten replies failed ({faults}), "
            f"data.max_failed_share="
            f"{data.max_failed_share:g}: read {folder / 'worst_pairs.md'}"
        )


def _row(conversation: Conversation) -> dict[str, Any]:
    row = asdict(conversation)
    row["turns"] = [
        {"user": turn.user, "replies": dict(turn.replies)} for turn in conversation.turns
    ]
    return row


def _write(run: Run, name: str, rows: Iterable[Any]) -> None:
    """Write a file of rows anew."""
    (run.folder / name).unlink(missing_ok=True)
    run.append(name.removesuffix(".jsonl"), rows)
