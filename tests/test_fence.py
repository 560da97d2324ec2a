"""Tags that nothing between them can close."""

from __future__ import annotations

from warmth.fence import fence


def test_a_tag_is_the_same_for_the_same_material_and_never_stands_in_it():
    tag = fence("some text")
    assert fence("some text") == tag and fence(f"some text {tag}") not in f"some text {tag}"
    twice = f"some text {tag} {fence(f'some text {tag}')}"
    assert fence(twice) not in twice


def test_material_that_is_not_valid_unicode_has_a_tag():
    assert fence("cut \ud83d off").startswith("material-")
