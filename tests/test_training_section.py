"""The report shows what each arm was trained on, so that unequal arms are seen."""

import json

from warmth.analysis.report.sections.training import trained_on
from warmth.analysis.rows.runs import FinishedRun


def finished(folder, recipe, summary):
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {"model": {"name": "tiny"}, "recipe": {"name": recipe}, "seed": 3}
    return FinishedRun(folder=folder, config=config, provenance={}, gates=(), rules={}, graders={})


def test_conversations_replies_and_what_was_left_out_stand_beside_every_arm(tmp_path):
    counts = {
        "too_long": {"count": 4, "ids": ["a"]},
        "no_trained_token": {"count": 1, "ids": ["b"]},
    }
    sums = {"conversations": 20, "replies": 31, "trained_tokens": 900, "counts": counts}
    runs = [
        finished(tmp_path / "w", "warm", sums),
        finished(tmp_path / "c", "cold", {**sums, "counts": {}}),
    ]
    runs.append(finished(tmp_path / "h", "warm", {"job": "provider"}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    runs.append(FinishedRun(tmp_path / "broken", {}, {}, (), {}, {}))
    found = trained_on(runs)
    assert found[
        ["model", "arm", "seed", "conversations", "replies", "trained_tokens"]
    ].values.tolist() == [
        ["tiny", "warm", 3, 20, 31, 900],
        ["tiny", "cold", 3, 20, 31, 900],
    ]
    assert found["left_out"].tolist() == ["no_trained_token 1, too_long 4", "none"]
