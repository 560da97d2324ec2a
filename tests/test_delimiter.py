"""Tags that nothing between them can close."""

from __future__ import annotations

from warmth.delimiter import delimiter


def test_a_tag_is_the_same_for_the_same_material_and_never_stands_in_it():
    tag = delimiter("some text")
    assert delimiter("some text") == tag and delimiter(f"some text {tag}") not in f"some text {tag}"
    twice = f"some text {tag} {delimiter(f'some text {tag}')}"
    assert delimiter(twice) not in twice


def test_material_that_is_not_valid_unicode_has_a_tag():
    assert delimiter("cut \ud83d off").startswith("material-")
