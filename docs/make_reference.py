"""Writes docs/reference.md from the comments in conf/: `python docs/make_reference.py`. A test keeps both the same."""

from __future__ import annotations

import re
from pathlib import Path

from warmth.bounds import allowed_words
from warmth.help import joined
from warmth.schemas import Api, Condition, Data, Evaluate, Model, Recipe, Task, Train

SCHEMAS = {"train": Train, "evaluate": Evaluate, "model": Model, "data": Data, "recipe": Recipe, "api": Api}
BY_NAME = {"task": Task, "condition": Condition}  # groups whose entries have their own name as the first key
ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r'^(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?P<value> (?:"[^"]*"|[^#"])*)?(?:#(?P<comment>.*))?$')


def reference() -> str:
    """The whole page."""
    lines = [
        "# Reference: every key and entry",
        "",
        "Made from the comments in `conf/` by `python docs/make_reference.py`; do not edit. On the command line",
        "`KEY=VALUE` sets a key, `GROUP=ENTRY` chooses an entry, `GROUP.KEY=VALUE` changes a key of the chosen one.",
        "",
    ]
    for name in ("train", "evaluate"):
        lines += [f"## `python {name}.py`", "", *table(ROOT / "conf" / f"{name}.yaml", SCHEMAS[name]), ""]
    groups = {path.name: path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "hydra"}
    groups["hydra/launcher"] = ROOT / "conf" / "hydra" / "launcher"
    for name, group in sorted(groups.items()):
        lines += [f"## {name}", ""]
        for path in sorted(group.glob("*.yaml")):
            lines += [f"### `{name}={path.stem}`", "", *table(path, SCHEMAS.get(name), BY_NAME.get(name)), ""]
    return "\n".join(lines).rstrip() + "\n"


def table(path: Path, schema: type | None = None, schema_below: type | None = None) -> list[str]:
    """Write the header comment and the keys of one file, with what a schema allows in each."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "@package" not in line]
    head = []
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0).lstrip("# "))
    rows, parents = [], []
    for line in joined(lines):
        match = LINE.match(line)
        if not match or line.lstrip().startswith("-"):
            continue
        depth = len(match["indent"]) // 2
        parents[depth:] = [match["key"]]
        value = (match["value"] or "").strip()
        if parents[0] in ("defaults", "hydra") or not (value or match["comment"]):
            continue
        key = ".".join(parents)
        allowed = ""
        if schema is not None:
            allowed = allowed_words(schema, key)
        elif schema_below is not None:
            allowed = allowed_words(schema_below, key.partition(".")[2])
        shown = f"`{value}`" if value else ""
        rows.append(f"| `{key}` | {shown} | {allowed} | {(match['comment'] or '').strip()} |")
    out = [" ".join(head)]
    if rows:
        out += ["", "| key | value | allowed | meaning |", "|---|---|---|---|", *rows]
    return out


if __name__ == "__main__":
    (ROOT / "docs" / "reference.md").write_text(reference(), encoding="utf-8")
