"""What a report was made of, beside it in `inputs.json`, and as a bundle: one ZIP file to make it
again elsewhere.

`inputs.json` names the folders, the options, the version and a digest of the code, and the SHA-256
of every file of rows and configs. A bundle (`bundle.zip`) holds `inputs.json`, those files and the
report itself, and no weights, so that a reader can rebuild every number of the report on another
machine: `warmth verify bundle.zip`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import warmth
from warmth.analysis.rows.labels import sheet_key
from warmth.analysis.statistics.preregistration import frozen_path
from warmth.errors import UserError

INPUTS = "inputs.json"
BUNDLE = "bundle.zip"
REPORT = "report"  # folder of the report inside a bundle
RUNS = "runs"  # folder of the runs inside a bundle
DONE = "done.json"
STATUS = "status.json"
# packages that a number could depend on
COUNTED = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib")
MOST = 20 << 30  # bytes that a bundle may unpack to


@dataclass(frozen=True)
class Inputs:
    """What a report was made of.

    Attributes:
        shown: the paths as they were given, which the page's commands name.
        places: where they are, relative to the folder of `inputs.json`.
        margin_points: as resolved.
        weights: as resolved.
        model_weights: as resolved; None: each model weighs one.
        checks: whether regressions were checked by bootstrap.
        labels: people's labels; relative as `places`.
        preregister: a plan given by hand; relative as `places`.
        own_sections: whether the page has sections of a `--config-dir`.
        files: `<number of the path>/<file below it>` → SHA-256.
        version: of warmth.
        code: digest of its source.
        packages: versions.
    """

    shown: tuple[str, ...]
    places: tuple[str, ...]
    margin_points: float
    weights: str
    model_weights: Mapping[str, float] | None
    checks: bool
    labels: str | None
    preregister: str | None
    own_sections: bool
    files: Mapping[str, str]
    version: str
    code: str
    packages: Mapping[str, str]


def row_files(path: Path) -> Iterator[Path]:
    """Yield the files under a path that a report reads: rows and configs of finished runs, the
    state of others.
    """
    folders: set[Path] = set()
    for name in (DONE, STATUS):
        folders.update(marker.parent for marker in path.rglob(name))
    for folder in sorted(folders):
        if not (folder / DONE).exists():
            yield folder / STATUS
            continue
        for file in sorted(folder.iterdir()):
            if file.suffix in (".json", ".jsonl") and file.is_file():
                yield file


def file_hashes(paths: Sequence[Path]) -> dict[str, str]:
    """Hash every file that a report of some paths reads."""
    hashes = {}
    for number, path in enumerate(paths):
        for file in row_files(path):
            hashes[f"{number}/{file.relative_to(path).as_posix()}"] = file_sha256(file)
    return hashes


def file_sha256(file: Path) -> str:
    """Hash a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def package_digest() -> str:
    """Digest the source of this package, so that two versions of one number can be told apart."""
    root = Path(warmth.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        if file.suffix in (".py", ".yaml", ".json", ".j2", ".css", ".js") and file.is_file():
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def packages() -> dict[str, str]:
    """List the versions of the packages that a number could depend on."""
    versions = {}
    for name in COUNTED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def relative_path(path: Path | None, folder: Path) -> str | None:
    """Write a path as seen from a folder."""
    if path is None:
        return None
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def read_inputs(file: Path) -> Inputs:
    """Read `inputs.json`.

    Raises:
        UserError: it is missing or is none.
    """
    return parse_inputs(_bytes(file), str(file))


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def parse_inputs(text: bytes, place: str) -> Inputs:
    """Parse the content of `inputs.json`; the place is for messages.

    Raises:
        UserError: it is not what `write` writes.
    """
    try:
        content = json.loads(text)
        values = {field.name: content[field.name] for field in fields(Inputs)}
        values |= {name: tuple(map(str, values[name])) for name in ("shown", "places")}
        inputs = Inputs(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{place} is no list of a report's inputs: {error!r}") from error
    if len(inputs.shown) != len(inputs.places) or not isinstance(inputs.files, dict):
        raise UserError(f"{place} is no list of a report's inputs")
    return inputs


def write_inputs(inputs: Inputs, out: Path) -> None:
    """Write `inputs.json` beside a report."""
    text = json.dumps(asdict(inputs), indent=2, ensure_ascii=True)
    (out / INPUTS).write_text(text + "\n", encoding="utf-8")


def bundle(out: Path) -> Path:
    """Pack a written report with all that it was made of.

    Args:
        out: the report's folder, with its `inputs.json`.

    Returns:
        the ZIP file, `bundle.zip` in that folder.

    Raises:
        UserError: it cannot be written.
    """
    inputs = read_inputs(out / INPUTS)
    content = asdict(inputs)
    content["places"] = [f"{RUNS}/{number}" for number in range(len(inputs.places))]
    file = out / BUNDLE
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("labels", "preregister"):
                if content[name] is not None:
                    source = out / content[name]
                    content[name] = f"inputs/{source.name}"
                    archive.write(source, content[name])
                    for beside in files_beside(name, source, studies_of(inputs, out)):
                        archive.write(beside, f"inputs/{beside.name}")
            archive.writestr(INPUTS, json.dumps(content, indent=2, ensure_ascii=True) + "\n")
            for key in inputs.files:
                number, _, name = key.partition("/")
                archive.write(out / inputs.places[int(number)] / name, f"{RUNS}/{key}")
            for report_file in report_files(out):
                archive.write(report_file, f"{REPORT}/{report_file.relative_to(out).as_posix()}")
    except OSError as error:
        raise UserError(f"{error.filename or file} cannot be packed: {error.strerror}") from error
    return file


def files_beside(name: str, source: Path, studies: Sequence[Path]) -> list[Path]:
    """List what has to be packed with a plan (its frozen copy) or with people's labels (the key of
    their sheet).
    """
    if name == "labels":
        key = sheet_key(source, studies)
        return [] if key is None else [key]
    frozen = frozen_path(source)
    return [frozen] if frozen.exists() else []


def studies_of(inputs: Inputs, out: Path) -> list[Path]:
    """List the folders of the studies that a report's runs belong to, in which keys of sheets
    lie.
    """
    studies: dict[Path, None] = {}
    for key in inputs.files:
        number, _, name = key.partition("/")
        studies[(out / inputs.places[int(number)] / name).parent.parent.parent] = None
    return list(studies)


def report_files(out: Path) -> list[Path]:
    """List the files of a written report."""
    named = [out / "report.html", out / "summary.json"]
    tables = sorted((out / "tables").glob("*.csv"))
    return [*named, *tables, *sorted((out / "figures").glob("*.svg"))]


def unpack(file: Path, folder: Path) -> None:
    """Unpack a bundle into an empty folder; names that lead out of it, links and more than 20 GB
    are refused.

    Raises:
        UserError: it is damaged or no bundle.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if INPUTS not in archive.namelist():
                raise UserError(f"{file} is no bundle: it has no {INPUTS}")
            if sum(entry.file_size for entry in entries) > MOST:
                raise UserError(f"{file} unpacks to more than {MOST >> 30} GB")
            for entry in entries:
                name = PurePosixPath(entry.filename)
                if name.is_absolute() or ".." in name.parts or "\\" in entry.filename:
                    raise UserError(
                        f"{file} holds a file that leads out of it: {entry.filename[:80]}"
                    )
            archive.extractall(folder)  # links are unpacked as plain files
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise UserError(f"{file} is a damaged bundle: {error}") from error


def inputs_of(paths: Sequence[Path], out: Path, **settings: Any) -> Inputs:
    """Say what a report in a folder was made of.

    Args:
        paths: as they were given.
        out: the folder.
        settings: margin_points, weights, checks, own_sections; `labels` and `preregister` are paths
        or None.
    """
    labels = settings.pop("labels")
    preregister = settings.pop("preregister")
    return Inputs(
        shown=tuple(map(str, paths)),
        places=tuple(str(relative_path(path, out)) for path in paths),
        labels=relative_path(labels, out),
        preregister=relative_path(preregister, out),
        files=file_hashes(paths),
        version=warmth.__version__,
        code=package_digest(),
        packages=packages(),
        **settings,
    )
