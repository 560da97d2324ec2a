"""Keys of sheets that people fill in blind: what an item is, kept apart from what a rater sees.

A sheet has an id for every item and a digest of all its ids, in the column `sheet`. Its key has the
same digest, and by that it is found: sheets are renamed, sorted and sent around. A key lies beside
its sheet, from where it is not to be handed to raters, and in the study's folder `rater_keys`.
Nothing is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.digest import digest
from warmth.errors import UserError
from warmth.store import read_json, write_json

FOLDER = "rater_keys"  # of a study
SUFFIX = ".key.json"
SHEET = "sheet"  # column of a sheet and field of a key: the digest of the sheet's ids


def sheet_digest(ids: Iterable[str]) -> str:
    """Name a sheet by its items, whatever their order."""
    return digest(sorted(set(ids)))


def refuse_existing(sheet: Path) -> None:
    """Check that writing a sheet and its key would destroy nothing that somebody filled in.

    Raises:
        UserError: one of the files exists.
    """
    for path in (sheet, beside(sheet)):
        if path.exists():
            raise UserError(f"{path} exists; labels in it would be lost")


def beside(sheet: Path) -> Path:
    """Name the key beside a new sheet."""
    return sheet.with_name(f"{sheet.name}{SUFFIX}")


def write_key(
    sheet: Path, items: Mapping[str, Mapping[str, Any]], studies: Sequence[Path] = ()
) -> str:
    """Write what a sheet's items are, beside the sheet and into the studies' own folders.

    Args:
        sheet: the sheet, which need not be written yet.
        items: id → what raters must not see.
        studies: folders of the studies whose answers they are; one that cannot be written to has no
            copy.

    Returns:
        the sheet's digest.
    """
    sheet_id = sheet_digest(items)
    content = {SHEET: sheet_id, "items": dict(items)}
    sheet.parent.mkdir(parents=True, exist_ok=True)
    write_json(beside(sheet), content)
    for study in studies:
        copy = study / FOLDER / f"{sheet_id}{SUFFIX}"
        try:
            copy.parent.mkdir(exist_ok=True)
            if not copy.exists():
                write_json(copy, content)
        except OSError:
            continue
    return sheet_id


def find_items(
    sheet: Path, named: Iterable[str], ids: Sequence[str], folders: Sequence[Path] = ()
) -> dict[str, dict[str, Any]] | None:
    """Find what the items of a filled sheet are, see `find_key`; None if there is no key."""
    path = find_key(sheet, named, ids, folders)
    return None if path is None else read_json(path)["items"]


def find_key(
    sheet: Path, named: Iterable[str], ids: Sequence[str], folders: Sequence[Path] = ()
) -> Path | None:
    """Find the key of a filled sheet by the sheet's digest; None if there is none.

    Args:
        sheet: the filled file, whatever its name.
        named: the digests in its column `sheet`; none if that column was lost.
        ids: of its items; a part of the sheet is enough.
        folders: studies, or folders with keys, to look in besides the sheet's own.

    Raises:
        UserError: the file has rows of several sheets, or a key does not belong to its digest.
    """
    digests = {name for name in named if name}
    if len(digests) > 1:
        raise UserError(
            f"{sheet} has rows of several sheets "
            f"({', '.join(sorted(digests))}); keep each in its own file"
        )
    sheet_id = digests.pop() if digests else sheet_digest(ids)
    partial: list[Path] = []
    for path in key_files(sheet, folders):
        key = read_json(path)
        items = key.get("items") if isinstance(key, dict) else None
        if not isinstance(items, dict):
            continue
        if sheet_digest(items) != key.get(SHEET):
            raise UserError(f"{path} was edited: its items are not those that its digest names")
        if key[SHEET] == sheet_id:
            return path
        if ids and set(ids) <= items.keys():
            partial.append(path)
    return partial[0] if len(partial) == 1 else None


def key_files(sheet: Path, folders: Sequence[Path]) -> list[Path]:
    """List the keys that may be a sheet's: beside it, in the folders, and in the studies' own."""
    directories = [sheet.parent]
    for folder in folders:
        directories += [folder, folder / FOLDER]
    files: dict[Path, None] = {}
    for directory in directories:
        if directory.is_dir():
            files.update(dict.fromkeys(sorted(directory.glob(f"*{SUFFIX}"))))
    return list(files)
