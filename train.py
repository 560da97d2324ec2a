"""Fine-tunes one model on one arm's conversations. `python train.py --help` teaches the rest."""

from warmth.digest import training_digest
from warmth.entry import hydra_command
from warmth.schemas import Train
from warmth.store import Run, run_folder


def folder(study: Train):
    """Return the run folder that a config means."""
    return run_folder(study, "train", training_digest(study))


@hydra_command("train", lambda study: [folder(study)])
def main(study: Train) -> None:
    """Run the stages in order: conversations, the arm's replies, ranks, adapter."""
    from warmth.api import Servers
    from warmth.build import build
    from warmth.data.arms import conversations_of_arm
    from warmth.data.sets import conversations_of
    from warmth.hub import fetch
    from warmth.models import locate
    from warmth.text import say
    from warmth.training import hosted

    if study.recipe.method == "none":
        say(f"recipe={study.recipe.name} trains nothing: skipped")
        return
    run = Run(folder(study))
    launcher = build(study.launcher, "launcher")
    if run.done and study.rerun != "all":
        say(f"done already: {run.folder}")
        return
    if launcher.joins:
        launcher.join(run, study)
        return
    servers = Servers(study)
    examples = conversations_of_arm(
        conversations_of(study, servers=servers), study.recipe, study.data.validation
    )
    if study.model.path:
        # A folder that cannot be loaded is refused here, before any rank starts.
        locate(study.model)
    # Ranks find a hub's files in the cache, so a long download is no stall of theirs.
    fetch(study.model)
    with run.open(study):
        if study.model.kind == "api":
            hosted.train_hosted(run, study, examples, servers)
        else:
            launcher.train(run, study, examples)


if __name__ == "__main__":
    main()
