"""Writes docs/reference.md from the comments in conf/: `python docs/make_reference.py`.

A test keeps both the same.
"""

from __future__ import annotations

import re
from pathlib import Path

from warmth.bounds import allowed_words
from warmth.help import joined_comment
from warmth.schemas import Api, Condition, Data, Evaluate, Model, Recipe, Task, Train

SCHEMAS = {
    "train": Train,
    "evaluate": Evaluate,
    "model": Model,
    "data": Data,
    "recipe": Recipe,
    "api": Api,
}
BY_NAME = {
    "task": Task,
    "condition": Condition,
}  # groups whose entries have their own name as the first key
ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(
    r'^(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?P<value> (?:"[^"]*"|[^#"])*)?(?:#(?P<comment>.*))?$'
)


def reference() -> str:
    """Write the whole page: an index of entries and keys, then every file of `conf/`."""
    head = [
        "# Reference: every key and entry",
        "",
        "Made from the comments in `conf/` by `python docs/make_reference.py`; do not edit. On "
        "the command line",
        "`KEY=VALUE` sets a key, `GROUP=ENTRY` chooses an entry, `GROUP.KEY=VALUE` changes a key "
        "of the chosen one.",
        "",
    ]
    lines: list[str] = []
    index = Index()
    for name in ("train", "evaluate"):
        heading = f"python {name}.py"
        rows = table(ROOT / "conf" / f"{name}.yaml", SCHEMAS[name])
        lines += [f"## `{heading}`", "", *rows, ""]
        index.add_command(heading, rows)
    groups = {
        path.name: path
        for path in (ROOT / "conf").iterdir()
        if path.is_dir() and path.name != "hydra"
    }
    groups["hydra/launcher"] = ROOT / "conf" / "hydra" / "launcher"
    for name, group in sorted(groups.items()):
        lines += [f"## {name}", ""]
        for path in sorted(group.glob("*.yaml")):
            rows = table(path, SCHEMAS.get(name), BY_NAME.get(name))
            lines += [f"### `{name}={path.stem}`", "", *rows, ""]
            index.add_entry(name, path.stem, rows)
    return "\n".join([*head, *index.lines(), *lines]).rstrip() + "\n"


class Index:
    """Where every entry and every key stands on the page."""

    def __init__(self) -> None:
        self.entries: dict[str, list[str]] = {}
        self.keys: dict[str, dict[str, str]] = {}  # key → name of the place → its heading

    def add_command(self, heading: str, rows: list[str]) -> None:
        """Take the keys of a command."""
        for key in keys_of(rows):
            self.keys.setdefault(key, {}).setdefault(heading, heading)

    def add_entry(self, group: str, entry: str, rows: list[str]) -> None:
        """Take an entry and its keys; what entries of a group share is listed once."""
        self.entries.setdefault(group, []).append(entry)
        for key in keys_of(rows):
            shown = (
                key.replace(f"{entry}.", f"{group.upper()}.", 1)
                if key.startswith(f"{entry}.")
                else f"{group}.{key}"
            )
            self.keys.setdefault(shown.replace("/", "."), {}).setdefault(group, group)

    def lines(self) -> list[str]:
        """Write the index: commands and groups with their entries, then the keys from A to Z."""
        lines = ["## Index of entries", ""]
        lines += [f"- [`python {name}.py`](#python-{name}py)" for name in ("train", "evaluate")]
        for group, entries in self.entries.items():
            links = " · ".join(f"[`{entry}`](#{anchor(f'{group}={entry}')})" for entry in entries)
            lines.append(f"- [{group}](#{anchor(group)}): {links}")
        lines += [
            "",
            "## Index of keys",
            "",
            "`TASK`, `CONDITION` and so on stand for the entry's name.",
            "",
        ]
        letters: dict[str, list[str]] = {}
        for key in sorted(self.keys, key=str.lower):
            places = ", ".join(
                f"[{name}](#{anchor(heading)})" for name, heading in self.keys[key].items()
            )
            letters.setdefault(key[0].upper(), []).append(f"`{key}` {places}")
        for letter, items in letters.items():
            lines += [f"**{letter}** " + " · ".join(items), ""]
        return lines


def keys_of(rows: list[str]) -> list[str]:
    """List the keys of a table's lines."""
    keys = [row.split("`")[1] for row in rows if row.startswith("| `")]
    return [key for key in keys if not key.endswith("_target_")]


def anchor(heading: str) -> str:
    """Return a heading's place on the page, as GitHub and Python-Markdown name it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def table(path: Path, schema: type | None = None, schema_below: type | None = None) -> list[str]:
    """Write the header comment and the keys of one file, with what a schema allows in each."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if "@package" not in line
    ]
    head = []
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0).lstrip("# "))
    rows, parents = [], []
    for line in joined_comment(lines):
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
