"""What stands beside a data set for people and machines: manifest, data card, worst pairs, a figure
of lengths.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from warmth.data.audit import Pair, summarise
from warmth.data.ledger import Ledger
from warmth.data.rewrite import Rewrite
from warmth.digest import data_identity, find_file, path_digest, prompt_files
from warmth.models import choose_dtype
from warmth.schemas import Evaluate, Train


def rows_digest(rows: Sequence[Any]) -> str:
    """SHA-256 of rows: a set rebuilt elsewhere is the same when this is."""
    total = hashlib.sha256()
    for row in rows:
        total.update(
            json.dumps(row, sort_keys=True, ensure_ascii=False).encode("utf-8", "backslashreplace")
            + b"\n"
        )
    return total.hexdigest()


def manifest(
    study: Train | Evaluate,
    folder: Path,
    files: Mapping[str, Sequence[Any]],
    ledger: Ledger,
    pairs: Sequence[Pair],
    rows: Sequence[Rewrite],
) -> dict[str, Any]:
    """Collect all that made the set, and digests of what came out."""
    data = study.data
    rewriter = {
        "model": data.rewriter.model,
        "server": urlsplit(data.rewriter.base_url or "").hostname,  # None: it ran here
        "identity": data.rewriter.identity,
        "temperature": data.rewriter.temperature,
        "dtype": str(choose_dtype(data.rewriter.dtype))
        if data.styles and data.rewriter.base_url is None
        else None,
    }
    prompts = {**prompt_files(data, study.recipe), "(frame)": data.frame} if data.styles else {}
    return {
        "name": data.name,
        "set": folder.name,
        "digest": rows_digest(files["conversations.jsonl"]),
        "files": {
            name: {"rows": len(found), "sha256": rows_digest(found)}
            for name, found in files.items()
        },
        "source": {
            "path": data.path,
            "hub_id": data.hub_id,
            "revision": data.revision,
            "file": data.file,
        },
        "identity": data_identity(data, study.recipe),
        "styles": ["plain", *data.styles],
        "prompts": {
            style: {"file": name, "sha256": path_digest(find_file(name))}
            for style, name in sorted(prompts.items())
        },
        "rewriter": rewriter if data.styles else None,
        "cost_usd": round(
            sum(row.cost_usd for row in rows), 4
        ),  # paid while this folder was made; cached is free
        "counts": ledger.counts(),
        "audit": summarise(pairs),
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
    source = manifest["source"]
    place = source["path"] or source["hub_id"] or "the embedded seed"
    revision = f" at {source['revision']}" if source["revision"] and not source["path"] else ""
    held_out = "- config_name: warmth_prompts\n  data_files: warmth_prompts.jsonl\n"
    return CARD.format(
        held_out=held_out if "warmth_prompts.jsonl" in manifest["files"] else "",
        name=manifest["name"],
        set=manifest["set"],
        count=len(manifest["styles"]),
        styles=", ".join(manifest["styles"]),
        source=f"`{place}`{revision}",
        digest=manifest["digest"][:16],
        counts=_counts_table(manifest["counts"]),
        rewriting=_rewriting(manifest),
        audit=_audit_table(manifest["audit"]),
    )


def _counts_table(counts: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| stage | unit | in | out | dropped |", "|---|---|---|---|---|"]
    for stage in counts:
        drops = ", ".join(f"{name} {count}" for name, count in stage["drops"].items()) or "none"
        lines.append(
            f"| {stage['stage']} | {stage['unit']} | {stage['in']} | {stage['out']} | {drops} |"
        )
    return "\n".join(lines)


def _rewriting(manifest: Mapping[str, Any]) -> str:
    rewriter = manifest["rewriter"]
    if not rewriter:
        return "None: replies are the source's own."
    place = f"at {rewriter['server']}" if rewriter["server"] else "in this process"
    lines = [
        f"By `{rewriter['model']}` {place}, temperature {rewriter['temperature']}; "
        f"{manifest['cost_usd']:.2f} USD paid while this folder was made.",
        "",
    ]
    named = manifest["prompts"].items()
    return "\n".join(
        [*lines, *(f"- {style}: `{item['file']}` ({item['sha256']})" for style, item in named)]
    )


def _audit_table(audit: Mapping[str, Any]) -> str:
    if not audit:
        return "Nothing was rewritten."
    lines = [
        "| manner | replies | with a fault | faults | length, 5 % / median / 95 % |",
        "|---|---|---|---|---|",
    ]
    for style, found in audit.items():
        faults = ", ".join(f"{name} {count}" for name, count in found["faults"].items()) or "none"
        lengths = " / ".join(f"{value:.2f}" for value in found["length_ratio"].values())
        lines.append(
            f"| {style} | {found['replies']} | {found['with_a_fault']} | {faults} | {lengths} |"
        )
    return "\n".join(lines)


def worst_pairs(pairs: Sequence[Pair]) -> str:
    """Write the pairs a person should read first, as Markdown."""
    parts = ["# The pairs to read first\n"]
    for number, pair in enumerate(pairs, 1):
        found = "; ".join(f"{name}: {detail}" for name, detail in pair.faults.items()) or "no fault"
        parts.append(
            f"## {number}. {pair.id}, reply {pair.turn + 1}, {pair.style}\n\n{found}. Length × "
            f"{pair.ratio:.2f}.\n"
        )
        for name, text in (("User", pair.user), ("Plain", pair.plain), (pair.style, pair.text)):
            parts.append(
                f"**{name}**\n\n" + "\n".join(f"    {line}" for line in text.splitlines()) + "\n"
            )
    return "\n".join(parts)


def draw_lengths(pairs: Sequence[Pair], path: Path) -> None:
    """Draw how long rewritten replies are beside their sources, by manner: a histogram as SVG."""
    from matplotlib.figure import Figure

    by_style: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        by_style[pair.style].append(min(pair.ratio, 3.0))
    figure = Figure(figsize=(7, 1.2 + 1.2 * len(by_style)), layout="constrained")
    axes = figure.subplots(len(by_style), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (style, ratios) in zip(axes, sorted(by_style.items()), strict=True):
        axis.hist(ratios, bins=[place / 20 for place in range(61)], color="#4477aa")
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_ylabel(style)
    axes[-1].set_xlabel("words of the rewritten reply / words of its source (3: three or more)")
    figure.savefig(path, format="svg", metadata={"Date": None})


def common_faults(pairs: Sequence[Pair], missing: int) -> str:
    """Name the five most common faults, for one line."""
    faults = Counter(fault for pair in pairs for fault in pair.faults)
    if missing:
        faults["not to be had"] = missing
    return ", ".join(f"{name} {count}" for name, count in faults.most_common(5))
