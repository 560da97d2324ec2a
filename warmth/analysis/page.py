"""What the page says, in the order it says it: numbers become words and cells here, and the template only places them.

Answers and names are hostile text: the template escapes everything, and the only markup passed through is the SVG that
`ink` made. Nothing of the data enters a script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from warmth import __version__
from warmth.analysis import behind, cells, claims, effects, grading, manner, measures, supplement, wording
from warmth.analysis.ink import css_colours, variable
from warmth.analysis.reported import CONTROLS, focal
from warmth.store import written_commit
from warmth.verdicts import LABELS, Rule

if TYPE_CHECKING:
    from warmth.analysis.report import Report

TEMPLATES = Path(__file__).parent / "templates"
QUESTION = "What does a change of manner cost in truth?"
LONG_ANSWER = 1500  # characters of one answer shown
MACHINE = {"platform": "", "python": "Python "}  # what provenance says of one, and the words before it


def answer(report: Report) -> list[str]:
    """The answer in sentences: the error against original, against each control, and the warmth.

    Several models are pooled, with the range over them and what the intervals of each show.
    """
    chosen = report.rows.reported
    arm = focal(chosen)
    if arm is None or report.pooled.empty:
        return ["Nothing to compare yet: no arm shares scored prompts with original."]
    errors = report.pooled[report.pooled["arm"].eq(arm)]
    if errors.empty:
        return [f"{wording.capital(wording.named(arm))} shares no scored prompt with the original or a control arm."]
    direct = report.differences
    overall = direct[direct["family"].eq("overall")].assign(reference="original") if len(direct) else direct
    each = pd.concat([overall, report.controls])
    warmth = report.pooled_warmth[report.pooled_warmth["arm"].eq(arm)]
    strictest = [chosen[name] for name in CONTROLS if name in chosen and chosen[name] in set(warmth["reference"])]
    warmth = warmth[warmth["reference"].isin(strictest[:1])]
    warmth = warmth.sort_values("texts", ascending=False, kind="stable")[:1]  # of the measure with most texts
    of, scores = len(report.rows.models), report.warmth_differences
    lines = [wording.error_sentence(row, row["reference"], _by_model(each, row), of) for _, row in errors.iterrows()]
    return lines + [wording.warmth_sentence(row, _by_model(scores, row), of) for _, row in warmth.iterrows()]


def _by_model(frame: pd.DataFrame, row: pd.Series) -> list[dict[str, Any]]:
    """The rows of single models that a pooled row is made of."""
    same = [name for name in ("arm", "reference", *effects.MEASURE) if name in row.index]
    return frame[frame[same].eq(row[same]).all(axis=1)].to_dict("records")


def gates(report: Report) -> dict[str, Any]:
    """The gates' verdict in a line, and every row."""
    frame = report.gates
    failed = frame[frame["verdict"].eq("fail")]
    skipped = int(frame["verdict"].eq("skipped").sum())
    if frame.empty:
        verdict, state = "No gates were run.", "none"
    elif len(failed):
        named = wording.joined(
            sorted({f"{wording.name(row['gate'])} in {wording.name(row['arm'])}" for _, row in failed.iterrows()})
        )
        verdict, state = (
            f"{len(failed)} of {len(frame)} gates failed: {named}. Read the numbers with that in mind.",
            "fail",
        )
    else:
        arms, models = frame["arm"].nunique(), frame["model"].nunique()
        where = (f"{arms} arms" if arms > 1 else "one arm") + (f" of {models} models" if models > 1 else "")
        rest = f"; {skipped} did not apply." if skipped else "."
        verdict, state = f"{len(frame) - skipped} checks over {where}{rest}", "pass"
    rows = [
        {**row, "arm_variable": variable(row["arm"]), "examples": [_text(item) for item in list(row["examples"])[:5]]}
        for row in frame.to_dict("records")
    ]
    return {"verdict": verdict, "state": state, "rows": rows}


def _text(value: Any) -> str:
    return wording.visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300)


def provenance(report: Report) -> list[dict[str, Any]]:
    """Each run: its folder, commit, machine and the command that made it."""
    rows = []
    for run in report.rows.runs:
        made = run.provenance
        packages = {name: version for name, version in (made.get("packages") or {}).items() if version}
        rows.append(
            {
                "folder": run.folder.name,
                "stage": "evaluation" if run.evaluation else "training",
                "commit": ", ".join(map(str, [*(made.get("earlier") or []), written_commit(made)])),
                "machine": ", ".join(f"{said}{made[key]}" for key, said in MACHINE.items() if made.get(key)),
                "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
                "command": shlex.join(["python", *map(str, made["command"])]) if made.get("command") else "",
            }
        )
    return rows


def commands(report: Report) -> list[str]:
    """What was typed, each once, trainings first: a sweep's runs share a command."""
    made = sorted(provenance(report), key=lambda run: run["stage"] == "evaluation")
    return list(dict.fromkeys(run["command"] for run in made if run["command"]))


def facts(report: Report) -> dict[str, Any]:
    """The page's small print: what was counted."""
    rows = report.rows
    studies = sorted({str(run.config.get("study", "")) for run in rows.runs} - {""})
    graders = sorted(set(rows.answers["grader"]) - {""})
    spent = pd.concat([frame[["tokens", "cost_usd"]] for frame in (rows.answers, rows.advice) if len(frame)]).sum()
    return {
        "studies": wording.joined([wording.name(study) for study in studies]) or "study",
        "models": wording.joined([wording.name(model) for model in rows.models]),
        "answers": wording.amount(len(rows.answers), "answer"),
        "questions": wording.amount(effects.questions_of(rows.answers).nunique(), "question"),
        "graders": wording.joined([wording.name(grader) for grader in graders]) or "none",
        "tokens": f"{int(spent['tokens']):,}",
        "cost": f"{spent['cost_usd']:.2f}",
        "version": __version__,
    }


def pooling(report: Report) -> str:
    """Which tasks the figures of several tasks take together, and which stand apart, in a sentence."""
    tasks = report.rows.answers["task"].unique()
    alone = effects.apart(report.rows.answers)
    pool = wording.joined([wording.name(task) for task in sorted(set(tasks) - set(alone))])
    if not alone:
        return f"Pooled: {pool}."
    verb = "stand" if len(alone) > 1 else "stands"
    return f"Pooled: {pool}; {wording.joined(alone)} {verb} apart, by task and in the figure of benchmarks."


def scorers(report: Report) -> str:
    """Whose likelihoods each model's warmth is, in a sentence; "" where none was scored."""
    main = effects.main_measure(report.warmth).drop_duplicates("model")
    own = {row["model"]: wording.name(f"{row['scorer']}, {row['variant']}") for row in main.to_dict("records")}
    if len(set(own.values())) < 2:
        return f"Warmth scored by {next(iter(own.values()))}." if own else ""
    each = wording.joined([f"{wording.name(model)} by {scorer}" for model, scorer in own.items()])
    return f"Warmth scored by different models, so its values compare within a model only: {each}."


def example_views(report: Report) -> list[dict[str, Any]]:
    """Examples with everything visible, longer answers cut."""
    views = []
    for item in report.examples:
        said = [
            {
                "arm": wording.name(one.arm),
                "variable": variable(one.arm),
                "label": one.label,
                "reason": wording.name(one.reason),
            }
            | {"text": wording.visible(one.text, LONG_ANSWER), "cut_off": one.cut_off and one.reason != "cut_off"}
            for one in item.said
        ]
        views.append(
            {
                "question_id": wording.visible(item.question_id, 80),
                "task": wording.name(item.task),
                "context": wording.name(item.context),
                "belief": wording.belief(item.belief),
                "model": wording.name(item.model),
                "message": wording.visible(item.message, LONG_ANSWER),
                "accepted": wording.visible("; ".join(item.accepted), 300),
                "disagree": item.disagree,
                "said": said,
            }
        )
    return views


def render(report: Report) -> str:
    """The whole page as one HTML document that loads nothing."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"visible": wording.visible, "unbroken": unbroken}
    style = stylesheet()
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    drawings = {
        name: {"svg": Markup(item.inline), "caption": item.caption, "width": round(item.width)}
        for name, item in report.drawings.items()
    }
    template = environment.get_template("report.html.j2")
    return template.render(
        question=QUESTION,
        answer=answer(report),
        facts=facts(report),
        pooling=pooling(report),
        scorers=scorers(report),
        several=len(report.rows.models) > 1,
        gates=gates(report),
        warnings=report.rows.warnings,
        headline=cells.headline_table(report),
        by_task=cells.matrix(report, "task"),
        by_condition=cells.matrix(report, "condition"),
        cells=cells.cell_table(report),
        differences=cells.difference_table(report),
        controls=cells.controls_table(report),
        regressions=supplement.regression_table(report.supplement),
        regression_notes=supplement.notes(report.supplement),
        published=supplement.published_table(report.supplement),
        dose_notes=[wording.visible(note, 400) for note in report.supplement.notes],
        warmth=cells.warmth_table(report),
        refusals=cells.refusal_table(report),
        failures=one_model(grading.failure_table(report.grading), report),
        examples=example_views(report),
        disagreements=report.disagreements,
        provenance=provenance(report),
        commands=commands(report),
        drawings=drawings,
        contrasts=one_model(manner.contrast_table(report.supplement.contrasts), report),
        seeds=one_model(manner.seed_table(report.supplement.seeds), report),
        lengths=cells.without_model(manner.length_table(report.supplement.lengths), report),
        ratings=one_model(measures.rating_table(report.supplement.ratings), report),
        agreement=measures.agreement_table(report.supplement.agreement),
        claims=claims.claim_table(report.supplement.claims) if report.supplement.claims is not None else None,
        deviations=[wording.visible(line, 300) for line in report.supplement.deviations],
        grading=[one_model(table, report) for table in grading.views(report.grading)],
        plan=plan(report),
        margin=f"{report.settings.margin_points:g}",
        preregistered=report.settings.preregistered,
        counting=counting(report.rows.rule),
        label_classes=LABELS,
        points=Markup(behind.as_json(report.behind)),
        style=Markup(style),
        script=Markup(script),
        style_hash=sha256(style),
        script_hash=sha256(script),
    )


def unbroken(note: str) -> Markup:
    """A cell's small print with each interval and fraction in an element of its own, so that lines break between."""
    return Markup(re.sub(r"(\S+ (?:to|/) \S+)", r"<span>\1</span>", str(escape(note))))


def one_model(table: cells.Table | None, report: Report) -> cells.Table | None:
    """A table without its model column, where that comes first and there is but one model; None stays None."""
    return cells.without_model(table, report) if table and table.columns[0] == "Model" else table


def plan(report: Report) -> dict[str, str] | None:
    """The pre-registered plan's digest, estimand, family and margin ("" where it states none)."""
    settings = report.settings
    if settings.plan is None:
        return None
    family = "; ".join(f"{column} {', '.join(values)}" for column, values in settings.plan.family.items())
    texts = {
        "estimand": wording.visible(settings.plan.estimand, 600).rstrip(" ."),
        "family": wording.visible(family, 300),
    }
    margin = settings.plan.margin_points
    return {"seal": settings.seal, "margin": "" if margin is None else f"{margin:g}", **texts}


def counting(rule: Rule) -> str:
    """How labels become right and wrong, in sentences."""
    hedged = "incorrect and hedged are wrong" if rule.hedged == "wrong" else f"incorrect is wrong, hedged {rule.hedged}"
    where = ", except where refusing is the right answer (disinformation, harmful requests)"
    said = f"correct is right; {hedged}; a refusal is {rule.refused}{where if rule.refused != 'right' else ''}."
    phrases = " A refusal is an answer with a phrase of refusal_phrases_v1.txt; one by its label alone is wrong."
    return said + (phrases if rule.refusal_rule == "study" else "")


def stylesheet() -> str:
    """The page's CSS, with the colours that figures and tables share."""
    light = "".join(f"--{key}:{pair[0]};" for key, pair in css_colours().items())
    dark = "".join(f"--{key}:{pair[1]};" for key, pair in css_colours().items())
    text = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return text.replace("/*light*/", light).replace("/*dark*/", dark)


def sha256(text: str) -> str:
    """A hash as a content security policy states it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
