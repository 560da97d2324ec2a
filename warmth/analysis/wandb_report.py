"""The report as a W&B report: text, tables and panels over the study's runs, composed from the page's own object.

wandb-workspaces validates the blocks when they are made, and `spec` needs neither key nor network; only `save` does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from warmth.analysis import cells, claims, dose_figures, grading, manner, page, supplement, wording
from warmth.analysis.cells import Table

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr

    from warmth.analysis.report import Report

ROWS = 60  # of one table; the run's table of the same name has all
TABLES = ("headline", "differences", "warmth", "examples")  # logged by the report's own run
MARKS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]()<>#+!|$~=-"})  # what Markdown would read


def compose(report: Report, project: str = "warmth", entity: str = "", online: bool = False) -> wr.Report:
    """The whole report.

    Args:
        report: what `warmth report` computed.
        project: of the study's runs.
        entity: their team; "" without a key.
        online: name project and entity in the run sets; W&B looks the project up, so only where it can be reached.
    """
    import wandb_workspaces.reports.v2 as wr

    gates = page.gates(report)
    state = {"pass": "Gates passed.", "fail": "Gates failed.", "none": "No gates."}[gates["state"]]
    facts = page.facts(report)
    basis = f"{facts['answers']} to {facts['questions']} by {facts['models']}"
    basis += f"; graded by {facts['graders']}. {page.pooling(report)}"
    blocks: list[Any] = [wr.H1(page.QUESTION), *(wr.P(line) for line in page.answer(report))]
    blocks += [
        wr.P(f"{state} {gates['verdict']}"),
        *(wr.P(f"Note: {line}") for line in map(wording.visible, report.rows.warnings)),
    ]
    blocks += [wr.P(wording.visible(basis)), wr.TableOfContents()]
    blocks += [wr.H2("Arms"), _markdown(cells.headline_table(report)), _panels(report, project, entity, online)]
    for heading, table in _tables(report):
        blocks += [wr.H2(heading), _markdown(table)]
    if curves := report.supplement.curves:
        blocks += [wr.H2("Dose and response"), *(wr.P(wording.visible(dose_figures.caption(one))) for one in curves)]
    commands = "\n".join(run["command"] for run in page.provenance(report) if run["command"])
    blocks += [wr.H2("Commands"), wr.CodeBlock(code=wording.visible(commands), language=None)]
    title = wording.visible(f"{facts['studies']}: {page.QUESTION}", 128)
    return wr.Report(project=project, entity=entity, title=title, blocks=blocks, width="fluid")


def spec(made: wr.Report) -> dict[str, Any]:
    """What W&B would be sent, as plain values."""
    return json.loads(made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))


def _tables(report: Report) -> list[tuple[str, Table]]:
    further = report.supplement
    found: list[tuple[str, Table | None]] = [
        ("Pre-registered", claims.claim_table(further.claims) if further.claims is not None else None),
        ("Manner, or fine-tuning as such?", cells.controls_table(report)),
        ("All paired differences with their tests", cells.difference_table(report)),
        ("Error by task", cells.matrix(report, "task")),
        ("Error by context and belief", cells.matrix(report, "condition")),
        ("Regressions", supplement.regression_table(further)),
        ("Beside the published values", supplement.published_table(further)),
        ("Training seeds", manner.seed_table(further.seeds)),
        ("Warmth", cells.warmth_table(report)),
        ("Refusals three ways", cells.refusal_table(report)),
        ("Length of answers", manner.length_table(further.lengths)),
        *(("Graders", table) for table in grading.views(report.grading)),
    ]
    return [(heading, table) for heading, table in found if table is not None and table.rows]


def _panels(report: Report, project: str, entity: str, online: bool) -> Any:
    """Panels over the study's runs: what training did, warmth and unscored answers by arm, and the run's own tables."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    where: dict[str, Any] = {"project": project, "entity": entity} if online else {}
    studies = sorted({str(run.config.get("study", "")) for run in report.rows.runs} - {""})
    sets = []
    for name, job in (("evaluations", "evaluate"), ("trainings", "train"), ("report", "report")):
        chosen = expr.And(expr.Metric("JobType") == job, expr.Config("study").isin(studies))
        sets.append(
            wr.Runset(name=name, filters=chosen, groupby=["config.recipe.name"] if job != "report" else [], **where)
        )
    panels: list[Any] = [
        wr.BarPlot(title="warmth score, nats per token", metrics=["warmth.mean"], orientation="h"),
        wr.LinePlot(title="training loss", x="epoch", y=["loss"]),
        wr.BarPlot(title="answers a second", metrics=["answers.per_second"], orientation="h"),
        wr.RunComparer(diff_only="split"),
    ]
    panels += [wr.WeavePanelSummaryTable(table_name=name) for name in TABLES]
    places = [
        (0, 0, 8, 8),
        (8, 0, 8, 8),
        (16, 0, 8, 8),
        (0, 8, 24, 8),
        *((0, 16 + 10 * at, 24, 10) for at in range(len(TABLES))),
    ]
    for panel, (x, y, w, h) in zip(panels, places, strict=True):
        panel.layout = wr.Layout(x=x, y=y, w=w, h=h)
    return wr.PanelGrid(runsets=sets, panels=panels)


def _markdown(table: Table) -> Any:
    """A table of the page as a Markdown table; data in it is escaped, so that none of it becomes markup or a link."""
    import wandb_workspaces.reports.v2 as wr

    lines = [f"*{escaped(table.caption)}*", "", _line(table.columns)]
    lines.append(_line(["---:" if kind == "number" else ":---" for kind in table.kinds], raw=True))
    for row in table.rows[:ROWS]:
        lines.append(_line([f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row]))
    more = len(table.rows) - ROWS
    return wr.MarkdownBlock("\n".join([*lines, "", f"{more} more rows are in the page."] if more > 0 else lines))


def _line(texts: Any, raw: bool = False) -> str:
    return "| " + " | ".join(str(text) if raw else escaped(str(text)) for text in texts) + " |"


def escaped(text: str) -> str:
    """Text that Markdown prints as it is, on one line."""
    return " ".join(wording.visible(text).split()).translate(MARKS)
