"""`warmth verify`: every number of a report is computed again from its rows and compared with what
the report says.

Compared are the rows and configs themselves (SHA-256), `summary.json`, every cell of
`tables/*.csv`, and every number and word of `report.html` and `figures/*.svg`. Numbers with
decimals are the same if they agree to a millionth, which leaves room for the last digits of another
processor's arithmetic; counts must be equal.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from warmth.analysis import report as reports
from warmth.analysis.report import inputs as made_of
from warmth.analysis.report.inputs import INPUTS, REPORT, Inputs
from warmth.analysis.statistics.standing import seal_findings
from warmth.analysis.wording import amount
from warmth.entries import own_folder
from warmth.errors import UserError

CLOSE = 1e-6  # relative
TINY = 1e-12  # absolute, of what is 0 but for rounding
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
MOST = 20  # differences listed of one file
MISSING = "(missing)"
REPORTS = "reports"  # where `warmth report` writes by default
NEAR = 3  # folders above a study's in which `reports/` is looked for


@dataclass(frozen=True)
class Difference:
    """One thing that the report says otherwise than its rows: `expected` from the rows, `found` in
    the report.
    """

    file: str
    key: str
    expected: str
    found: str


@dataclass(frozen=True)
class Verification:
    """What was compared, and what differs.

    Attributes:
        report: the report's name, for messages.
        rows: empty if every number is the same.
        compared: how many values were compared.
        notes: what a reader should know, such as another version of the code.
    """

    report: str
    rows: tuple[Difference, ...]
    compared: int
    notes: tuple[str, ...]


def verify_reports(target: Path, seal: str = "") -> list[Verification]:
    """Verify a bundle, a report's folder, or every report that was made of a folder's runs.

    Args:
        target: the bundle or folder.
        seal: the line that `warmth seal` printed, or its digest; "" if the plans' seals are not
        asked about.

    Raises:
        UserError: the target is none of these, or cannot be read.
    """
    if target.is_file():
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            made_of.unpack(target, folder)
            inputs = made_of.read_inputs(folder / INPUTS)
            return [verify_report(inputs, folder, folder / REPORT, target.name, seal)]
    if not target.is_dir():
        raise UserError(f"{target} does not exist")
    if (target / INPUTS).exists():
        return [
            verify_report(made_of.read_inputs(target / INPUTS), target, target, str(target), seal)
        ]
    if (target / "report.html").exists():
        raise UserError(
            f"{target} has no {INPUTS}, which says what the report was made of; write it anew"
        )
    folders = reports_of(target)
    if not folders:
        raise UserError(no_report(target))
    return [
        verify_report(made_of.read_inputs(folder / INPUTS), folder, folder, str(folder), seal)
        for folder in folders
    ]


def reports_of(folder: Path) -> list[Path]:
    """Find the reports below a folder, and those elsewhere that were made of it, of a folder below
    it or of one above it.
    """
    resolved = folder.resolve()
    reports = []
    for report in written_reports(folder):
        if report.resolve().is_relative_to(resolved):
            reports.append(report)
            continue
        for row_folder in made_of.read_inputs(report / INPUTS).places:
            rows = (report / row_folder).resolve()
            if rows.is_relative_to(resolved) or resolved.is_relative_to(rows):
                reports.append(report)
                break
    return reports


def written_reports(folder: Path) -> list[Path]:
    """List the folders of all reports below a folder, in the `reports/` beside it or above it, and
    in the `reports/` where the command runs.
    """
    roots = [folder, Path(REPORTS)]
    roots += [parent / REPORTS for parent in folder.resolve().parents[:NEAR]]
    reports: dict[Path, Path] = {}  # the place on disk → the path as a user would write it
    for root in roots:
        for file in sorted(root.rglob(INPUTS)):
            reports.setdefault(file.parent.resolve(), file.parent)
    return list(reports.values())


def no_report(folder: Path) -> str:
    """Say that no report was made of a folder's runs, and what to do."""
    reports = written_reports(folder)
    if not reports:
        return (
            f"{folder}: no report was found below it or in {REPORTS}/; name the report's folder or "
            f"bundle; warmth report {folder} writes one"
        )
    report = reports[0]
    rows = ", ".join(made_of.read_inputs(report / INPUTS).shown)
    return (
        f"{folder}: no report was made of its runs; warmth report {folder} writes one (the report "
        f"{report} is of other runs, {rows}: warmth verify {report})"
    )


def verify_report(
    inputs: Inputs, base: Path, report: Path, name: str, seal: str = ""
) -> Verification:
    """Rebuild a report and compare it.

    Args:
        inputs: what it was made of.
        base: the folder that the inputs' places are relative to.
        report: the folder of its files.
        name: of the report, for messages.
        seal: see `verify`.

    Raises:
        UserError: its runs cannot be read, though none of their files has changed.
    """
    paths = [base / folder for folder in inputs.places]
    refuse_absent(paths, report, name)
    refuse_outside(inputs, own_folder())
    rows = list(changed_files(inputs, paths))
    compared = len(inputs.files)
    with TemporaryDirectory() as scratch:
        rebuilt = Path(scratch)
        try:
            report_again = rebuild(inputs, base, paths, rebuilt)
        except UserError as error:
            if not rows:
                raise
            rows.append(Difference(INPUTS, "rebuild", "a report", str(error)))
            return Verification(name, tuple(rows), compared, notes_of(inputs))
        for file in made_of.report_files(rebuilt):
            name_in_report = file.relative_to(rebuilt)
            differences, count = compare_files(
                file, report / name_in_report, name_in_report.as_posix()
            )
            rows += differences
            compared += count
    if seal:
        runs = [run for run in report_again.study.rows.runs if run.evaluation]
        rows += [Difference(**finding) for finding in seal_findings(runs, seal)]
        compared += len(runs)
    return Verification(name, tuple(rows), compared, notes_of(inputs))


def refuse_absent(paths: Sequence[Path], report: Path, name: str) -> None:
    """Refuse a report whose rows are not where it says, as when its folder was copied alone:
    nothing can be compared.

    Raises:
        UserError: a folder of its rows is not there.
    """
    absent = next((path for path in paths if not path.exists()), None)
    if absent is None:
        return
    bundle = report / made_of.BUNDLE
    remedy = (
        f"warmth verify {bundle} has them"
        if bundle.is_file()
        else "bring them, or verify its bundle"
    )
    raise UserError(f"{name} cannot be verified: its rows are not at {absent.resolve()}; {remedy}")


def refuse_outside(inputs: Inputs, own: Path | None) -> None:
    """Refuse a report with sections of the user's own folder if that folder is not named.

    Raises:
        UserError: it is not, or one is named and the report has none.
    """
    if inputs.own_sections and own is None:
        raise UserError(
            "the report has sections of a folder of its maker's; name it by --config-dir=DIR"
        )
    if own is not None and not inputs.own_sections:
        raise UserError(f"--config-dir={own} has no part in this report; leave it out")


def rebuild(inputs: Inputs, base: Path, paths: Sequence[Path], out: Path) -> reports.Report:
    """Write the report again, with the options it was made with, and return it."""
    preregister = None if inputs.preregister is None else base / inputs.preregister
    labels = None if inputs.labels is None else base / inputs.labels
    report = reports.build_report(
        paths,
        margin_points=inputs.margin_points,
        preregister=preregister,
        checks=inputs.checks,
        labels=labels,
        weights=inputs.weights,
        model_weights=inputs.model_weights,
    )
    shown = replace(
        report.study, paths=tuple(map(Path, inputs.shown))
    )  # the page's commands name them
    reports.write_files(replace(report, study=shown), out)
    return report


def changed_files(inputs: Inputs, paths: Sequence[Path]) -> Iterator[Difference]:
    """Yield the files of rows and configs that are not what the report was made of."""
    now = made_of.file_hashes(paths)
    for key in sorted({*inputs.files, *now}):
        before = inputs.files.get(key, MISSING)
        digest = now.get(key, MISSING)
        if before != digest:
            yield Difference(f"{made_of.RUNS}/{key}", "sha256", before[:12], digest[:12])


def notes_of(inputs: Inputs) -> tuple[str, ...]:
    """Say in what this code is not the one that wrote the report."""
    notes = []
    if inputs.code != made_of.package_digest():
        notes.append(
            f"the report was written by version {inputs.version}, code {inputs.code}; this is "
            f"other code"
        )
    now = made_of.packages()
    for name, before in inputs.packages.items():
        if now.get(name, before) != before:
            notes.append(f"the report was written with {name} {before}; here is {now[name]}")
    return tuple(notes)


# --- comparing ---


def compare_files(expected: Path, found: Path, name: str) -> tuple[list[Difference], int]:
    """Compare a file of the rebuilt report with the report's own.

    Returns:
        the differences, at most `MOST`, and how many values were compared.
    """
    if not found.is_file():
        return [Difference(name, "file", "there", MISSING)], 1
    readers = {".json": json_values, ".csv": csv_values}
    read = readers.get(expected.suffix)
    if read is None:
        pairs = list(line_values(replaced_text(expected), replaced_text(found)))
    else:
        pairs = list(paired_values(dict(read(expected)), dict(read(found))))
    differences = [Difference(name, key, cut(a), cut(b)) for key, a, b in pairs if not same(a, b)]
    more = len(differences) - MOST
    if more > 0:
        differences = [
            *differences[:MOST],
            Difference(name, "more", "", amount(more, "more difference")),
        ]
    return differences, len(pairs)


def replaced_text(file: Path) -> str:
    """Read a text; what is not UTF-8 in it becomes a replacement character, and so a difference."""
    return file.read_text(encoding="utf-8", errors="replace")


def cut(value: Any) -> str:
    """Write a value for a list of differences."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def paired_values(
    expected: dict[str, Any], found: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield every key of either with both values."""
    for key in dict.fromkeys([*expected, *found]):
        yield key, expected.get(key, MISSING), found.get(key, MISSING)


def same(expected: Any, found: Any) -> bool:
    """Say whether two values are the same; of texts the numbers are compared as numbers, the rest
    letter by letter.
    """
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None or found is None:
        return expected is found
    if isinstance(expected, int) and isinstance(found, int):
        return expected == found
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return close(float(expected), float(found))
    if not (isinstance(expected, str) and isinstance(found, str)):
        return False
    if expected == found:
        return True
    if NUMBER.sub("#", expected) != NUMBER.sub("#", found):
        return False
    numbers = zip(NUMBER.findall(expected), NUMBER.findall(found), strict=True)
    return all(a == b or is_decimal(a, b) and close(float(a), float(b)) for a, b in numbers)


def is_decimal(expected: str, found: str) -> bool:
    """Say whether either of two numbers as written has decimals: a count has none."""
    return any(mark in number for number in (expected, found) for mark in ".e")


def close(expected: float, found: float) -> bool:
    """Say whether two numbers agree to a millionth."""
    both_nan = math.isnan(expected) and math.isnan(found)
    return both_nan or math.isclose(expected, found, rel_tol=CLOSE, abs_tol=TINY)


def json_values(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of every leaf of a JSON file."""
    try:
        content = json.loads(replaced_text(file))
    except ValueError:
        yield "file", "no JSON"
        return
    yield from leaf_values(content, "")


def leaf_values(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves below a value; an empty list or object is one."""
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from leaf_values(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for number, child in enumerate(value):
            yield from leaf_values(child, f"{key}[{number}]")
    else:
        yield key, str(value) if isinstance(value, dict | list) else value


def csv_values(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the name (row, column) and text of every cell of a CSV file."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = list(csv.reader(stream))
    header = rows[0] if rows else []
    yield "columns", ",".join(header)
    for number, row in enumerate(rows[1:], start=1):
        for position, cell in enumerate(row):
            column = header[position] if position < len(header) else str(position)
            yield f"row {number}, {column}", cell


def line_values(expected: str, found: str) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of two texts side by side; a line that only one has is beside a missing
    one.
    """
    lines_a = expected.splitlines()
    lines_b = found.splitlines()
    if len(lines_a) == len(lines_b):
        for number, (a, b) in enumerate(zip(lines_a, lines_b, strict=True), start=1):
            yield f"line {number}", *around(a, b)
        return
    matcher = SequenceMatcher(None, lines_a, lines_b, autojunk=False)
    for _, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        pairs = zip_longest(lines_a[start_a:end_a], lines_b[start_b:end_b], fillvalue=MISSING)
        for number, (a, b) in enumerate(pairs, start=start_b + 1):
            yield f"line {number}", *around(a, b)


def around(expected: str, found: str) -> tuple[str, str]:
    """Cut two long lines to where they differ: a figure in the page is a line of its own."""
    if len(expected) < 200 and len(found) < 200 or same(expected, found):
        return expected, found
    start = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
    return expected[max(0, start - 60) : start + 60], found[max(0, start - 60) : start + 60]
