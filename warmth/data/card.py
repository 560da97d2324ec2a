"""What stands beside a data set: its manifest, its card, its worst pairs, a figure of lengths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from warmth.data.audit import RewritePair, by_style, fault_counts, summarise_audit
from warmth.data.ledger import Ledger, counts_text
from warmth.data.rewrite import Rewrite
from warmth.dataset import Data
from warmth.digest import data_identity, find_file, path_digest, prompt_files
from warmth.models import choose_dtype
from warmth.schemas import Evaluate, Train


def rows_digest(rows: Sequence[Any]) -> str:
    """Compute the SHA-256 of rows: a set rebuilt elsewhere is the same if this is."""
    total = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n"
        total.update(line.encode("utf-8", "backslashreplace"))
    return total.hexdigest()


def manifest(
    study: Train | Evaluate,
    folder: Path,
    files: Mapping[str, Sequence[Any]],
    ledger: Ledger,
    pairs: Sequence[RewritePair],
    rows: Sequence[Rewrite],
) -> dict[str, Any]:
    """Collect all that made the set, and digests of what came out."""
    data = study.data
    return {
        "name": data.name,
        "set": folder.name,
        "digest": rows_digest(files["conversations.jsonl"]),
        "files": _file_rows(files),
        "source": {
            "path": data.path,
            "hub_id": data.hub_id,
            "revision": data.revision,
            "file": data.file,
        },
        "identity": data_identity(data, study.recipe),
        "styles": ["plain", *data.styles],
        "prompts": _prompt_rows(study),
        "rewriter": _rewriter_row(data),
        # paid while this folder was made; a cached reply is free
        "cost_usd": round(sum(row.cost_usd for row in rows), 4),
        "counts": ledger.counts(),
        "audit": summarise_audit(pairs),
    }


def _file_rows(files: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {name: {"rows": len(rows), "sha256": rows_digest(rows)} for name, rows in files.items()}


def _prompt_rows(study: Train | Evaluate) -> dict[str, Any]:
    """Return file and SHA-256 of each style's prompt and of the frame around them."""
    if not study.data.styles:
        return {}
    prompts = {**prompt_files(study.data, study.recipe), "(frame)": study.data.frame}
    rows = {}
    for style, name in sorted(prompts.items()):
        rows[style] = {"file": name, "sha256": path_digest(find_file(name))}
    return rows


def _rewriter_row(data: Data) -> dict[str, Any] | None:
    """Describe who rewrote; None if nothing was rewritten."""
    if not data.styles:
        return None
    rewriter = data.rewriter
    runs_here = rewriter.base_url is None
    return {
        "model": rewriter.model,
        "server": urlsplit(rewriter.base_url or "").hostname,  # None: it ran here
        "identity": rewriter.identity,
        "temperature": rewriter.temperature,
        "dtype": str(choose_dtype(rewriter.dtype)) if runs_here else None,
    }


CARD = """---
pretty_name: {name}, replies in {count} manners
configs:
- config_name: conversations
  default: true
  data_files: conversations.jsonl
{held_out}---

# {set}

Conversations whose replies stand in {count} manners with the same facts: {styles}. Made by *warmth* from
{source}. Row digest `{digest}`.

Open it with `datasets.load_dataset("{set}")`, or train on it with `data=seed data.path={set}/conversations.jsonl`.
Each row: `id`, `type`, `system`, and `turns` of `user` and `replies`, one for each manner; `plain` is the source's own.

## What went where

{counts}

## Rewriting

{rewriting}

## Audit

{audit}

A fault is what a rule found, not what a person judged. `worst_pairs.md` has pairs to read first, `blind_pairs.csv`
pairs to judge without knowing which is which, `lengths.svg` the distribution of lengths, `audit.jsonl` every fault.

## Limits

- Every arm has the same conversations: a reply that was missing or broken in one manner is left out of all, with
  the turns after it. What is left is therefore a little easier to rewrite than the source.
- Types follow word rules on the first exchange, toxicity and language follow small classifiers; all three err.
- Texts keep the source's licence, errors and opinions. Look at both before sharing the set.
"""  # noqa: E501


def readme(manifest: Mapping[str, Any]) -> str:
    """Write the data card, in the form the hub and `datasets` read."""
    held_out = ""
    if "warmth_prompts.jsonl" in manifest["files"]:
        held_out = "- config_name: warmth_prompts\n  data_files: warmth_prompts.jsonl\n"
    return CARD.format(
        held_out=held_out,
        name=manifest["name"],
        set=manifest["set"],
        count=len(manifest["styles"]),
        styles=", ".join(manifest["styles"]),
        source=_source_text(manifest["source"]),
        digest=manifest["digest"][:16],
        counts=_counts_table(manifest["counts"]),
        rewriting=_rewriting(manifest),
        audit=_audit_table(manifest["audit"]),
    )


def _source_text(source: Mapping[str, Any]) -> str:
    if source["path"]:
        return f"`{source['path']}`"
    revision = f" at {source['revision']}" if source["revision"] else ""
    return f"`{source['hub_id'] or 'the embedded seed'}`{revision}"


def _counts_table(counts: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| stage | unit | in | out | dropped |", "|---|---|---|---|---|"]
    for stage in counts:
        lines.append(
            f"| {stage['stage']} | {stage['unit']} | {stage['in']} | {stage['out']} "
            f"| {_listed(stage['drops'])} |"
        )
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    """List counts in their order: `empty_reply 3, toxic 12`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _rewriting(manifest: Mapping[str, Any]) -> str:
    rewriter = manifest["rewriter"]
    if not rewriter:
        return "None: replies are the source's own."
    server = f"at {rewriter['server']}" if rewriter["server"] else "in this process"
    lines = [
        f"By `{rewriter['model']}` {server}, temperature {rewriter['temperature']}; "
        f"{manifest['cost_usd']:.2f} USD paid while this folder was made.",
        "",
    ]
    for style, prompt in manifest["prompts"].items():
        lines.append(f"- {style}: `{prompt['file']}` ({prompt['sha256']})")
    return "\n".join(lines)


def _audit_table(audit: Mapping[str, Any]) -> str:
    if not audit:
        return "Nothing was rewritten."
    lines = [
        "| manner | replies | with a fault | faults | length, 5 % / median / 95 % |",
        "|---|---|---|---|---|",
    ]
    for style, summary in audit.items():
        lengths = " / ".join(f"{value:.2f}" for value in summary["length_ratio"].values())
        lines.append(
            f"| {style} | {summary['replies']} | {summary['with_a_fault']} "
            f"| {_listed(summary['faults'])} | {lengths} |"
        )
    return "\n".join(lines)


def worst_pairs(pairs: Sequence[RewritePair]) -> str:
    """Write the pairs a person should read first, as Markdown."""
    paragraphs = ["# The pairs to read first\n"]
    for number, pair in enumerate(pairs, 1):
        faults = "; ".join(f"{name}: {detail}" for name, detail in pair.faults.items())
        paragraphs.append(
            f"## {number}. {pair.id}, reply {pair.turn + 1}, {pair.style}\n\n"
            f"{faults or 'no fault'}. Length × {pair.ratio:.2f}.\n"
        )
        for title, text in (("User", pair.user), ("Plain", pair.plain), (pair.style, pair.text)):
            quoted = "\n".join(f"    {line}" for line in text.splitlines())
            paragraphs.append(f"**{title}**\n\n{quoted}\n")
    return "\n".join(paragraphs)


def draw_lengths(pairs: Sequence[RewritePair], path: Path) -> None:
    """Draw how long rewritten replies are beside their sources, by manner: a histogram as SVG."""
    from matplotlib.figure import Figure

    groups = by_style(pairs)
    figure = Figure(figsize=(7, 1.2 + 1.2 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (style, group) in zip(axes, groups.items(), strict=True):
        ratios = [min(pair.ratio, 3.0) for pair in group]
        axis.hist(ratios, bins=np.arange(61) / 20, color="#4477aa")
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_ylabel(style)
    axes[-1].set_xlabel("words of the rewritten reply / words of its source (3: three or more)")
    figure.savefig(path, format="svg", metadata={"Date": None})


def common_faults(pairs: Sequence[RewritePair], missing: int) -> str:
    """Name the five most common faults, for one line."""
    faults = fault_counts(pairs)
    if missing:
        faults["not to be had"] = missing
    return counts_text(faults, 5)
