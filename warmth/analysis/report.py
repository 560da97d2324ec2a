"""`warmth report`: rows become tables, figures and one page; one object feeds the page, the CSVs and the summary."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis import (
    behind,
    claims,
    dose_figures,
    effects,
    examples,
    figures,
    grading,
    own_figures,
    page,
    supplement,
    tables,
)
from warmth.analysis.families import with_odds
from warmth.analysis.grading import Grading
from warmth.analysis.ink import Drawing
from warmth.analysis.reported import CONTROLS, arm_order
from warmth.analysis.rows import Rows, load
from warmth.analysis.settings import Settings, of_runs
from warmth.analysis.supplement import Supplement
from warmth.analysis.tables import records
from warmth.errors import UserError

CELL = ["model", "arm", "task", "context", "belief"]


@dataclass(frozen=True)
class Report:
    """All numbers of one report. Frames have one row per cell; rates and differences are fractions."""

    rows: Rows
    headline: pd.DataFrame  # a row per model and arm
    rates: dict[str, pd.DataFrame]  # by "arm", "task", "condition", "cell"
    differences: pd.DataFrame  # from original, every family, with corrected p-values
    controls: pd.DataFrame  # overall differences from the reported arms of untransformed and paraphrase
    pooled: pd.DataFrame  # overall differences over all models, from every reference there is
    refusals: pd.DataFrame
    warmth: pd.DataFrame
    warmth_differences: pd.DataFrame  # from every reference there is
    pooled_warmth: pd.DataFrame  # the same over all models
    gates: pd.DataFrame
    examples: list[examples.Example]
    disagreements: int  # prompts on which arms disagree
    drawings: dict[str, Drawing]
    grading: Grading  # graders beside each other and people, social traits
    supplement: Supplement  # regressions, dose curves, published values
    behind: dict[str, dict[str, Any]]  # what a figure's point opens, by its id
    settings: Settings


def build(
    paths: Sequence[Path],
    margin_points: float | None = None,
    preregister: Path | None = None,
    checks: bool = False,
    labels: Path | None = None,
) -> Report:
    """Reads the finished runs under `paths` and computes everything a report shows.

    Args:
        paths: folders above finished run folders.
        margin_points: a difference smaller than this is none in practice; None: as the runs' configs say.
        preregister: a frozen plan; None: the one that the runs were made under, if any.
        labels: people's labels (`warmth agreement`), to correct rates and differences by.
        checks: fit regressions by cluster bootstrap and estimating equations too; minutes on a large study.

    Raises:
        UserError: see `rows.load` and `settings.of_runs`.
    """
    rows = load(paths)
    settings = of_runs([run for run in rows.runs if run.evaluation], margin_points, preregister, checks)
    reported = rows.reported
    present = [reported[recipe] for recipe in reversed(CONTROLS) if recipe in reported]
    slim = slimmed(rows.answers)
    pool = effects.pooled(slim)
    pairs = {name: effects.pair(pool, name) for name in present}
    rates = {
        "arm": ordered(effects.error_rates(pool, ["model", "arm"])),
        "task": ordered(effects.error_rates(slim, ["model", "arm", "task"])),
        "condition": ordered(effects.error_rates(pool, ["model", "arm", "context", "belief"])),
        "cell": ordered(effects.error_rates(slim, CELL)),
    }
    direct = pairs["original"] if "original" in pairs else effects.pair(pool)
    by_task = effects.pair(slim) if len(pool) < len(slim) else direct
    families = supplement.families_of(settings.plan)
    differences = supplement.corrected(ordered(differences_of(direct, by_task)), families)
    differences = claims.equivalences(with_odds(differences), settings.margin_points, settings.preregistered)
    controls = [
        effects.differences(pairs[name], ["overall"]).assign(reference=name) for name in present if name != "original"
    ]
    pooled = [effects.differences(pairs[name].assign(model=""), ["overall"]).assign(reference=name) for name in present]
    warmth = ordered(effects.warmth_means(rows.warmth))
    warmer, warmer_pooled = (
        pd.concat([effects.warmth_differences(rows.warmth, name, over) for name in present or ["original"]])
        for over in (False, True)
    )
    headline = headline_of(rates["arm"], differences, warmth, warmer)
    chosen, disagreements = examples.draw(rows)
    further = supplement.build(rows, slim, headline, pairs, differences, settings)
    lines = own_figures.lines(slim[slim["arm"].isin(reported.values())])
    conditions = condition_cells(direct, differences)
    drawings = draw(rows, slim, headline, differences, further, conditions, lines)
    marks = {name for item in drawings.values() for name in re.findall(r"-(point-[0-9a-f]{10})", item.inline)}
    shown = points_of(headline, pd.concat([differences, conditions]), rates["task"], lines)
    return Report(
        rows=rows,
        headline=headline,
        rates=rates,
        differences=differences,
        controls=ordered(pd.concat(controls, ignore_index=True)) if controls else pd.DataFrame(),
        pooled=ordered(pd.concat(pooled, ignore_index=True)) if pooled else pd.DataFrame(),
        refusals=ordered(effects.refusals_three_ways(pool)),
        warmth=warmth,
        warmth_differences=ordered(warmer),
        pooled_warmth=ordered(warmer_pooled),
        gates=gate_rows(rows),
        examples=chosen,
        disagreements=disagreements,
        drawings=drawings,
        grading=grading.build(rows, labels),
        supplement=further,
        behind=behind.points(rows.answers, rows.prompts, shown, paths) | behind.replies(rows.warmth, marks, paths),
        settings=settings,
    )


def differences_of(pairs: pd.DataFrame, by_task: pd.DataFrame) -> pd.DataFrame:
    """Paired differences of every family; those of single tasks from pairs that hold the benchmarks as well."""
    families = [(by_task if name == "task" else pairs, name) for name in effects.FAMILIES]
    return pd.concat([effects.differences(rows, [name]) for rows, name in families], ignore_index=True)


def slimmed(answers: pd.DataFrame) -> pd.DataFrame:
    """The columns that are counted, questions and prompts as numbers: texts are slow to carry through groupings."""
    kept = answers.drop(columns=["text", "statement", "answer_id", "reason", "run", "finish"])
    return kept.assign(question_id=effects.questions_of(kept), prompt_id=pd.factorize(kept["prompt_id"])[0])


def points_of(
    headline: pd.DataFrame, differences: pd.DataFrame, by_task: pd.DataFrame, lines: pd.DataFrame
) -> pd.DataFrame:
    """The cells that figures have a point for, with the number of rows behind each.

    Args:
        headline: a row per model and arm.
        differences: paired with original, every family, and of all models together; the pairs are the rows behind.
        by_task: error rates by model, arm and task, for what is not paired, as original itself.
        lines: from `own_figures.lines`, which pools the models.
    """
    cells = differences.rename(columns={"pairs": "count"}).assign(paired=True) if len(differences) else pd.DataFrame()
    arms = headline.assign(task="", context="", belief="", count=headline["scored"])
    names = ["model", "arm", "task", "context", "belief", "count", "paired"]
    if len(cells):
        compared = pd.MultiIndex.from_frame(cells[["model", "arm"]])
        arms = arms[~pd.MultiIndex.from_frame(arms[["model", "arm"]]).isin(compared)]
    single = by_task.assign(context="", belief="", count=by_task["scored"])
    pooled = lines.assign(model="") if len(lines) else pd.DataFrame()
    parts = [part.reindex(columns=names) for part in (arms, cells, single, pooled)]
    found = pd.concat(parts, ignore_index=True).drop_duplicates(names[:5], ignore_index=True)
    return found.assign(paired=found["paired"].eq(True))


def headline_of(
    rates: pd.DataFrame, differences: pd.DataFrame, warmth: pd.DataFrame, warmer: pd.DataFrame
) -> pd.DataFrame:
    """One row per model and arm: error rate, paired difference from original, warmth score and its difference.

    Several warmth measures: each model's with most texts; the others stand in the warmth table.
    """
    overall = differences[differences["family"].eq("overall")] if len(differences) else differences
    keep = {"difference": "difference", "low": "difference_low", "high": "difference_high", "p": "p", "pairs": "pairs"}
    keep |= {"questions": "pair_questions", "rate_reference": "rate_reference", "rate_arm": "rate_arm"}
    change = tables.columns(overall, ["model", "arm", *keep]).rename(columns=keep)
    table = rates.merge(change, on=["model", "arm"], how="left")
    measure = ["model", *effects.MEASURE]
    main = effects.main_measure(warmth)[measure].drop_duplicates()
    for frame, prefix in ((warmth, "score"), (warmer[warmer["reference"].eq("original")], "score_difference")):
        names = {"score": prefix, "low": f"{prefix}_low", "high": f"{prefix}_high"}
        chosen = frame.merge(main, on=measure)
        table = table.merge(chosen[["model", "arm", *names]].rename(columns=names), on=["model", "arm"], how="left")
    return table


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by model, then arm in the order of tables; otherwise as they were."""
    if frame.empty:
        return frame
    keys = frame["arm"].map(arm_order)
    return (
        frame.assign(order=keys).sort_values(["model", "order"], kind="stable", ignore_index=True).drop(columns="order")
    )


def gate_rows(rows: Rows) -> pd.DataFrame:
    """Every gate's verdict in every evaluation run."""
    columns = ["model", "arm", "gate", "verdict", "detail", "examples"]
    found = [
        (
            run.model,
            rows.run_arms.get(run.folder, run.arm),
            str(gate.get("gate", "?")),
            str(gate.get("verdict", "?")),
            str(gate.get("detail", "")),
            gate.get("examples") or [],
        )
        for run in rows.runs
        if run.evaluation
        for gate in run.gates
    ]
    return ordered(pd.DataFrame(found, columns=columns))


def draw(
    rows: Rows,
    answers: pd.DataFrame,
    headline: pd.DataFrame,
    differences: pd.DataFrame,
    further: Supplement,
    conditions: pd.DataFrame,
    by_task: pd.DataFrame,
) -> dict[str, Drawing]:
    """Every figure the rows allow, by name; the study's own have one arm of each recipe."""
    told = list(rows.reported.values())
    own = differences[differences["arm"].isin(told)] if len(differences) else differences
    drawn = [
        figures.frontier(headline, rows.reported),
        figures.contexts(conditions),
        figures.losses(rows.losses),
    ]
    drawn += own_figures.draw(answers[answers["arm"].isin(told)], rows.warmth, own, by_task)
    drawn += [figures.forest(differences, model, number) for number, model in enumerate(rows.models)]
    drawn += [dose_figures.dose_response(curve, number) for number, curve in enumerate(further.curves)]
    return {drawing.name: drawing for drawing in drawn if drawing is not None}


def condition_cells(pairs: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Differences by context and belief, with the interval of either rate on the paired rows.

    Of several models, all of them together too, under the model "".
    """
    cells = differences[differences["family"].eq("condition")] if len(differences) else differences
    if cells.empty:
        return cells
    names = ["model", "arm", "context", "belief"]
    groups = [(key, group) for key, group in pairs.groupby(names)]
    if pairs["model"].nunique() > 1:
        groups += [(("", *key), group) for key, group in pairs.groupby(names[1:])]
    found = []
    for key, group in groups:
        row = dict(zip(names, key, strict=True)) | {"pairs": len(group)}
        for side in ("arm", "reference"):
            wrong = group[f"wrong_{side}"].to_numpy()
            row[f"rate_{side}"] = wrong.mean()
            row[f"{side}_low"], row[f"{side}_high"] = effects.rate_interval(wrong, group["question_id"].to_numpy())
        found.append(row | {"difference": row["rate_arm"] - row["rate_reference"]})
    return pd.DataFrame(found).assign(task="", family="condition")


def summary(report: Report) -> dict[str, Any]:
    """What `summary.json` holds: every table of the first screens, gates, warnings, runs; null: unknown or infinite."""
    rows = report.rows
    body = {
        "question": page.QUESTION,
        "answer": page.answer(report),
        "models": rows.models,
        "arms": rows.arms,
        "tasks_pooled": sorted(effects.pooled(rows.answers)["task"].unique()),
        "tasks_apart": effects.apart(rows.answers),
        "headline": records(report.headline),
        "differences": records(report.differences),
        "controls": records(report.controls),
        "pooled": records(report.pooled),
        "refusals": records(report.refusals),
        "warmth": records(report.warmth),
        "warmth_differences": records(report.warmth_differences),
        "pooled_warmth": records(report.pooled_warmth),
        "gates": records(report.gates.drop(columns="examples")),
        "warnings": list(rows.warnings),
        "answers": len(rows.answers),
        "questions": effects.questions_of(rows.answers).nunique(),
        "runs": [run.folder.name for run in rows.runs],
    }
    return body


def write(report: Report, out: Path) -> Path:
    """Writes `report.html`, `tables/`, `figures/` and `summary.json` under `out`; returns the page's path.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        for name, frame in csv_tables(report).items():
            tables.write_csv(out / "tables" / f"{name}.csv", frame)
        for name, drawing in report.drawings.items():
            (out / "figures" / f"{name}.svg").write_text(drawing.file, encoding="utf-8")
        text = json.dumps(summary(report), indent=2, ensure_ascii=True, allow_nan=False, default=_number)
        (out / "summary.json").write_text(text + "\n", encoding="utf-8")
        (out / "report.html").write_text(page.render(report), encoding="utf-8")
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{out} is not a folder") from error
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written: {error.strerror}") from error
    return out / "report.html"


def csv_tables(report: Report) -> dict[str, pd.DataFrame]:
    """The tables people open in a spreadsheet, by file name."""
    said = [
        {"question_id": item.question_id, "context": item.context, "belief": item.belief, "message": item.message}
        | {"arm": one.arm, "label": one.label, "text": one.text}
        for item in report.examples
        for one in item.said
    ]
    return {
        "headline": report.headline,
        **{f"error_by_{name}": frame for name, frame in report.rates.items()},
        "differences": report.differences,
        "controls": report.controls,
        "pooled": report.pooled,
        "refusals": report.refusals,
        "warmth": report.warmth,
        "warmth_differences": report.warmth_differences,
        "pooled_warmth": report.pooled_warmth,
        "gates": report.gates.drop(columns="examples"),
        "examples": pd.DataFrame(said),
        **supplement.csv_tables(report.supplement),
        **grading.csv_tables(report.grading),
    }


def _number(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item()
