"""Fine-tunes one model on one arm's conversations. `python train.py --help` teaches the rest."""

from warmth.digest import training_digest
from warmth.entry import command
from warmth.schemas import Train
from warmth.store import Run, run_folder


def folder(study: Train):
    """The run folder this config means."""
    return run_folder(study, "train", training_digest(study))


@command("train", lambda study: [folder(study)])
def main(study: Train) -> None:
    """The stages in order: conversations, the arm's replies, ranks, adapter."""
    from warmth.api import Servers
    from warmth.build import build
    from warmth.data.arms import arm
    from warmth.data.sets import conversations_of
    from warmth.hub import fetch
    from warmth.models import locate
    from warmth.training import hosted
    from warmth.training.launch import say

    if study.recipe.method == "none":
        say(f"recipe={study.recipe.name} trains nothing: skipped")
        return
    run, launcher = Run(folder(study)), build(study.launcher, "launcher")
    if run.done and study.rerun != "all":
        say(f"done already: {run.folder}")
        return
    if launcher.joins:
        launcher.join(run, study)
        return
    servers = Servers(study)
    examples = arm(conversations_of(study, servers=servers), study.recipe, study.data.validation)
    if study.model.path:
        locate(
            study.model
        )  # a folder that cannot be loaded is refused here, before any rank starts
    fetch(
        study.model
    )  # ranks find a hub's files in the cache, so a long download is no stall of theirs
    with run.open(study):
        if study.model.kind == "api":
            hosted.train(run, study, examples, servers)
        else:
            launcher.train(run, study, examples)


if __name__ == "__main__":
    main()
