"""A data set of a study: read, selected, rewritten, audited, and kept beside the runs that train on it.

Its folder, `<output>/<study>/data/<name>-<digest>/`, is a run's: found by content, locked, sealed by `done.json` last,
and continued by the same command. All arms of a sweep read one set, so they cannot differ but in their replies.
"""

from __future__ import annotations

import sys
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
from warmth.data.ledger import Ledger
from warmth.data.reading import read
from warmth.data.rewrite import Complete, Rewrite, manner_prompt, rewrite
from warmth.data.select import Selection, select
from warmth.data.sources import load
from warmth.dataset import Data
from warmth.digest import find_file, prompt_files
from warmth.errors import RunFailed, UserError
from warmth.schemas import Evaluate, Recipe, Train
from warmth.store import Run, set_folder, write_json
from warmth.types import Conversation, Turn

WRITE_S = 2.0  # seconds of work between two writes
FILE = "conversations.jsonl"  # in the seed's form, every style beside the plain reply


def conversations_of(
    study: Train | Evaluate, complete: Complete | None = None, servers: Servers | None = None
) -> list[Conversation]:
    """The conversations a study trains on: the seed's as they are, or a set's, which is built if it is not there.

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
    return load(Data(name=study.data.name, source="seed", path=str(folder / FILE), max_turns=study.data.max_turns))


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
    """The rewriter that `data.rewriter` names: a model in this process, or one behind the client for all servers."""
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
    """The stages in order; a folder that is there already is continued.

    Raises:
        UserError: see `conversations_of`.
        RunFailed: likewise.
    """
    data, ledger, run = study.data, Ledger(), Run(folder)
    say(f"data: building {folder}")
    with run.open(data):
        chosen = choose(data, ledger)
        prompts = _prompts(data, study.recipe)
        rows = _rewrites(run, chosen.conversations, prompts, data, ledger, complete)
        pairs = _audit(run, chosen.conversations, rows, data, complete)
        kept = assemble(chosen.conversations, rows, pairs, data, ledger)
        write_json(folder / "counts.json", ledger.counts())
        _refuse_bad(folder, pairs, rows, kept, data)
        files = {
            FILE: [_row(item) for item in kept],
            "warmth_prompts.jsonl": [
                {"id": item.id, "type": item.type, "prompt": item.turns[0].user} for item in chosen.held_out
            ],
            "toxicity.jsonl": chosen.scores,
            "overlaps.jsonl": chosen.overlaps,
        }
        files = {name: content for name, content in files.items() if content}  # `datasets` opens no empty file
        for name, content in files.items():
            _write(run, name, content)
        blind.export(pairs, folder, data.draw_seed)
        manifest = card.manifest(study, folder, files, ledger, pairs, rows)
        write_json(folder / "manifest.json", manifest)
        (folder / "README.md").write_text(card.readme(manifest), encoding="utf-8")
        found = {"digest": manifest["digest"], "conversations": len(kept), "held_out": len(chosen.held_out)}
        run.finish({**found, "servers": servers.totals})
    say(f"data: {len(kept)} conversations in {1 + len(data.styles)} styles: {folder}")


def choose(data: Data, ledger: Ledger) -> Selection:
    """The conversations to rewrite, in plain style, and the held-out ones."""
    if data.source == "seed":
        found = [
            replace(item, turns=tuple(Turn(turn.user, {"plain": turn.replies["plain"]}) for turn in item.turns))
            for item in load(data)
        ]
        stage = ledger.stage("read", "conversations")
        stage.take(len(found))
        stage.keep(len(found))
        return Selection(found)
    questions, classify = load_questions(data.questions), toxicity_scores(data.toxicity)  # before the long part
    return select(read(data, ledger), data, ledger, questions, classify)


def _prompts(data: Data, recipe: Recipe) -> dict[str, str]:
    """The rewriter's instructions of each style."""
    frame = find_file(data.frame).read_text(encoding="utf-8")
    if "{manner}" not in frame:
        raise UserError(f"data.frame={data.frame} has no place for the manner: {{manner}} must stand in it")
    files = prompt_files(data, recipe)
    return {style: manner_prompt(frame, find_file(file).read_text(encoding="utf-8")) for style, file in files.items()}


def _rewrites(
    run: Run,
    conversations: Sequence[Conversation],
    prompts: Mapping[str, str],
    data: Data,
    ledger: Ledger,
    complete: Complete,
) -> list[Rewrite]:
    stage = ledger.stage("rewrite", "replies in a style")
    waiting: list[Rewrite] = []  # written together: a disk's sync takes longer than a cached reply
    written = time.monotonic()

    def record(row: Rewrite) -> None:
        nonlocal written
        waiting.append(row)
        if time.monotonic() - written > WRITE_S:
            run.append("rewrites", waiting)
            waiting.clear()
            written = time.monotonic()

    try:
        rows = rewrite(conversations, prompts, data.rewriter, complete, list(run.rows("rewrites")), record, stage)
    finally:
        run.append("rewrites", waiting)
    stage.keep(sum(row.text is not None for row in rows))
    for row in rows:
        if row.text is None:
            stage.drop(f"{row.style}: {row.failure}")
    return rows


def _audit(
    run: Run, conversations: Sequence[Conversation], rows: Sequence[Rewrite], data: Data, complete: Complete
) -> list[audit.Pair]:
    """Audits every rewriting that could be had, and writes down what a person should read."""
    texts: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        if row.text is not None:
            texts.setdefault((row.id, row.turn), {})[row.style] = row.text
    styled = [_styled(item, texts) for item in conversations]
    pairs = audit.pairs_of(styled, data.length_ratio)
    if data.meaning_prompt and pairs:
        prompt = find_file(data.meaning_prompt).read_text(encoding="utf-8")
        found = audit.judge_meaning(pairs, prompt, complete)
        pairs = [
            replace(pair, faults={**pair.faults, "meaning": found[key]})
            if (key := (pair.id, pair.turn, pair.style)) in found
            else pair
            for pair in pairs
        ]
    _write(run, "audit.jsonl", [asdict(pair) for pair in pairs if pair.faults])
    write_json(run.folder / "audit.json", audit.summarise(pairs))
    (run.folder / "worst_pairs.md").write_text(card.worst_pairs(audit.worst(pairs)), encoding="utf-8")
    if pairs:
        card.draw_lengths(pairs, run.folder / "lengths.svg")
    return pairs


def _styled(conversation: Conversation, texts: Mapping[tuple[str, int], Mapping[str, str]]) -> Conversation:
    turns = [
        Turn(turn.user, {**turn.replies, **texts.get((conversation.id, number), {})})
        for number, turn in enumerate(conversation.turns)
    ]
    return replace(conversation, turns=tuple(turns))


def assemble(
    conversations: Sequence[Conversation],
    rows: Sequence[Rewrite],
    pairs: Sequence[audit.Pair],
    data: Data,
    ledger: Ledger,
) -> list[Conversation]:
    """The conversations of every arm: each cut before its first reply that is missing, or broken, in any style."""
    reasons: dict[tuple[str, int], str] = {}
    for row in rows:
        if row.text is None:
            reasons.setdefault((row.id, row.turn), f"{row.style}: {row.failure}")
    for pair in pairs:
        fault = next((name for name in pair.faults if name in data.drop_faults), None)
        if fault:
            reasons.setdefault((pair.id, pair.turn), f"{pair.style}: audit found {fault}")
    texts: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        texts.setdefault((row.id, row.turn), {})[row.style] = row.text or ""
    replies, whole = ledger.stage("arms, replies", "replies"), ledger.stage("arms", "conversations")
    kept = []
    for item in conversations:
        bad = next((number for number in range(len(item.turns)) if (item.id, number) in reasons), len(item.turns))
        replies.take(len(item.turns))
        replies.keep(bad)
        whole.take()
        if bad < len(item.turns):
            replies.drop(reasons[item.id, bad])
            if rest := len(item.turns) - bad - 1:
                replies.drop("after a reply left out", rest)
        if bad == 0:
            whole.drop("first reply left out")
            continue
        whole.keep()
        kept.append(_styled(replace(item, turns=item.turns[:bad]), texts))
    whole.details["by_type"] = {kind: sum(item.type == kind for item in kept) for kind in {c.type: 0 for c in kept}}
    return kept


def _refuse_bad(
    folder: Path, pairs: Sequence[audit.Pair], rows: Sequence[Rewrite], kept: Sequence[Conversation], data: Data
) -> None:
    missing = sum(row.text is None for row in rows)
    share = audit.failed_share(pairs, missing)
    if share > data.max_failed_share:
        faults = card.common_faults(pairs, missing)
        raise RunFailed(
            f"{share:.0%} of {len(rows)} rewritten replies failed ({faults}), data.max_failed_share="
            f"{data.max_failed_share:g}: read {folder / 'worst_pairs.md'}"
        )
    if not kept:
        raise RunFailed(f"no conversation is left: read {folder / 'counts.json'}")


def _row(conversation: Conversation) -> dict[str, Any]:
    row = asdict(conversation)
    row["turns"] = [{"user": turn.user, "replies": dict(turn.replies)} for turn in conversation.turns]
    return row


def _write(run: Run, name: str, rows: Iterable[Any]) -> None:
    """A file of rows, written anew."""
    (run.folder / name).unlink(missing_ok=True)
    run.append(name.removesuffix(".jsonl"), rows)


def say(line: str) -> None:
    """A line for the user, on standard error."""
    print(line, file=sys.stderr, flush=True)
