"""A data set of a study: read, selected, rewritten, audited, and kept beside its runs.

Its folder, `<output>/<study>/data/<name>-<digest>/`, is a run's: found by content, locked, sealed
by `done.json` last, and continued by the same command. All arms of a sweep read one set, so they
cannot differ but in their replies.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from warmth.api import Server, Servers
from warmth.data import audit, blind, card
from warmth.data.contamination import questions_to_avoid
from warmth.data.filters import toxicity_scores
from warmth.data.fits import Fits, load_fits
from warmth.data.ledger import Ledger, Stage
from warmth.data.reading import read_candidates
from warmth.data.rewrite import Complete, Rewrite, manner_prompt, rewrite
from warmth.data.select import Selection, select_conversations
from warmth.data.sources import load_conversations
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
    """Return the conversations a study trains on; a built set is made first if it is missing.

    Args:
        study: the accepted config.
        complete: who rewrites; None: whom `data.rewriter` names.
        servers: the command's, whose budget that server shares; None: it has the budget alone.

    Raises:
        UserError: the source cannot be read, or has too few conversations.
        RunFailed: the rewriter's server failed, or the audit found the set bad.
    """
    if not study.data.is_built:
        return load_conversations(study.data)
    folder = set_folder(study)
    if not _is_complete(folder):
        with _locked(folder):
            if not _is_complete(folder):
                servers = servers or Servers(study)
                build_set(study, folder, complete or rewriter_of(study, servers), servers)
    data = Data(
        name=study.data.name,
        source="seed",
        path=str(folder / FILE),
        max_turns=study.data.max_turns,
    )
    return load_conversations(data)


def _is_complete(folder: Path) -> bool:
    return (folder / "done.json").exists()


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Let one process build a set, while other jobs of the sweep that want it wait.

    Raises:
        UserError: the folder cannot be written.
    """
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
    """Open the rewriter that `data.rewriter` names: a local model, or one behind a server."""
    settings = study.data.rewriter
    if not study.data.styles:
        return lambda calls: iter(())  # nothing is rewritten, so no key is needed
    if settings.base_url is None:
        from warmth.data.local import LocalRewriter

        return LocalRewriter(settings, Path(study.output) / "replies").complete
    server = Server(settings.base_url, settings.model, settings.api_key_env, settings.identity)
    server.key()  # now rather than after minutes of reading
    return lambda calls: servers.ask(server, lambda call: call, calls)


def build_set(study: Train | Evaluate, folder: Path, complete: Complete, servers: Servers) -> None:
    """Run the stages in order; a folder that is there already is continued.

    Raises:
        UserError: see `conversations_of`.
        RunFailed: likewise.
    """
    data = study.data
    ledger = Ledger()
    run = Run(folder)
    say(f"data: building {folder}")
    with run.open(data):
        fits = load_fits(data)
        selection = choose(data, ledger, fits)
        prompts = _prompts(data, study.recipe)
        stage = ledger.stage("rewrite", "replies in a style")
        rewritten = Rewritten(run, data, prompts, complete, stage)
        _rewrite_all(rewritten, selection, fits)
        conversations = assemble(rewritten, data, fits, ledger)
        conversations.sort(key=lambda conversation: TYPES.index(conversation.type))
        arms_stage = ledger.stages[-1]
        drawn = len(selection.conversations)
        arms_stage.details["from_reserve"] = len(rewritten.conversations) - drawn
        arms_stage.details["fits_not_asked"] = fits.unchecked
        write_audit(run, rewritten.pairs)
        write_json(folder / "counts.json", ledger.counts())
        if not conversations:
            raise RunFailed(f"no conversation is left: read {folder / 'counts.json'}")
        refuse_short(data, drawn, len(conversations), folder)
        files = _files(conversations, selection)
        for name, rows in files.items():
            _write(run, name, rows)
        blind.export_blind_pairs(rewritten.pairs, folder, data.draw_seed)
        manifest = card.manifest(study, folder, files, ledger, rewritten.pairs, rewritten.rows)
        write_json(folder / "manifest.json", manifest)
        (folder / "README.md").write_text(card.readme(manifest), encoding="utf-8")
        outcome = {
            "digest": manifest["digest"],
            "conversations": len(conversations),
            "held_out": len(selection.held_out),
            "servers": servers.totals,
        }
        run.finish(outcome)
    say(f"data: {len(conversations)} conversations in {1 + len(data.styles)} styles: {folder}")


def _rewrite_all(rewritten: Rewritten, selection: Selection, fits: Fits) -> None:
    """Rewrite a pilot, then the others, then conversations of the reserve for those lost.

    Raises:
        RunFailed: the rewriter failed, or its pilot was bad.
    """
    data = rewritten.data
    rewritten.add(_pilot(selection.conversations))
    _refuse_bad(rewritten)
    pilot_ids = _ids(rewritten.conversations)
    later = []
    for conversation in selection.conversations:
        if conversation.id not in pilot_ids:
            later.append(conversation)
    rewritten.add(later)
    while True:
        usable = assemble(rewritten, data, fits, Ledger())
        replacements = _replacements(selection, rewritten.conversations, usable)
        if not replacements:
            return
        rewritten.add(replacements)


def _files(conversations: Sequence[Conversation], selection: Selection) -> dict[str, list[Any]]:
    """Return the rows of each file of the set; a file without rows is left out.

    `datasets` cannot open an empty file.
    """
    prompts = []
    for conversation in selection.held_out:
        prompt = conversation.turns[0].user
        prompts.append({"id": conversation.id, "type": conversation.type, "prompt": prompt})
    files = {
        FILE: list(map(_row, conversations)),
        "warmth_prompts.jsonl": prompts,
        "toxicity.jsonl": selection.scores,
        "overlaps.jsonl": selection.overlaps,
    }
    return {name: rows for name, rows in files.items() if rows}


def refuse_short(data: Data, drawn: int, usable: int, folder: Path) -> None:
    """Say, or refuse, that the audit left fewer conversations than were drawn.

    The reserve is used up by then.

    Raises:
        RunFailed: `data.short_of=refuse`.
    """
    if usable >= drawn:
        return
    line = (
        f"{usable} of {drawn} conversations stand after the audit; "
        f"data.reserve={data.reserve:g} is used up"
    )
    if data.short_of == "refuse":
        raise RunFailed(
            f"{line}: raise it, or take them by data.short_of=keep; "
            f"{folder / 'counts.json'} says what was lost"
        )
    say(f"data: {line}")


def _pilot(conversations: Sequence[Conversation]) -> list[Conversation]:
    """Take a few conversations of all types.

    They show whether a rewriter is any good before all replies are paid for.
    """
    step = max(1, len(conversations) // PILOT)
    return list(conversations[::step])


def _replacements(
    selection: Selection, tried: Sequence[Conversation], usable: Sequence[Conversation]
) -> list[Conversation]:
    """Take from the reserve as many conversations of each type as were lost, as far as it goes."""
    tried_ids = _ids(tried)
    lost = _type_counts(selection.conversations) - _type_counts(usable)
    replacements: list[Conversation] = []
    for conversation in selection.reserve:
        if conversation.id not in tried_ids and lost[conversation.type] > 0:
            lost[conversation.type] -= 1
            replacements.append(conversation)
    return replacements


def _ids(conversations: Iterable[Conversation]) -> set[str]:
    return {conversation.id for conversation in conversations}


def _type_counts(conversations: Iterable[Conversation]) -> Counter[str]:
    return Counter(conversation.type for conversation in conversations)


def choose(data: Data, ledger: Ledger, fits: Fits | None = None) -> Selection:
    """Choose the conversations to rewrite, in plain style, and the held-out ones."""
    if data.source == "seed":
        conversations = list(map(_in_plain_style, load_conversations(data)))
        stage = ledger.stage("read", "conversations")
        stage.take(len(conversations))
        stage.keep(len(conversations))
        return Selection(conversations)
    # What may be missing is loaded before the long part.
    questions = questions_to_avoid(data.questions)
    classify = toxicity_scores(data.toxicity)
    candidates = read_candidates(data, ledger)
    return select_conversations(candidates, data, ledger, questions, classify, fits)


def _in_plain_style(conversation: Conversation) -> Conversation:
    """Leave out the replies in every other style; they will be written anew."""
    turns = [Turn(turn.user, {"plain": turn.replies["plain"]}) for turn in conversation.turns]
    return replace(conversation, turns=tuple(turns))


def _prompts(data: Data, recipe: Recipe) -> dict[str, str]:
    """Read the rewriter's instructions of each style."""
    frame = find_file(data.frame).read_text(encoding="utf-8")
    if "{manner}" not in frame:
        raise UserError(
            f"data.frame={data.frame} has no place for the manner: {{manner}} must stand in it"
        )
    prompts = {}
    for style, file in prompt_files(data, recipe).items():
        manner = find_file(file).read_text(encoding="utf-8")
        prompts[style] = manner_prompt(frame, manner)
    return prompts


class Rewritten:
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
        self.pairs: list[audit.RewritePair] = []
        # conversation → turns that fit, which later rounds do not measure again
        self.fitting: dict[str, int] = {}

    def turns_that_fit(self, styled: Conversation, fits: Fits) -> int:
        """Count the turns of a rewritten conversation that every model can train.

        They are measured once: a rewritten conversation does not change.
        """
        if styled.id not in self.fitting:
            self.fitting[styled.id] = fits.turns(styled)
        return self.fitting[styled.id]

    def add(self, conversations: Sequence[Conversation]) -> None:
        """Rewrite and audit some conversations.

        What an interrupted command has written is not asked for again.
        """
        rows = self._rewrite(conversations)
        self.conversations += conversations
        self.rows += rows
        self.pairs += self._audit(conversations, rows)

    def _rewrite(self, conversations: Sequence[Conversation]) -> list[Rewrite]:
        # Rows are written together: a disk's sync takes longer than a cached reply.
        waiting: list[Rewrite] = []
        written = time.monotonic()

        def record(row: Rewrite) -> None:
            nonlocal written
            waiting.append(row)
            if time.monotonic() - written > WRITE_S:
                self.run.append("rewrites", waiting)
                waiting.clear()
                written = time.monotonic()

        ids = _ids(conversations)
        done = [row for row in self.run.rows("rewrites") if row["id"] in ids]
        settings = self.data.rewriter
        try:
            rows = rewrite(
                conversations, self.prompts, settings, self.complete, done, record, self.stage
            )
        finally:
            self.run.append("rewrites", waiting)
        for row in rows:
            if row.text is None:
                self.stage.drop(f"{row.style}: {row.failure}")
            else:
                self.stage.keep()
        return rows

    def _audit(
        self, conversations: Sequence[Conversation], rows: Sequence[Rewrite]
    ) -> list[audit.RewritePair]:
        texts = _texts(rows)
        styled = [_styled(conversation, texts) for conversation in conversations]
        pairs = audit.audited_pairs(styled, self.data.length_ratio)
        if not self.data.meaning_prompt or not pairs:
            return pairs
        prompt = find_file(self.data.meaning_prompt).read_text(encoding="utf-8")
        differences = audit.judge_meaning(pairs, prompt, self.complete)
        judged = []
        for pair in pairs:
            difference = differences.get((pair.id, pair.turn, pair.style))
            if difference is not None:
                pair = replace(pair, faults={**pair.faults, "meaning": difference})
            judged.append(pair)
        return judged


def write_audit(run: Run, pairs: Sequence[audit.RewritePair]) -> None:
    """Write down what the audit found, and what a person should read."""
    _write(run, "audit.jsonl", [asdict(pair) for pair in pairs if pair.faults])
    write_json(run.folder / "audit.json", audit.summarise_audit(pairs))
    worst_pairs = card.worst_pairs(audit.worst(pairs))
    (run.folder / "worst_pairs.md").write_text(worst_pairs, encoding="utf-8")
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
    """Add the rewritten texts to the replies of a conversation."""
    turns = []
    for number, turn in enumerate(conversation.turns):
        rewritten = texts.get((conversation.id, number), {})
        turns.append(Turn(turn.user, {**turn.replies, **rewritten}))
    return replace(conversation, turns=tuple(turns))


def assemble(rewritten: Rewritten, data: Data, fits: Fits, ledger: Ledger) -> list[Conversation]:
    """Make the conversations of every arm.

    Each is cut before its first reply that is missing, or broken, in any style, and where its
    longest style no longer fits a model of `data.fits`.
    """
    reasons = _unusable_replies(rewritten, data.drop_faults)
    texts = _texts(rewritten.rows)
    reply_stage = ledger.stage("arms, replies", "replies")
    conversation_stage = ledger.stage("arms", "conversations")
    usable = []
    for conversation in rewritten.conversations:
        turns = len(conversation.turns)
        good = 0
        while good < turns and (conversation.id, good) not in reasons:
            good += 1
        styled = _styled(replace(conversation, turns=conversation.turns[:good]), texts)
        fitting = rewritten.turns_that_fit(styled, fits) if good else 0
        reply_stage.take(turns)
        reply_stage.keep(fitting)
        if fitting < good:
            reply_stage.drop("too long in the longest style", good - fitting)
        if good < turns:
            reply_stage.drop(reasons[conversation.id, good])
        if good + 1 < turns:
            reply_stage.drop("after a reply left out", turns - good - 1)
        conversation_stage.take()
        if fitting > 0:
            conversation_stage.keep()
            usable.append(replace(styled, turns=styled.turns[:fitting]))
        elif good > 0:
            conversation_stage.drop("first reply too long in the longest style")
        else:
            conversation_stage.drop("first reply left out")
    conversation_stage.details["by_type"] = dict(_type_counts(usable))
    return usable


def _unusable_replies(
    rewritten: Rewritten, drop_faults: Sequence[str]
) -> dict[tuple[str, int], str]:
    """Say why replies are left out, by conversation and turn: not rewritten, or a fault."""
    reasons: dict[tuple[str, int], str] = {}
    for row in rewritten.rows:
        if row.text is None:
            reasons.setdefault((row.id, row.turn), f"{row.style}: {row.failure}")
    for pair in rewritten.pairs:
        for fault in pair.faults:
            if fault in drop_faults:
                reasons.setdefault((pair.id, pair.turn), f"{pair.style}: audit found {fault}")
    return reasons


def _refuse_bad(rewritten: Rewritten) -> None:
    """Refuse a rewriter by its first replies, before the others are paid for.

    Raises:
        RunFailed: more of them failed than `data.max_failed_share`.
    """
    limit = rewritten.data.max_failed_share
    missing = sum(row.text is None for row in rewritten.rows)
    share = audit.failed_share(rewritten.pairs, missing)
    if share > limit:
        write_audit(rewritten.run, rewritten.pairs)
        faults = card.common_faults(rewritten.pairs, missing)
        raise RunFailed(
            f"{share:.0%} of {len(rewritten.rows)} rewritten replies failed ({faults}), "
            f"data.max_failed_share={limit:g}: read {rewritten.run.folder / 'worst_pairs.md'}"
        )


def _row(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as a row in the seed's form."""
    return {
        "id": conversation.id,
        "type": conversation.type,
        "turns": [
            {"user": turn.user, "replies": dict(turn.replies)} for turn in conversation.turns
        ],
        "system": conversation.system,
    }


def _write(run: Run, name: str, rows: Iterable[Any]) -> None:
    """Write a file of rows anew."""
    (run.folder / name).unlink(missing_ok=True)
    run.append(name.removesuffix(".jsonl"), rows)
