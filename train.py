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
    from warmth.training.launch import say

    if study.recipe.method == "none":
        say(f"recipe={study.recipe.name} trains nothing: skipped")
        return
    run = Run(folder(study))
    if run.done:
        say(f"done already: {run.folder}")
        return
    conversations = load(study.data)
    with run.open(study):
        build(study.launcher, "launcher").train(run, study, arm(conversations, study.recipe))


if __name__ == "__main__":
    main()
