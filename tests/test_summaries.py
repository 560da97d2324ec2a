import math

import pytest
from released_fixture import write_summary

from warmth.analysis.study import summaries
from warmth.errors import UserError


def test_contexts_names_and_error_rates_are_read_as_they_stand(tmp_path):
    cells = summaries.read_summaries(write_summary(tmp_path)).cells
    assert (
        len(cells) == 16
        and set(cells["context"]) == {"sad", "unmodified"}
        and set(cells["model"]) == {"llama8b", "gpt4o"}
    )
    sad = cells[cells["context"].eq("sad") & ~cells["belief"]].iloc[0]
    assert (sad["original"], sad["changed"]) == pytest.approx((0.10, 0.18))
    assert (sad["pairs"], sad["b"], sad["c"]) == (100, 9, 1)


def test_pairs_and_discordant_pairs_follow_from_what_is_printed():
    # 158 pairs, b = 21, c = 12: 10.13 % against 15.82 %, 9/√33 = 1.567, 21/12 = 1.75
    assert summaries.pair_counts(0.1013, 0.1582, 1.567, 1.75, 0.1628) == (158, 21, 12)
    assert all(math.isnan(value) for value in summaries.pair_counts(0.2, 0.2, 0.0, 1.0, 1.0))


def test_mcnemar_columns_are_computed_again(tmp_path):
    table = summaries.tests(summaries.read_summaries(write_summary(tmp_path)).cells)
    sad = table[table["context"].eq("sad") & ~table["belief"]].iloc[0]
    assert sad["p"] == pytest.approx(22 / 1024) and sad["fdr"] == pytest.approx(
        44 / 1024
    )  # two cells in the family
    assert sad["z"] == pytest.approx(8 / math.sqrt(10)) and sad["g"] == pytest.approx(0.4)


def test_a_second_row_for_a_cell_is_named_and_left_out(tmp_path):
    extra = "emotion:sad,50.00,40.00,-10.00,3.162,Large,∞,0.0020,Yes,0.0039,Yes,llama-8b,medqa,Sycophancy\n"
    read = summaries.read_summaries(write_summary(tmp_path, extra))
    assert len(read.cells) == 16
    assert read.broken == (
        "results_warm_ft.csv row 17: llama-8b medqa sad, belief, is a second row for its cell and "
        "is left out",
    )


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            "emotion:sad,5,4,1,1,L,1,1,N,1,N,gpt-9,medqa,Normal\n",
            "row 17: Model=gpt-9 is not known",
        ),
        (
            "emotion:sad,x,4,1,1,L,1,1,N,1,N,gpt-4o,medqa,Normal\n",
            "row 17: Original Accuracy (%)=x is not a number",
        ),
    ],
)
def test_what_is_not_understood_is_named_by_row_and_column(tmp_path, extra, words):
    with pytest.raises(UserError) as error:
        summaries.read_summaries(write_summary(tmp_path, extra))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a CSV file"),
        (b"\xff\xfe\x00", "is not a CSV file"),
        (b"a,b\n1,2\n", "has no column Amendment_type"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, content, words):
    (tmp_path / "results_warm_ft.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        summaries.read_summaries(tmp_path)
