"""The report as a W&B report: text, tables and panels over the study's runs, composed from the
page's own object.

wandb-workspaces validates the blocks when they are made, and `spec` needs neither key nor network;
only `save` does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from warmth.analysis import wording
from warmth.analysis.report import Report
from warmth.analysis.report.kernel import Section, drawings_of, tables_of
from warmth.analysis.report.printing import markdown_table
from warmth.analysis.report.study import QUESTION

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr

ROWS = 60  # of one table; the run's table of the same name has all


def compose(
    report: Report, project: str = "warmth", entity: str = "", online: bool = False
) -> wr.Report:
    """Compose the whole report.

    Args:
        report: what `warmth report` computed.
        project: of the study's runs.
        entity: their team; "" without a key.
        online: name project and entity in the run sets; W&B looks the project up, so only where it
        can be reached.
    """
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.H1(QUESTION)]
    for number, section in enumerate(report.sections):
        blocks += _section_blocks(section)
        if number == 0:
            blocks += [wr.TableOfContents(), _panels(report, project, entity, online)]
    title = wording.visible(f"{report.study.facts['studies']}: {QUESTION}", 128)
    return wr.Report(project=project, entity=entity, title=title, blocks=blocks, width="fluid")


def _section_blocks(section: Section) -> list[Any]:
    """Write a section's tables, each under its heading, and the captions of its figures."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = []
    for heading, table in tables_of(section.parts):
        if table.rows:
            if heading:
                blocks.append(wr.H3(wording.visible(heading)))
            blocks.append(wr.MarkdownBlock(markdown_table(table, ROWS)))
    if section.commands:
        code = wording.visible("\n".join(section.commands))
        blocks.append(wr.CodeBlock(code=code, language=None))
    texts = list(section.sentences)
    texts += [drawing.caption for drawing in drawings_of(section.parts)]
    blocks = [wr.P(wording.visible(text)) for text in texts] + blocks
    if blocks and section.title:
        blocks.insert(0, wr.H2(section.title))
    return blocks


def spec(composed: wr.Report) -> dict[str, Any]:
    """Give what W&B would be sent, as plain values."""
    content = composed._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return json.loads(content)


def _panels(report: Report, project: str, entity: str, online: bool) -> Any:
    """Make panels over the study's runs: what training did, warmth and unscored answers by arm, and
    the run's own tables.
    """
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    where: dict[str, Any] = {"project": project, "entity": entity} if online else {}
    studies = sorted({str(run.config.get("study", "")) for run in report.study.rows.runs} - {""})
    sets = []
    for name, job in (("evaluations", "evaluate"), ("trainings", "train"), ("report", "report")):
        filters = expr.And(expr.Metric("JobType") == job, expr.Config("study").isin(studies))
        groupby = [] if job == "report" else ["config.recipe.name"]
        sets.append(wr.Runset(name=name, filters=filters, groupby=groupby, **where))
    panels: list[Any] = [
        wr.BarPlot(title="warmth score, nats per token", metrics=["warmth/mean"], orientation="h"),
        wr.LinePlot(title="training loss", x="train/epoch", y=["train/loss"]),
        wr.BarPlot(title="answers a second", metrics=["eval/answers.per_second"], orientation="h"),
        wr.RunComparer(diff_only="split"),
    ]
    panels += [wr.WeavePanelSummaryTable(table_name=name) for name in report.panels]
    boxes = [(0, 0, 8, 8), (8, 0, 8, 8), (16, 0, 8, 8), (0, 8, 24, 8)]
    for number in range(len(report.panels)):
        boxes.append((0, 16 + 10 * number, 24, 10))
    for panel, (x, y, w, h) in zip(panels, boxes, strict=True):
        panel.layout = wr.Layout(x=x, y=y, w=w, h=h)
    return wr.PanelGrid(runsets=sets, panels=panels)
