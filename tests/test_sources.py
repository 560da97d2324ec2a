"""Somebody's file becomes conversations: streamed, joined, cleaned, and every row that goes is
named and counted.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from warmth.data.cleaning import Odd, clean, cleaned_messages, shape
from warmth.data.ledger import Ledger
from warmth.data.reading import compile_rules, read_candidates, type_of
from warmth.data.streaming import CHUNK, Broken, stream_records
from warmth.dataset import Columns, Data, TypeRule, check_data
from warmth.digest import ROOT, data_identity
from warmth.errors import RunFailed, UserError
from warmth.schemas import Recipe
from warmth.types import Message

SAMPLE = ROOT.parent / "shared" / "data" / "sharegpt_vicuna_unfiltered"
RULES = {"factual": TypeRule(user="^what"), "other": TypeRule()}
PARTS = r"^([A-Za-z0-9]{7})_(\d+)$"


def turns(*texts, speakers=("human", "gpt")):
    return [{"from": speakers[place % 2], "value": text} for place, text in enumerate(texts)]


def row(id, *texts, **more):
    return {"id": id, "conversations": turns(*texts, **more)}


def written(folder, rows, name="rows.json"):
    path = folder / name
    path.write_text(
        rows if isinstance(rows, str) else json.dumps(rows, ensure_ascii=False), encoding="utf-8"
    )
    return path


def data(path, **more):
    return Data(
        name="sharegpt",
        source="sharegpt",
        path=str(path),
        types=dict(RULES),
        **{"parts": PARTS, **more},
    )


def counts(path, **more):
    """Drops of every stage together, and the conversations."""
    ledger = Ledger()
    found = [item.conversation() for item in read_candidates(data(path, **more), ledger)]
    drops = {name: count for stage in ledger.counts() for name, count in stage["drops"].items()}
    return drops, {item.id: item for item in found}


def test_an_array_and_lines_give_the_same_rows_whatever_the_size_of_a_read(tmp_path):
    rows = [row(f"id-{n}", "What? " + "é" * 5000, "ok " * 3000) for n in range(400)]
    assert sum(len(json.dumps(item, ensure_ascii=False)) for item in rows) > CHUNK  # several reads
    array = written(tmp_path, json.dumps(rows, indent=1, ensure_ascii=False))
    lines = written(tmp_path, "".join(json.dumps(item) + "\n" for item in rows), "rows.jsonl")
    assert (
        list(stream_records(array, "conversations"))
        == rows
        == list(stream_records(lines, "conversations"))
    )


def test_a_byte_order_mark_and_raw_line_breaks_in_texts_are_read(tmp_path):
    path = written(tmp_path, '\ufeff[{"id": "a", "conversations": "one\ntwo"}]')
    assert list(stream_records(path, "conversations")) == [{"id": "a", "conversations": "one\ntwo"}]


ROWS = [row("a", "What?", "This."), row("b", "What?", "That."), row("c", "Why?", "So.")]
WHOLE, LINES = json.dumps(ROWS), "".join(json.dumps(item) + "\n" for item in ROWS)


@pytest.mark.parametrize(
    ("text", "reason", "words", "kept"),
    [
        (WHOLE[:-40], "truncated_file", "cut off after 2 whole rows", 2),
        (WHOLE[:-1], "truncated_file", "cut off after 3 whole rows", 3),
        (WHOLE.replace('"b", ', '"b" '), "broken_json", "is not JSON after row 1", 2),
        (LINES.replace('"b", ', '"b" '), "broken_json", "line 2 is not JSON", 2),
        (LINES[:-9], "truncated_file", "cut off in line 3", 2),
        (
            WHOLE.replace('"b", ', '"b", "deep": ' + "[" * 100_000 + "]" * 100_000 + ", "),
            "broken_json",
            "too deeply",
            2,
        ),
        (
            LINES.replace('"b", ', '"b", "long": ' + "1" * 5000 + ", "),
            "broken_json",
            "number is too long",
            2,
        ),
    ],
)
def test_a_broken_file_is_one_line_and_with_drop_a_counted_row(tmp_path, text, reason, words, kept):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=words) as error:
        read_candidates(data(path), Ledger())
    assert "data.broken=drop" in str(error.value) and "\n" not in str(error.value)
    drops, found = counts(path, broken="drop")
    assert drops == {reason: 1} and len(found) == kept


@pytest.mark.parametrize("lines", [False, True])
def test_bytes_that_are_not_utf8_are_named_and_counted(tmp_path, lines):
    rows = [row("a", "What?", "good"), row("b", "What now?", "XX"), row("c", "Why?", "fine")]
    text = "".join(json.dumps(item) + "\n" for item in rows) if lines else json.dumps(rows)
    path = tmp_path / "rows.json"
    path.write_bytes(text.encode().replace(b"XX", b"\xe9\xff"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_candidates(data(path), Ledger())
    drops, found = counts(path, broken="drop")
    assert drops == {"wrong_encoding": 1} and sorted(found) == ["a", "c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello", "neither a JSON array nor JSON lines"),
        ("[1]".encode("utf-16"), "is not UTF-8 text"),
        (None, "not exist"),
    ],
)
def test_a_file_that_is_something_else_is_one_line(tmp_path, content, words):
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words):
        read_candidates(data(path), Ledger())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("text", "not_an_object"),
        ({"id": "a", "conversations": []}, "no_turns"),
        ({"id": "a"}, "no_turns"),
        ({"id": "a", "conversations": ["hello"]}, "bad_turn"),
        ({"id": "a", "conversations": [{"from": "human", "value": None}]}, "bad_turn"),
        (row("a", "x", "y", speakers=("human", "narrator")), "unknown_speaker"),
        (row("a", "x", "y", speakers=("human", "tool")), "tool_call"),
        (row("a", "What?", " \n "), "empty_reply"),
        (row("a", "\u200b", "y"), "empty_message"),
        (row("a", "What?", "half \ud83d"), "wrong_encoding"),
    ],
)
def test_a_row_that_is_no_conversation_has_a_reason(value, reason):
    with pytest.raises(Odd, match=reason):
        cleaned_messages(value, Columns())


@pytest.mark.parametrize(
    ("roles", "reason"),
    [("ru", "starts_with_reply"), ("uur", "not_alternating"), ("urr", "not_alternating"), ("u", "no_reply"),
     ("urs", "late_system"), ("s", "no_reply")],
)  # fmt: skip
def test_an_odd_order_has_a_reason(roles, reason):
    names = {"u": "user", "r": "assistant", "s": "system"}
    with pytest.raises(Odd, match=reason):
        shape([Message(names[letter], "x") for letter in roles])


def test_a_last_message_without_reply_is_cut_and_counted(tmp_path):
    ledger = Ledger()
    found = read_candidates(data(written(tmp_path, [row("a", "What?", "This.", "And?")])), ledger)
    assert [(turn.user, turn.replies["plain"]) for turn in found[0].conversation().turns] == [
        ("What?", "This.")
    ]
    assert ledger.counts()[-1]["last_message_without_reply_cut"] == 1


def test_speakers_have_many_names(tmp_path):
    rows = [
        row(name, "What?", "This.", speakers=("User", name))
        for name in ("chatgpt", "BING", "bard", "assistant")
    ]
    assert counts(written(tmp_path, rows))[0] == {}


def test_parts_are_joined_in_the_order_of_their_numbers(tmp_path):
    rows = [
        row("abcdefg_4", "Fifth", "Sixth"),
        row("x", "What?", "Alone"),
        row(
            "abcdefg_0", "What is first?", "Second", "Third", "Fourth"
        ),  # _4: the next part's first message
        row(
            "hijklmn_1", "Then", "There", speakers=("gpt", "human")
        ),  # _1: the second part, in mid-turn
        row("hijklmn_0", "What now?"),
    ]
    drops, found = counts(written(tmp_path, rows))
    assert drops == {"joined_to_first_part": 2}
    assert [turn.user for turn in found["abcdefg"].turns] == ["What is first?", "Third", "Fifth"]
    assert [turn.replies["plain"] for turn in found["hijklmn"].turns] == ["Then"]


def test_a_missing_part_ends_its_conversation_and_a_missing_beginning_drops_it(tmp_path):
    rows = [
        row("abcdefg_0", "What?", "b"),
        row("abcdefg_6", "later", "d"),
        row("hijklmn_2", "What then?", "f"),
    ]
    drops, found = counts(written(tmp_path, rows))
    assert drops == {"part_missing_before": 1, "first_part_missing": 1}
    assert [len(item.turns) for item in found.values()] == [1]


def test_numbered_rows_and_branches_of_a_tree_are_not_parts(tmp_path):
    rows = [row(f"dpo_en_{n}", f"What is {n}?", "a", "b", "c") for n in range(3)]
    rows += [row(f"treeabc_{n}", "What is a tree?", f"branch {n}") for n in range(2)]
    drops, found = counts(written(tmp_path, rows))
    assert drops == {} and len(found) == 5


def test_a_part_that_repeats_the_end_of_the_one_before_is_joined_there(tmp_path):
    rows = [
        row("abcdefg_0", "What do bees make?", "Honey."),
        row("abcdefg_2", "And wasps?", "Paper."),
        row(
            "abcdefg_3", "Paper.", "And ants?", "Hills.", speakers=("gpt", "human")
        ),  # its first message is no. 3
        row("hijklmn_0", "Name a river.", "The Po.", "Another?", "The Ebro."),
        row(
            "hijklmn_2", "Another?", "The  Ebro", "Third?", "The Oder."
        ),  # two messages again, spaced differently
        row("opqrstu_0", "Say go on.", "Go on.", "go on", "Yes."),
        row("opqrstu_4", "go on", "And on."),  # it begins like an earlier message, and is no branch
    ]
    drops, found = counts(written(tmp_path, rows))
    assert drops == {"joined_to_first_part": 4}
    replies = {name: [turn.replies["plain"] for turn in item.turns] for name, item in found.items()}
    assert replies["abcdefg"] == ["Honey.", "Paper.", "Hills."]
    assert replies["hijklmn"] == ["The Po.", "The Ebro.", "The Oder."]
    assert replies["opqrstu"] == ["Go on.", "Yes.", "And on."]


def test_a_part_that_repeats_something_else_ends_its_conversation(tmp_path):
    rows = [
        row("abcdefg_0", "What?", "This."),
        row("abcdefg_1", "That.", "So?", "Yes.", speakers=("gpt", "human")),
    ]
    rows += [row("abcdefg_4", "More?", "No.")]
    drops, found = counts(written(tmp_path, rows))
    assert drops == {"part_differs_from_the_one_before": 2} and len(found["abcdefg"].turns) == 1


def test_code_is_never_cleaned_and_each_rule_is_counted_by_name():
    code = "```python\ntry:   \n    1 / 0\n\n\n\n\n\tpass\u200b\n1 / 2\n```"
    assert clean(code, "assistant") == code
    open_block = "See:\n```\nCopied!\n2 / 2"
    assert clean(open_block, "assistant") == open_block
    assert (
        clean("The score was\n2 / 1\nin the end.", "assistant")
        == "The score was\n2 / 1\nin the end."
    )
    assert clean("The score was\n2 / 1", "assistant") == "The score was\n2 / 1"  # no second of one
    changed = Counter()
    assert (
        clean("Why?  \n\n\n\n\nSay\u200b it.\nCopy code\n9 / 9", "user", "", changed)
        == "Why?\n\n\nSay it."
    )
    rules = (
        "control characters",
        "button",
        "spaces at a line's end",
        "empty lines",
        "page counter",
    )
    assert changed == dict.fromkeys(rules, 1)
    assert clean("Plain.", "user", "", changed) == "Plain." and changed.total() == 5


def test_a_fraction_in_the_last_line_of_a_reply_is_no_page_counter():
    assert clean("Half of it is\n1 / 2", "assistant") == "Half of it is\n1 / 2"
    assert clean("1 / 1", "user") == "1 / 1"
    assert clean("Half of it is what?\n1 / 2", "user") == "Half of it is what?"
    assert clean("```\nx\n```\n2 / 2", "assistant") == "```\nx\n```"


TURNS = [("user", "What?"), ("assistant", "This.")]
ASKED, REPLIED = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "This."}
PARTS_OF_TEXT = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "at?"}]
FORMS = {  # of other trainers, each the same exchange
    "openai": {"messages": [{**ASKED, "name": "ann"}, {**REPLIED, "weight": 1}]},
    "openai parts": {"messages": [{"role": "user", "content": PARTS_OF_TEXT}, REPLIED]},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "This."}]
    },
    "alpaca": {"instruction": "What?", "input": "", "output": "This."},
    "completion": {"prompt": "What?", "completion": "This."},
    "ultrachat": {"id": "7", "data": ["What?", "This."]},
    "ultrachat_200k": {"prompt": "What?", "prompt_id": "ab", "messages": [ASKED, REPLIED]},
    "tulu": {
        "id": "1",
        "source": "x",
        "messages": [{**ASKED, "functions": None}, {**REPLIED, "function_calls": None}],
    },
}
REFUSED = {
    "tool_call": [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
    ],
    "weight_0": [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "This.", "weight": 0},
    ],
    "not_text": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
}
CHAT_COLUMNS = Columns(turns="messages", speaker="role", text="content")


@pytest.mark.parametrize("columns", [Columns(), CHAT_COLUMNS])
@pytest.mark.parametrize("name", FORMS)
def test_rows_of_other_trainers_are_read(name, columns):
    assert [
        (message.role, message.content) for message in cleaned_messages(FORMS[name], columns)
    ] == TURNS


def test_a_developers_text_is_the_system_message_and_an_input_stands_below_its_instruction():
    row = {
        "messages": [{"role": "developer", "content": "Be brief."}, *FORMS["openai"]["messages"]]
    }
    assert cleaned_messages(row, CHAT_COLUMNS)[0].role == "system"
    (asked, _) = cleaned_messages(
        {"instruction": "Add.", "input": "1, 2", "output": "3"}, Columns()
    )
    assert asked.content == "Add.\n\n1, 2"
    assert (
        cleaned_messages({"system": "Be brief.", **FORMS["alpaca"]}, Columns())[0].content
        == "Be brief."
    )


@pytest.mark.parametrize("reason", REFUSED)
def test_rows_that_cannot_be_trained_on_are_refused_by_name(reason):
    with pytest.raises(Odd, match=f"^{reason}$"):
        cleaned_messages({"messages": REFUSED[reason]}, CHAT_COLUMNS)


def test_pairs_and_raw_texts_are_refused_by_name():
    with pytest.raises(Odd, match="preference_pair"):
        cleaned_messages({"prompt": "a", "chosen": [], "rejected": []}, CHAT_COLUMNS)
    with pytest.raises(Odd, match="raw_text"):
        cleaned_messages({"text": "once upon a time"}, CHAT_COLUMNS)


def test_a_file_without_a_row_that_can_be_read_says_why(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"text": "a"}) + "\n" + json.dumps({"messages": REFUSED["weight_0"]}) + "\n"
    )
    with pytest.raises(
        UserError, match=r"none of 2 rows can be trained on \(raw_text 1, weight_0 1\)"
    ):
        read_candidates(
            Data(name="jsonl", source="jsonl", path=str(path), columns=CHAT_COLUMNS), Ledger()
        )


def test_html_that_a_user_asked_for_stays():
    table = "<table><tr><td>1</td></tr></table>\n<p>Two</p>"
    reply = "<div><p>Two</p><ul><li>one</li></ul></div>"
    assert clean(reply, "assistant", "Write the HTML of a list") == reply
    assert clean(table, "assistant", "And in two rows, as <table>?") == table
    form = "<div><form action='/x'><input name='a'></form></div>"
    assert clean(form, "assistant", "Now the form") == form
    assert clean(reply, "assistant", "List two things") == "Two\n\n- one"


def test_words_of_an_exported_page_stay_apart_where_a_space_or_a_line_break_parts_their_tags():
    page = (
        "<p><strong>Note</strong> <em>this</em>\n<code>x</code> <span>now</span> </p>\n"
        "<ul> <li>one</li>\n <li>two</li> </ul>"
    )
    assert clean(page, "assistant") == "**Note** *this* `x` now\n\n- one\n- two"


def test_an_id_that_stands_twice_counts_once(tmp_path):
    assert counts(written(tmp_path, [row("a", "What?", "b"), row("a", "c", "d")]))[0] == {
        "repeated_id": 1
    }


def test_markup_of_an_exported_page_is_cleaned_and_html_that_was_meant_stays():
    page = (
        "<div class='markdown'><p>Use <strong>this</strong>:</p><ol><li>one</li><li>two &amp; "
        "three</li></ol>"
        "<pre><code>a &lt; b\n</code></pre></div>"
    )
    assert clean(page, "assistant") == "Use **this**:\n\n1. one\n2. two & three\n\n```\na < b\n```"
    assert clean(page, "user") == page
    assert clean("Write `<div>` first: <div>hello</div> is a block.", "assistant").endswith(
        "is a block."
    )
    assert (
        clean("```pythonCopy code\nprint(1)\n```\nCopy code\nDone\r\n2 / 2", "assistant")
        == "```python\nprint(1)\n```\nDone"
    )
    assert clean("The score was 2 / 2 at last", "assistant") == "The score was 2 / 2 at last"


def test_the_first_rule_that_fits_gives_the_type():
    rules = compile_rules({"technical": TypeRule(user="code", reply="```"), **RULES})
    assert [
        type_of(*pair, rules)
        for pair in (("What CODE?", ""), ("What?", "```x"), ("What’s", ""), ("Hm", ""))
    ] == [
        "technical",
        "technical",
        "factual",
        "other",
    ]


def test_turns_beyond_the_limit_are_cut(tmp_path):
    found = counts(written(tmp_path, [row("a", *map(str, range(10)))]), max_turns=2)[1]
    assert [turn.user for turn in found["a"].turns] == ["0", "2"]


def test_rows_of_the_hubs_chat_form_are_read_by_column_names(tmp_path):
    path = tmp_path / "chat.jsonl"
    rows = [
        {
            "prompt_id": f"r{n}",
            "messages": [
                {"role": "user", "content": f"What {n}?"},
                {"role": "assistant", "content": "x"},
            ],
        }
        for n in range(3)
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))
    columns = Columns(id="prompt_id", turns="messages", speaker="role", text="content")
    for source in ("hf", "jsonl"):
        entry = Data(name=source, source=source, path=str(path), columns=columns, types=dict(RULES))
        assert sorted(item.id for item in read_candidates(entry, Ledger())) == ["r0", "r1", "r2"]


def test_counts_that_do_not_add_up_are_found():
    ledger = Ledger()
    ledger.stage("read", "rows").take(2)
    with pytest.raises(RunFailed, match="counts do not add up in read: 2 in, 0 out"):
        ledger.counts()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "web"}, "data.source=web is not allowed"),
        ({"source": "sharegpt", "types": {"poem": TypeRule()}}, "data.types.poem is not allowed"),
        (
            {"source": "sharegpt", "types": {"factual": TypeRule(user="("), "other": TypeRule()}},
            "not a regular expression",
        ),
        ({"source": "seed", "styles": ["cold"]}, "recipe.style=warm is not among data.styles"),
        ({"source": "seed", "styles": ["warm"]}, "data.rewriter.model is not set"),
        ({"source": "seed", "drop_faults": ["spelling"]}, "data.drop_faults=spelling"),
        ({"source": "seed", "length_ratio": [2, 1]}, "data.length_ratio"),
    ],
)
def test_a_wrong_entry_is_refused_at_the_door(changes, words):
    entry = Data(name="x", **changes)
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        check_data(entry, "warm")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "jsonl"}, "data.path is not set"),
        ({"source": "hf"}, "data.hub_id is not set"),
        (
            {"source": "sharegpt", "hub_id": "a/b", "revision": "main"},
            "data.revision=main must be the 40 hex digits",
        ),
    ],
)
def test_a_source_that_is_not_fixed_has_no_digest(changes, words):
    with pytest.raises(UserError, match=words):
        data_identity(Data(name="x", types=dict(RULES), **changes), Recipe(style="plain"))


@pytest.mark.skipif(
    not (SAMPLE / "sharegpt_like.json").exists(),
    reason="the sample data is not beside the repository",
)
@pytest.mark.parametrize(
    ("name", "rows"), [("sharegpt_like.json", 462), ("identity_dummy.json", 370)]
)
def test_the_sample_is_read_whole(name, rows):
    drops, found = counts(Path(SAMPLE / name))
    assert (drops, len(found)) == ({}, rows)


def test_a_broken_row_is_a_value_with_a_reason_and_a_line(tmp_path):
    found = list(stream_records(written(tmp_path, WHOLE[:50]), "conversations"))
    assert len(found) == 1 and isinstance(found[0], Broken) and found[0].reason == "truncated_file"
