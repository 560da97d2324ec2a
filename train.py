"""Fine-tunes one model on one arm's conversations. `python train.py --help` teaches the rest."""

from warmth.config import Train
from warmth.digest import training_digest
from warmth.entry import command
from warmth.store import Run, run_folder


def folder(study: Train):
    """The run folder this config means."""
    return run_folder(study, "train", training_digest(study))


@command("train", folder)
def main(study: Train) -> None:
    """The stages in order: conversations, the arm's replies, ranks, adapter."""
    from warmth.config import build
    from warmth.data.arms import arm
    from warmth.data.sources import load
    from warmth.models import locate
    from warmth.training.launch import say

    if study.recipe.method == "none":
        say(f"recipe={study.recipe.name} trains nothing: skipped")
        return
    run = Run(folder(study))
    if run.done:
        say(f"done already: {run.folder}")
        return
    launcher, examples = build(study.launcher, "launcher"), arm(load(study.data), study.recipe)
    if study.model.path:
        locate(study.model)  # a folder that cannot be loaded is refused here, before any rank starts
    with run.open(study):
        launcher.train(run, study, examples)


if __name__ == "__main__":
    main()
