"""The limits that every interval and test must keep in simulated studies; the studies are in
tests/truth.py.
"""

import math

import pytest
import truth

ERRORS = 3  # Monte-Carlo standard errors of slack: 93.5 % and 6.5 % for 2,000 draws

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]  # seconds of CPU each, but machines are shared


@pytest.mark.parametrize("study", truth.STUDIES, ids=lambda study: study.__name__)
def test_intervals_cover_and_tests_keep_their_size(study):
    made = study()
    slack = ERRORS * math.sqrt(0.05 * 0.95 / made.draws)
    floor = 0.95 - slack if math.isnan(made.known_floor) else made.known_floor
    assert math.isnan(made.covers) or made.covers >= floor
    assert math.isnan(made.size) or made.size <= 0.05 + slack
    if not made.exact and not math.isnan(made.covers):
        assert made.covers <= 0.99  # an interval that covers all is too wide


def test_the_docs_hold_the_table_of_these_very_studies():
    page = truth.PAGE.read_text(encoding="utf-8")
    part = page.split(truth.BEGIN)[1].split(truth.END)[0]
    assert all(truth.name_of(study) in part for study in truth.STUDIES)
