"""The verbs of `warmth`.

What a verb needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from warmth import __version__, run_verbs
from warmth.agreement import agreement
from warmth.compare import compare
from warmth.errors import UserError, guarded
from warmth.preview import preview
from warmth.seal import seal
from warmth.text import print_json, print_json_rows
from warmth.verify import verify


class Verbs(TyperGroup):
    """The verbs, in `--help` each with its whole first sentence: Typer cuts it at the edge of the
    terminal.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a verb, its line for the list of all set."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not command.short_help and command.help:
            command.short_help = " ".join(command.help.split("\n\n")[0].split())
        return command


app = typer.Typer(
    help="What does a change of a model's manner cost in truth? Train and evaluate models, and "
    "analyse what that made.",
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Folders above finished run folders.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
]


@guarded
def main() -> None:
    """Entry point: usage errors, like all others, are one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except TyperException as error:
        raise UserError(
            f"{getattr(error, 'format_message', error.__str__)()} (warmth --help lists what there "
            f"is)"
        ) from error
    raise SystemExit(code or 0)


def print_version(asked: bool) -> None:
    """Print the version and end, if it was asked for."""
    if asked:
        print(f"warmth {__version__}")
        raise typer.Exit()


@app.callback()
def verbs(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Train and evaluate models, and analyse what that made."""


app.command(context_settings=run_verbs.AS_TYPED)(run_verbs.train)
app.command(context_settings=run_verbs.AS_TYPED)(run_verbs.evaluate)
app.command()(run_verbs.demo)


@app.command()
def report(
    paths: Paths,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page; reports/<study> by default.")
    ] = None,
    margin_points: Annotated[
        float | None,
        typer.Option(
            help="A difference smaller than this is none in practice; else as the runs have it."
        ),
    ] = None,
    preregister: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A frozen plan; else the one the runs were made under."),
    ] = None,
    checks: Annotated[
        bool,
        typer.Option(
            "--checks", help="Regressions by bootstrap and estimating equations too; takes longer."
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="LABELS.csv", help="People's labels: the answer, corrected by them."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="What weighs one where tasks are pooled: tasks, or rows; else as the runs' "
            "configs say."
        ),
    ] = None,
    model_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=NUMBER,...",
            help="What each model weighs where models are pooled; else as the runs' configs say, "
            "one each by default.",
        ),
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Your own folder: its report/*.py are sections of the page too."
        ),
    ] = None,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle",
            help="Pack rows, configs and report into bundle.zip, for `warmth verify` elsewhere.",
        ),
    ] = False,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Record page and tables in W&B, offline without a key."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Statistics, figures and one self-contained page over finished runs."""
    from warmth.analysis import report as reports
    from warmth.analysis.inspect_runs import with_logs
    from warmth.analysis.report import inputs
    from warmth.analysis.report.kernel import tables_of
    from warmth.analysis.report.printing import terminal_table
    from warmth.analysis.statistics.estimand import parsed_models
    from warmth.analysis.terminal import plain, plain_console
    from warmth.entries import adopt_own_folder

    if config_dir is not None:
        adopt_own_folder([f"--config-dir={config_dir}"])
    stated = None if model_weights is None else parsed_models(model_weights, "--model-weights")
    built = reports.build(
        with_logs(paths), margin_points, preregister, checks, labels, weights, stated
    )
    page = reports.write(built, out or Path("reports") / study_name(built.study.rows.runs))
    packed = inputs.bundle(page.parent) if bundle else None
    if publish:
        from warmth.analysis.publish import publish as send

        print(send(built, page.parent), file=sys.stderr)
    if as_json:
        made = {"page": str(page.resolve())} | ({"bundle": str(packed.resolve())} if packed else {})
        print_json({**made, **reports.summary(built)})
        return
    console = plain_console()
    answer_section = built.sections[0]
    for _, table in tables_of(answer_section.parts):
        console.print(terminal_table(table, one_model=not built.study.several_models))
    for sentence in answer_section.sentences:
        console.print(plain(sentence))
    console.print(plain(f"page: {page.resolve()}"), soft_wrap=True)
    if packed:
        console.print(plain(f"bundle: {packed.resolve()}"), soft_wrap=True)


@app.command()
def show(
    question_id: Annotated[
        str, typer.Argument(metavar="QUESTION_ID", help="As in answers.jsonl; all: every one.")
    ],
    paths: Paths,
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    arm: Annotated[str, typer.Option(help="Only what this arm answered, original beside it.")] = "",
    task: Annotated[
        str, typer.Option(help="Only this task; several: a comma between, as in the next two.")
    ] = "",
    context: Annotated[str, typer.Option(help="Only this context.")] = "",
    belief: Annotated[str, typer.Option(help="Only this belief.")] = "",
    replies: Annotated[
        bool,
        typer.Option("--replies", help="Scored replies to held-out prompts instead; with all."),
    ] = False,
    as_json: Json = False,
) -> None:
    """One question, or the rows behind a figure's point, through every arm and condition, side by
    side.
    """
    from dataclasses import asdict

    from warmth.analysis import examples, rows
    from warmth.analysis.narrowed import load_question
    from warmth.analysis.terminal import plain_console, side_by_side

    loaded = (
        rows.load(paths) if question_id == "all" or replies else load_question(paths, question_id)
    )
    where = {"model": model, "task": task, "context": context, "belief": belief}
    where |= {"question_id": question_id} if question_id != "all" else {}
    if replies and (task or context or belief):
        raise UserError(
            "--replies are to held-out prompts, which have no task, context or belief; allowed: "
            "--model, --arm"
        )
    if replies:
        matching = [
            example
            for example in examples.of_replies(loaded, model, arm)
            if question_id in ("all", example.question_id)
        ]
    else:
        matching = examples.of_cell(
            loaded, {name: value for name, value in where.items() if value}, arm
        )
    if not matching:
        given = {name: value for name, value in {**where, "arm": arm}.items() if value}
        raise UserError(
            f"no {'scored replies' if replies else 'answers'} under {', '.join(map(str, paths))}"
            + examples.misfit(
                loaded.warmth.rename(columns={"text_id": "question_id"})
                if replies
                else loaded.answers,
                given,
            )
        )
    if as_json:
        print_json(
            {"question_id": question_id, "prompts": [asdict(example) for example in matching]}
        )
        return
    console = plain_console()
    for example in matching:
        for renderable in side_by_side(example):
            console.print(renderable)


@app.command()
def export(
    paths: Paths,
    form: Annotated[
        str,
        typer.Option("--format", help="parquet: one table; inspect: a log for each evaluation."),
    ] = "parquet",
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("exports"),
    as_json: Json = False,
) -> None:
    """Answers and grades for other tools."""
    from warmth.analysis import export as exports

    files = [str(file.resolve()) for file in exports.write(paths, form, out)]
    if as_json:
        print_json({"files": files})
        return
    for file in files:
        print(file)


@app.command()
def score(
    texts: Annotated[Path, typer.Argument(metavar="TEXTS.jsonl", help='Rows {"id", "text"}.')],
    variant: Annotated[
        Literal["reference", "paper", "deterministic"],
        typer.Option(help="Which reading of the measure."),
    ] = "deterministic",
    scorer: Annotated[
        str, typer.Option(metavar="MODEL_OR_DIR", help="A model entry, a hub id or a folder.")
    ] = "smollm2",
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(help="Of the scoring model; bfloat16 scores differ a little."),
    ] = "float32",
    passes: Annotated[
        int, typer.Option(min=1, help="Averaged where a variant keeps the scorer's dropout.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of that dropout.")] = 0,
    as_json: Json = False,
) -> None:
    """The SocioT warmth of each text, in nats per token; above 0 reads warmer."""
    from warmth.analysis.terminal import plain_console, score_table
    from warmth.evaluation.texts import text_rows

    rows = list(text_rows(texts))
    from dataclasses import asdict

    from warmth.entries import named_model
    from warmth.evaluation.progress import Meter
    from warmth.models import choose_dtype, load_tokenizer

    model = named_model(scorer, "--scorer")
    from warmth.evaluation import sociot
    from warmth.evaluation.decoding import base_of

    loaded, tokenizer = base_of(model, choose_dtype(dtype)), load_tokenizer(model, chat=False)
    with Meter("warmth", "texts", len(rows)) as meter:
        scored = sociot.score(
            [row["text"] for row in rows],
            loaded,
            tokenizer,
            variant,
            passes=passes,
            seed=seed,
            progress=meter.add,
        )
    nothing = dict.fromkeys(("score", "close", "distant"))
    result = [
        {"id": row["id"], **nothing, **asdict(score_of_text)}
        for row, score_of_text in zip(rows, scored, strict=True)
    ]
    if as_json:
        print_json({"rows": result})
        return
    plain_console().print(score_table(result, rows))


@app.command()
def grade(
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS.jsonl",
            help='Rows {"id", "question", "answers", "wrong", "options", "belief", "finish", '
            '"text"}.',
        ),
    ],
    grader: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An entry of conf/grader/; else letter for rows with options, or alias.",
        ),
    ] = None,
    unmatched: Annotated[
        Literal["incorrect"] | None,
        typer.Option(
            help="What an answer is that names no accepted answer, if the lists of names are "
            "complete."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Server of a judge; empty: its model runs here.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Its model there, dated; or an entry, a hub id or a folder.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="NAME of the variable with its key; empty: none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade anybody's answers by a rule or a judge, each with its label, or the reason why it has
    none.
    """
    from warmth.analysis.terminal import plain, plain_console
    from warmth.evaluation.own_answers import chosen_grader, grade_file

    chosen = None
    if grader:
        from warmth.api import Servers
        from warmth.schemas import Evaluate

        chosen = chosen_grader(
            grader, {"base_url": base_url, "model": model, "api_key_env": api_key_env}
        )
        if not chosen.offline:
            servers = Servers(Evaluate(output="multirun"))
            chosen = chosen.bind(grader, servers)
            servers.check()
    grades = grade_file(answers, chosen, unmatched)
    if as_json:
        print_json_rows(
            {"id": name, "label": row.label, "reason": row.reason, "affirms": row.affirms}
            for name, row in grades
        )
        return
    console = plain_console()
    counts: Counter[str] = Counter()
    for name, row in grades:
        counts[row.label or f"no label, {row.reason}"] += 1
        console.print(
            plain(f"{name}: {row.label or 'no label'} {row.reason}".rstrip()), soft_wrap=True
        )
    console.print(
        plain(", ".join(f"{label} {count}" for label, count in counts.most_common())),
        soft_wrap=True,
    )


@app.command()
def rate(
    paths: Paths,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write blind pairs for people to judge.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read such pairs, filled in.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Blind pairs, arms alike.")] = 200,
    seed: Annotated[int, typer.Option(help="Of their draw.")] = 0,
    base_url: Annotated[
        str, typer.Option(help="Server of the judge that rates.")
    ] = "https://api.openai.com/v1",
    model: Annotated[str, typer.Option(help="Its model there, dated.")] = "gpt-5.4-mini-2026-03-17",
    api_key_env: Annotated[
        str, typer.Option(help="NAME of the variable with its key; empty: none.")
    ] = "OPENAI_API_KEY",
    prompt: Annotated[
        str, typer.Option(help="The rubric's file.")
    ] = "prompts/warmth_rating_v1.txt",
    as_json: Json = False,
) -> None:
    """Measure the warmth of scored replies a second time: by a judge's rating, 1 to 5, or by
    people, blind.
    """
    from warmth.analysis.terminal import plain, plain_console

    if pairs or verdicts:
        from dataclasses import asdict

        from warmth.analysis import measures, rows
        from warmth.evaluation.judge import without_headers

        loaded = rows.load(paths)
        if pairs:
            drawn = measures.export(loaded, pairs, without_headers, count, seed)
            outcome = {"pairs": drawn, "file": str(pairs.resolve())}
        else:
            assert verdicts is not None
            kept = measures.keep(measures.verdicts(verdicts, loaded.studies), loaded)
            outcome = {"verdicts": kept.new + kept.corrected + kept.unchanged, **asdict(kept)}
            outcome["file"] = str(verdicts.resolve())
    else:
        from warmth.analysis.runs import finished
        from warmth.api import Server
        from warmth.evaluation.rating import rate_runs
        from warmth.store import Run

        runs = [Run(folder) for folder in finished(paths) if (folder / "warmth.jsonl").exists()]
        if not runs:
            raise UserError(f"no finished run under {', '.join(map(str, paths))} has warmth scores")
        server = Server(base_url, model, api_key_env or None)
        outcome = rate_runs(runs, server, runs[0].folder.parents[2] / "replies", prompt)
    if as_json:
        print_json(outcome)
    else:
        plain_console().print(
            plain(", ".join(f"{name}: {value}" for name, value in outcome.items())), soft_wrap=True
        )


@app.command()
def reproduce(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RELEASED_DIR",
            help="The authors' files, graded CSVs (--columns), or finished runs.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of a page with the figures; none is written without."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Roles of a CSV's columns: question=id,verdict=label,arm=arm,model==llama8b,…"
        ),
    ] = None,
    margin_points: Annotated[
        float, typer.Option(help="What counts as the same, beside rows that are yours.")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """The study's published numbers, recomputed or beside yours, each with a verdict."""
    from warmth.analysis import published_against, reproduction_page
    from warmth.analysis.report.printing import terminal_table
    from warmth.analysis.terminal import plain, plain_console

    built = published_against.build(folder, columns, margin_points, figures=out is not None)
    page = published_against.write(built, out) if out else None
    if as_json:
        print_json({"rows": [row.record() for row in built.rows]})
        return
    console = plain_console()
    table = reproduction_page.table_of(built.rows, ours=built.words.get("ours", "Recomputed"))
    console.print(terminal_table(table))
    for sentence in built.sentences:
        console.print(plain(sentence))
    for line in built.broken[:5]:
        console.print(plain(f"note: {line}"), soft_wrap=True)
    if len(built.broken) > 5:
        console.print(
            plain(f"note: {len(built.broken) - 5} more rows without one partner; --out lists them")
        )
    if page:
        console.print(plain(f"page: {page.resolve()}"), soft_wrap=True)


@app.command()
def study(
    folder: Annotated[
        Path, typer.Argument(metavar="RELEASED_DIR", help="Your copy of the authors' files.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where their wording goes, as YAML; keep it to yourself."
        ),
    ],
    as_json: Json = False,
) -> None:
    """The study's own words, from the authors' files: for design=paper statements=FILE
    refusals=FILE.
    """
    from warmth.analysis.study_words import read_study, write_study
    from warmth.analysis.terminal import plain, plain_console

    words = read_study(folder)
    write_study(words, out)
    lacks = words.lacks()
    if as_json:
        print_json({"file": str(out.resolve()), "lacks": lacks})
        return
    console = plain_console()
    statements = sum(map(len, words.statements.values()))
    console.print(
        plain(
            f"{statements} statements of {len(words.statements)} contexts, {len(words.templates)} "
            f"belief sentences, "
            f"{len(words.recast)} cases as told, answers to {len(words.answers)} questions, "
            f"{len(words.refusals)} refusal phrases"
        ),
        soft_wrap=True,
    )
    for line in lacks:
        console.print(plain(f"these files lack {line}"), soft_wrap=True)
    use = f"use it by: design=paper statements={out}"
    use += f" refusals={out}" if words.refusals else " (refusals: the phrases of this project)"
    console.print(plain(use), soft_wrap=True)


app.command()(agreement)
app.command()(compare)
app.command()(verify)
app.command()(preview)
app.command()(seal)


@app.command()
def power(
    effect: Annotated[
        float, typer.Option(help="Difference in error rate to be shown, percentage points.")
    ] = 5.0,
    discordant: Annotated[
        float, typer.Option(help="Pairs of which one answer alone is wrong, %.")
    ] = 20.0,
    questions: Annotated[
        int | None, typer.Option(help="Power of so many, rather than how many are needed.")
    ] = None,
    wanted: Annotated[float, typer.Option("--power", help="Power to plan for.")] = 0.8,
    rows: Annotated[
        int, typer.Option(help="Paired rows of one question: contexts × beliefs × seeds × samples.")
    ] = 1,
    correlation: Annotated[float, typer.Option(help="Of two rows of one question; 0 to 1.")] = 0.0,
    alpha: Annotated[float, typer.Option(help="Two-sided size of the test.")] = 0.05,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Check the formula by simulated studies.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 0,
    as_json: Json = False,
) -> None:
    """How many questions show an effect, by formula and by simulation."""
    from warmth.analysis import power as powers
    from warmth.analysis.terminal import plain_console

    plan = powers.Plan(effect / 100, discordant / 100, rows, correlation, alpha)
    summary = powers.summary(plan, questions, wanted, simulate, seed=seed)
    if as_json:
        print_json(summary)
        return
    console = plain_console()
    for line in powers.sentences(summary):
        console.print(line)


@app.command()
def status(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="Its name; all studies by default.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("multirun"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until nothing is under way.")
    ] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 5.0,
    as_json: Json = False,
) -> None:
    """How far a study is: done, running, waiting, time left, and what broke; also of jobs on other
    machines.
    """
    from warmth.sweep import table, view

    if as_json:
        print_json(view.as_json(view.overviews(output, study)))
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if watch and console.is_terminal:
        table.follow(output, study, every, console)
        return
    width = console.width if console.is_terminal else table.WIDE
    for line in table.render(view.overviews(output, study), width):
        console.print(line, soft_wrap=True)


def study_name(runs: Any) -> str:
    """A folder name for the report: the runs' study, or `studies` for several."""
    names = {str(run.config.get("study", "study")) for run in runs}
    return (
        re.sub(r"[^\w-]+", "-", names.pop()).strip("-") or "study" if len(names) == 1 else "studies"
    )


if __name__ == "__main__":
    main()
