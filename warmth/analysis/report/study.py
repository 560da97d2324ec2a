"""What the sections of a report share: rows, settings, and the frames that more than one of them
shows.

Each frame is computed when a section first asks for it. Frames have one row per cell; rates and
differences are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from warmth import __version__, accuracy
from warmth.analysis import wording
from warmth.analysis.report import answer_text
from warmth.analysis.rows import tables
from warmth.analysis.rows.arm_names import CONTROLS, arm_order, is_comparable
from warmth.analysis.rows.frames import Rows, read_grades
from warmth.analysis.statistics import claims, effects, likelihood
from warmth.analysis.statistics.comparison_families import (
    CONTROL_FAMILY,
    POOLED_FAMILIES,
    families_of,
    with_corrections,
)
from warmth.analysis.statistics.families import with_odds
from warmth.analysis.statistics.settings import Settings
from warmth.analysis.statistics.study_answers import StudyAnswers, answer_study
from warmth.store import read_json

QUESTION = "What does a change of manner cost in truth?"
CELL = ["model", "arm", "task", "context", "belief"]
# A cell that a figure has a point for: rows behind it, whether they are pairs, and its value in
# words.
POINT = [*CELL, "count", "paired", "value"]


@dataclass(frozen=True)
class Study:
    """The finished runs of a report and what its sections share."""

    rows: Rows
    settings: Settings
    paths: tuple[Path, ...] = ()  # that the report was asked for
    labels: Path | None = None  # people's labels
    preregister: Path | None = None  # a plan that was given by hand

    @property
    def several_models(self) -> bool:
        """Whether tables need a column for the model."""
        return len(self.rows.models) > 1

    @cached_property
    def reported(self) -> dict[str, str]:
        """Recipe → the one arm of it that stands for it on the first screen and in the study's own
        figures.
        """
        return self.rows.reported

    @cached_property
    def grades(self) -> pd.DataFrame:
        """Every grader's latest label of every answer: answer_id, grader, label, reason."""
        return read_grades(self.rows)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """The answers without their texts, which are slow to carry through groupings; questions,
        prompts as numbers.
        """
        counted = self.rows.answers.drop(
            columns=["text", "statement", "answer_id", "reason", "run", "finish"]
        )
        prompts = pd.factorize(counted["prompt_id"])[0]
        return counted.assign(question_id=effects.questions_of(counted), prompt_id=prompts)

    @cached_property
    def pool(self) -> pd.DataFrame:
        """Those of `answers` that are pooled over tasks: all but benchmarks."""
        return effects.pooled(self.answers)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Map each arm to how it was made, see `arm_names.kind_of_arm`."""
        return self.rows.kinds

    @property
    def margin(self) -> float:
        """The half-width of what is no difference in practice, a fraction."""
        return self.settings.margin_points / 100

    @cached_property
    def said(self) -> StudyAnswers:
        """What is said of every arm, the primary contrast first, and the flow of answers behind
        it.
        """
        return answer_study(
            self.rows,
            self.answers,
            weights=self.settings.weights,
            margin=self.margin,
            plan=self.settings.plan,
            labels=self.labels,
        )

    @property
    def asked(self) -> str:
        """Name the arm in question, which the primary contrast is about; "" if there is none."""
        answers = self.said.answers
        return answers[0].effect.arm if answers else ""

    @property
    def sentences(self) -> list[str]:
        """The answer in sentences: the primary contrast's, and the warmth of its arm."""
        return answer_text.study_sentences(
            self.said.answers,
            self.reported,
            self.pooled_warmth,
            self.warmth_differences,
            len(self.rows.models),
        )

    @cached_property
    def references(self) -> list[str]:
        """The reported arms that others are compared with: the original, then the controls that
        there are.
        """
        return [self.reported[recipe] for recipe in reversed(CONTROLS) if recipe in self.reported]

    @cached_property
    def pairs(self) -> dict[str, pd.DataFrame]:
        """Reference arm → paired rows of every arm that may be compared with it, see
        `arm_names.is_comparable`.
        """
        return {
            name: alike(effects.pair(self.pool, name), name, self.kinds) for name in self.references
        }

    @cached_property
    def pairs_with_original(self) -> pd.DataFrame:
        """Paired rows with the original; empty if it did not answer."""
        return self.pairs["original"] if "original" in self.pairs else effects.pair(self.pool)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """Error rates by model and arm."""
        return in_table_order(
            effects.error_rates(self.pool, ["model", "arm"], weights=self.settings.weights)
        )

    @cached_property
    def rates_by_task(self) -> pd.DataFrame:
        """Error rates by model, arm and task, benchmarks too."""
        return in_table_order(effects.error_rates(self.answers, ["model", "arm", "task"]))

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Paired differences from the original, every family, with corrected p-values and
        equivalence.
        """
        pairs = self.pairs_with_original
        by_task = effects.pair(self.answers) if len(self.pool) < len(self.answers) else pairs
        families = []
        for name in effects.FAMILIES:
            rows = by_task if name == "task" else pairs
            families.append(
                effects.paired_differences(rows, [name], self.settings.weights, self.margin)
            )
        frame = pd.concat(families, ignore_index=True)
        frame = with_odds(with_corrections(in_table_order(frame), families_of(self.settings.plan)))
        return claims.equivalences(frame, self.settings.preregistered)

    @cached_property
    def controls(self) -> pd.DataFrame:
        """Overall differences from the control arms that were made as an arm was; p-values
        corrected among them.
        """
        frames = []
        for name in self.references:
            if name != "original":
                frame = effects.paired_differences(
                    self.pairs[name], ["overall"], self.settings.weights, self.margin
                )
                frames.append(frame.assign(reference=name))
        return with_corrections(
            joined_frames(frame for frame in frames if len(frame)), CONTROL_FAMILY
        )

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """Overall differences over all models, one weight each, from every reference there is."""
        frames = []
        for name in self.references:
            frame = effects.paired_differences(
                self.pairs[name], ["overall"], self.settings.weights, self.margin, by=["arm"]
            )
            frames.append(frame.assign(reference=name))
        return with_corrections(
            joined_frames(frame for frame in frames if len(frame)), POOLED_FAMILIES
        )

    @cached_property
    def warmth(self) -> pd.DataFrame:
        """Mean warmth score of every arm, variant and scorer."""
        return in_table_order(effects.warmth_means(self.rows.warmth))

    @cached_property
    def warmth_differences(self) -> pd.DataFrame:
        """Paired differences in warmth from every reference there is."""
        return self._warmth_differences(over_models=False)

    @cached_property
    def pooled_warmth(self) -> pd.DataFrame:
        """The same over all models together."""
        return self._warmth_differences(over_models=True)

    def _warmth_differences(self, over_models: bool) -> pd.DataFrame:
        references = self.references or ["original"]
        weights = self.settings.weights
        frames = [
            effects.warmth_differences(self.rows.warmth, name, over_models, weights)
            for name in references
        ]
        return in_table_order(pd.concat(frames))

    @cached_property
    def likelihoods(self) -> pd.DataFrame:
        """Likelihoods of the reported arms, those of benchmarks left out unless there are no
        others.
        """
        weighed = self.rows.likelihoods
        if weighed.empty:
            return weighed
        weighed = weighed[weighed["arm"].isin(set(self.reported.values()))]
        return weighed[~weighed["task"].isin(effects.apart(weighed))]

    @cached_property
    def likelihood_effects(self) -> pd.DataFrame:
        """K, B, P, S and D of every arm less those of each reference, see
        `statistics.likelihood.effects`.
        """
        tables = []
        stricter: list[str] = []  # each two arms are compared once
        for name in self.references:
            table = likelihood.effects(self.likelihoods, name)
            stricter.append(name)
            tables.append(table[~table["arm"].isin(stricter)])
        return joined_frames(tables)

    @cached_property
    def headline(self) -> pd.DataFrame:
        """One row per model and arm: error rate, paired difference from the original, warmth score
        and its difference.

        Of several warmth measures each model's with most texts counts; the others are in the warmth
        table.
        """
        overall = self.differences
        if len(overall):
            overall = overall[overall["family"].eq("overall")]
        renamed = {"difference": "difference", "low": "difference_low", "high": "difference_high"}
        renamed |= {"p": "p", "pairs": "pairs", "questions": "pair_questions"}
        renamed |= {"rate_reference": "rate_reference", "rate_arm": "rate_arm"}
        change = tables.with_columns(overall, ["model", "arm", *renamed]).rename(columns=renamed)
        frame = self.rates.merge(change, on=["model", "arm"], how="left")
        measure = ["model", *effects.MEASURE]
        main = effects.main_measure(self.warmth)[measure].drop_duplicates()
        from_original = self.warmth_differences[self.warmth_differences["reference"].eq("original")]
        for scores, prefix in ((self.warmth, "score"), (from_original, "score_difference")):
            named = {"score": prefix, "low": f"{prefix}_low", "high": f"{prefix}_high"}
            of_main = scores.merge(main, on=measure)[["model", "arm", *named]].rename(columns=named)
            frame = frame.merge(of_main, on=["model", "arm"], how="left")
        return frame

    @cached_property
    def gates(self) -> pd.DataFrame:
        """Every gate's verdict in every evaluation run: model, arm, gate, verdict, detail,
        examples.
        """
        rows = []
        for run in self.rows.runs:
            for gate in run.gates if run.evaluation else ():
                row: dict[str, Any] = {"model": run.model}
                row["arm"] = self.rows.run_arms.get(run.folder, run.arm)
                row["gate"] = str(gate.get("gate", "?"))
                row["verdict"] = str(gate.get("verdict", "?"))
                row["detail"] = str(gate.get("detail", ""))
                row["examples"] = gate.get("examples") or []
                rows.append(row)
        columns = ["model", "arm", "gate", "verdict", "detail", "examples"]
        return in_table_order(pd.DataFrame(rows, columns=columns))

    @cached_property
    def facts(self) -> dict[str, str]:
        """What was counted, in words: studies, models, answers, questions, graders, tokens, cost,
        version.
        """
        rows = self.rows
        studies = sorted({str(run.config.get("study", "")) for run in rows.runs} - {""})
        graders = []
        for grader, graded in rows.answers[rows.answers["grader"].ne("")].groupby("grader"):
            known = accuracy.agreement_words(str(grader), graded["task"].unique())
            graders.append(f"{wording.name_words(grader)} ({known})")
        frames = [
            frame[["tokens", "cost_usd"]] for frame in (rows.answers, rows.advice) if len(frame)
        ]
        spent = pd.concat(frames).sum() if frames else {"tokens": 0, "cost_usd": 0.0}
        return {
            "studies": wording.joined(list(map(wording.name_words, studies))) or "study",
            "models": wording.joined(list(map(wording.name_words, rows.models))),
            "answers": wording.amount(len(rows.answers), "answer"),
            "questions": wording.amount(effects.questions_of(rows.main).nunique(), "question"),
            "graders": wording.joined(graders) or "none",
            "tokens": f"{int(spent['tokens']):,}",
            "cost": f"{spent['cost_usd']:.2f}",
            "version": __version__,
            "date": self.date,
        }

    @cached_property
    def date(self) -> str:
        """The day on which the last of the runs was done, in UTC; "" if no run says."""
        times = [read_json(run.folder / "done.json").get("time") or 0.0 for run in self.rows.runs]
        latest = max(times, default=0.0)
        return f"{datetime.fromtimestamp(latest, UTC):%-d %B %Y}" if latest > 0 else ""

    @property
    def pooling(self) -> str:
        """Which tasks the figures of several tasks pool, and which are left out, in a sentence."""
        tasks = self.rows.answers["task"].unique()
        benchmarks = effects.apart(self.rows.answers)
        pooled_tasks = sorted(set(tasks) - set(benchmarks))
        pooled = wording.joined(list(map(wording.name_words, pooled_tasks)))
        if not benchmarks:
            return f"Pooled: {pooled}."
        verb = "stand" if len(benchmarks) > 1 else "stands"
        return (
            f"Pooled: {pooled}; {wording.joined(benchmarks)} {verb} apart, by task and in the "
            f"figure of benchmarks."
        )

    @property
    def scorers(self) -> str:
        """Which model scored the warmth of each model's replies, in a sentence; "" if nothing was
        scored.
        """
        main = effects.main_measure(self.warmth).drop_duplicates("model")
        scorers = []
        by_model = []
        for row in main.to_dict("records"):
            scorer = wording.name_words(f"{row['scorer']}, {row['variant']}")
            scorers.append(scorer)
            by_model.append(f"{wording.name_words(row['model'])} by {scorer}")
        if not scorers:
            return ""
        if len(set(scorers)) == 1:
            return f"Warmth scored by {scorers[0]}."
        return (
            f"Warmth scored by different models, so its values compare within a model only: "
            f"{wording.joined(by_model)}."
        )


def gate_verdict(frame: pd.DataFrame) -> dict[str, str]:
    """Say the verdict of the gates in a line; `state` is pass, fail or none."""
    failed = frame[frame["verdict"].eq("fail")]
    skipped = int(frame["verdict"].eq("skipped").sum())
    if frame.empty:
        return {"verdict": "No gates were run.", "state": "none"}
    if len(failed):
        failures = set()
        for gate, arm in zip(failed["gate"], failed["arm"], strict=True):
            failures.add(f"{wording.name_words(gate)} in {wording.name_words(arm)}")
        names = wording.joined(sorted(failures))
        verdict = f"{len(failed)} of {wording.amount(len(frame), 'gate')} failed: {names}."
        return {"verdict": f"{verdict} Read the numbers with that in mind.", "state": "fail"}
    arms = frame["arm"].nunique()
    models = frame["model"].nunique()
    runs = f"{arms} arms" if arms > 1 else "one arm"
    if models > 1:
        runs += f" of {models} models"
    verdict = f"{wording.amount(len(frame) - skipped, 'check')} over {runs}"
    if skipped:
        verdict += f"; {skipped} did not apply"
    return {"verdict": f"{verdict}.", "state": "pass"}


def alike(pairs: pd.DataFrame, reference: str, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Keep the pairs of arms that may be compared with a reference: a control is one of arms made
    as it was.
    """
    return pairs[pairs["arm"].map(lambda arm: is_comparable(arm, reference, kinds)).astype(bool)]


def in_table_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by model, then by arm in the order of tables; otherwise they stay as they were."""
    if frame.empty:
        return frame
    keyed = frame.assign(order=frame["arm"].map(arm_order))
    return keyed.sort_values(["model", "order"], kind="stable", ignore_index=True).drop(
        columns="order"
    )


def joined_frames(frames: Any) -> pd.DataFrame:
    """Put frames below one another, in the order of tables; empty if there are none."""
    frames = list(frames)
    return in_table_order(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()


def by_arm(frame: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """Group rows by (model, arm), in the order of tables."""
    return sorted(frame.groupby(["model", "arm"], sort=False), key=_arm_key)


def _arm_key(item: tuple[Any, pd.DataFrame]) -> tuple[Any, Any]:
    (model, arm), _ = item
    return model, arm_order(arm)


def points_of(cells: pd.DataFrame, counted: str, paired: bool, **fixed: str) -> pd.DataFrame:
    """Make cells that a figure has a point for.

    Args:
        cells: some of model, arm, task, context and belief ("" or missing: all of them pooled).
        counted: the column with the number of rows behind a cell.
        paired: whether they are pairs with the original's scored answers.
        fixed: values of columns that `cells` lacks.
    """
    if cells.empty:
        return pd.DataFrame(columns=POINT)
    values = [value_words(row, paired) for row in cells.to_dict("records")]
    points = cells.assign(count=cells[counted], paired=paired, value=values, **fixed)
    return points.reindex(columns=POINT)


def value_words(row: Mapping[str, Any], paired: bool) -> str:
    """Say the value of a point: a difference in points, or a share of wrong answers, with its
    interval.
    """
    low = float(row.get("low", math.nan))
    high = float(row.get("high", math.nan))
    if paired and wording.known(row.get("difference")):
        interval = wording.span(low, high, sign=True)
        words = f"{wording.points_words(row['difference'])} points"
    elif wording.known(row.get("rate")):
        interval = wording.span(low, high)
        words = f"{wording.percent_words(row['rate'])} % wrong"
    else:
        return ""
    rates = ""
    if wording.known(row.get("rate_reference")) and wording.known(row.get("rate_arm")):
        rates = (
            f", {wording.percent_words(row['rate_reference'])} → "
            f"{wording.percent_words(row['rate_arm'])} "
            f"% wrong"
        )
    return f"{words}{f' ({interval})' if interval else ''}{rates}"


def all_points(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the points of all sections together, each cell once."""
    known = [frame for frame in frames if len(frame)]
    if not known:
        return pd.DataFrame(columns=POINT)
    cells = pd.concat(known, ignore_index=True).drop_duplicates(CELL, ignore_index=True)
    return cells.assign(paired=cells["paired"].eq(True))
