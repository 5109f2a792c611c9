from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.questions import (
    JudgedQuestion,
    QuestionSet,
    load_questions,
    read_qrels,
    unknown_documents,
)

AD_HOC = """<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate in crime.
</top>

<top>
<num>Number: 302</num>
<title>Topic: Poliomyelitis &amp;
 Post-Polio</title>
</top>
"""
XML = """<?xml version="1.0"?>
<topics>
<topic number="1"><query>coronavirus origin</query><question>where from</question></topic>
<topic number="2"><query>coronavirus weather</query></topic>
</topics>
"""


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def beir(folder: Path, **qrels: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    write(folder / "queries.jsonl", {"_id": "q1", "text": "why"}, {"_id": "q2", "text": "how"})
    for name, lines in qrels.items():
        (folder / "qrels" / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return folder


def many(count: int) -> QuestionSet:
    return QuestionSet("many", tuple(JudgedQuestion(str(n), f"what is {n}", {}) for n in range(count)))


def test_json_lines_name_documents_by_id_or_by_grade(tmp_path: Path) -> None:
    path = write(
        tmp_path / "notes.jsonl",
        {"question": " why ", "relevant": ["d1", 2], "golden_answers": ["so", 7]},
        {"id": "x", "question": "how", "relevant": {"d1": 2, "d2": 0}, "type": "list"},
    )
    found = load_questions(path)
    assert found.name == "notes"
    assert found.questions == (
        JudgedQuestion("1", "why", {"d1": 1, "2": 1}, ("so", "7")),
        JudgedQuestion("x", "how", {"d1": 2, "d2": 0}, (), "list"),
    )


def test_cells_of_a_csv_hold_several_answers_and_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,question,golden_answers,relevant\nq1,"why, then",so | thus,d1|d2\nq2,how,,\n')
    assert load_questions(path).questions == (
        JudgedQuestion("q1", "why, then", {"d1": 1, "d2": 1}, ("so", "thus")),
        JudgedQuestion("q2", "how", {}, unanswerable=True),
    )


def test_a_beir_folder_has_the_questions_that_its_test_split_judges(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tiny", test="q1\td1\t2\n", train="q2\td2\t1\n")
    found = load_questions(folder)
    assert found.name == "tiny"
    assert found.questions == (JudgedQuestion("q1", "why", {"d1": 2}),)


def test_the_only_split_of_a_beir_folder_is_taken(tmp_path: Path) -> None:
    assert load_questions(beir(tmp_path / "a", dev="q2\td2\t1\n")).questions[0].id == "q2"
    with pytest.raises(UsageError, match=r"has no qrels/test\.tsv"):
        load_questions(beir(tmp_path / "b", dev="q2\td2\t1\n", train="q1\td1\t1\n"))


def test_qrels_beside_a_beir_folder_choose_its_questions(tmp_path: Path) -> None:
    folder = beir(tmp_path / "a", test="q1\td1\t1\n", train="q2\td2\t1\n")
    found = load_questions(folder, folder / "qrels" / "train.tsv")
    assert found.questions == (JudgedQuestion("q2", "how", {"d2": 1}),)


def test_topics_of_the_ad_hoc_tracks_with_closers_or_without(tmp_path: Path) -> None:
    path = tmp_path / "topics.301"
    path.write_text(AD_HOC)
    expected = [("301", "International Organized Crime"), ("302", "Poliomyelitis & Post-Polio")]
    assert [(q.id, q.text) for q in load_questions(path).questions] == expected
    path.write_text(AD_HOC.replace("</top>", ""))
    assert [(q.id, q.text) for q in load_questions(path).questions] == expected


def test_topics_in_xml_have_their_number_as_an_attribute(tmp_path: Path) -> None:
    path = tmp_path / "topics.xml"
    path.write_text(XML)
    found = load_questions(path)
    assert found.name == tmp_path.name
    assert [(q.id, q.text) for q in found.questions] == [
        ("1", "coronavirus origin"),
        ("2", "coronavirus weather"),
    ]


def test_a_topic_without_a_title_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("<top>\n<num> Number: 1\n<title> a\n</top>\n<top>\n<num> Number: 2\n</top>\n")
    with pytest.raises(UsageError, match=r"t\.txt:5 has no question"):
        load_questions(path)


@pytest.mark.parametrize(
    "qrels",
    [
        "q1 0 d1 2\nq1 0 d2 0\n\nq2 0 d1 1\n",
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1\t0\td1\t2\r\nq1\t0\td2\t0\r\nq2\t0\td1\t1\r\n",
    ],
)
def test_lines_of_id_and_question_are_judged_by_qrels(tmp_path: Path, qrels: str) -> None:
    (tmp_path / "a.tsv").write_text("q1\twhy\nq2\thow\nq3\twhen\n")
    (tmp_path / "a.qrels").write_text(qrels, newline="")
    found = load_questions(tmp_path / "a.tsv", tmp_path / "a.qrels").questions
    assert found == (
        JudgedQuestion("q1", "why", {"d1": 2, "d2": 0}),
        JudgedQuestion("q2", "how", {"d1": 1}),
        JudgedQuestion("q3", "when", {}),
    )


def test_document_ids_with_spaces_stand_between_tabs(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q1\tmy notes.md\t1\n")
    assert read_qrels(tmp_path / "qrels") == {"q1": {"my notes.md": 1}}


@pytest.mark.parametrize("line", ["q1 d1", "q1 0 d1 x", "q1 0 d1 1 more", "q1\td1\t0.5"])
def test_a_line_that_judges_nothing_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "qrels").write_text(f"q1 0 d1 1\n{line}\n")
    with pytest.raises(UsageError, match=r"qrels:2 is no judgement"):
        read_qrels(tmp_path / "qrels")


def test_several_files_are_one_set(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", {"id": "a", "question": "why"})
    two = write(tmp_path / "two.jsonl", {"id": "b", "question": "how"})
    found = load_questions([one, two])
    assert found.name == "one+two"
    assert [question.id for question in found.questions] == ["a", "b"]


def test_two_questions_with_one_id_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", {"id": "a", "question": "why"})
    two = write(tmp_path / "two.jsonl", {"id": "b", "question": "how"}, {"id": "a", "question": "when"})
    with pytest.raises(UsageError, match=r"two\.jsonl:2 has the id 'a' of an earlier question"):
        load_questions([one, two])


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "is not JSON"),
        ('{"question": "why \\ud83d"}', "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"a":' * 100_000, "is not JSON"),
        ('{"question": " "}', "has no question"),
        ('{"question": "why", "id": ""}', "has no id"),
        ('{"question": "why", "relevant": "d1"}', "has 'relevant' that is not a list of strings"),
        ('{"question": "why", "golden_answers": [null]}', "has 'golden_answers' that is not a list"),
        ('{"question": "why", "relevant": {"d1": 0.5}}', "that is no whole number"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, line: str, wrong: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "ok"}}\n\n{line}\n')
    with pytest.raises(UsageError, match=rf"q\.jsonl:3 .*{wrong}"):
        load_questions(path)


def test_several_bad_rows_are_one_message(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *[{"question": ""}] * 8)
    with pytest.raises(UsageError) as raised:
        load_questions(path)
    named = [f"{path}:{line} has no question" for line in range(1, 6)]
    assert str(raised.value) == f"{'; '.join(named)}; and 3 more."


def test_a_csv_without_questions_says_which_columns_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,why\n")
    with pytest.raises(UsageError, match="no column 'question' among id, text"):
        load_questions(path)
    path.write_text("id,question\n1,why,more\n")
    with pytest.raises(UsageError, match=r"a\.csv:2 has more cells than the header"):
        load_questions(path)
    path.write_text(f'id,question\n1,"{"never closed" * 20_000}\n')
    # Libraries raise this limit for the whole process.
    before = csv.field_size_limit(131_072)
    try:
        with pytest.raises(UsageError, match=r"a\.csv:2 is not CSV"):
            load_questions(path)
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("row", "unanswerable"),
    [
        ({"type": "unanswerable"}, True),
        ({"golden_answers": [], "relevant": []}, True),
        ({"golden_answers": [], "relevant": {}}, True),
        ({"golden_answers": []}, False),
        ({"relevant": []}, False),
        ({"golden_answers": [], "relevant": ["d1"]}, False),
        ({}, False),
    ],
)
def test_unanswerable_is_what_says_so_or_has_neither_answer_nor_document(
    tmp_path: Path, row: dict[str, Any], unanswerable: bool
) -> None:
    (question,) = load_questions(write(tmp_path / "q.jsonl", {"question": "why", **row})).questions
    assert question.unanswerable is unanswerable


@pytest.mark.parametrize("name", ["q.jsonl", "q.csv", "q.tsv", "q.txt"])
def test_what_holds_no_questions_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match="No such file"):
        load_questions(path)
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="is empty"):
        load_questions(path)
    path.write_bytes(b"\x89PNG\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="is not UTF-8"):
        load_questions(path)


def test_prose_is_not_read_as_questions(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Once upon a time.\n")
    with pytest.raises(UsageError, match="neither JSON lines"):
        load_questions(tmp_path / "a.txt")
    (tmp_path / "a.html").write_text("<html><title>Top</title></html>")
    with pytest.raises(UsageError, match="no question in"):
        load_questions(tmp_path / "a.html")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"id": "q1", "question": "why"}\n{"id": "q2", "question": "how"}\n'),
        ("a.csv", "id,question\nq1,why\nq2,how\n"),
        ("a.tsv", "q1\twhy\nq2\thow\n"),
        ("a.topics", "<top>\n<num> q1\n<title> why\n</top>\n<top>\n<num> q2\n<title> how\n</top>\n"),
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [(q.id, q.text) for q in load_questions(path).questions] == [("q1", "why"), ("q2", "how")]


def test_a_sample_is_the_same_for_the_same_seed_and_keeps_the_order() -> None:
    whole = many(100)
    drawn = whole.sample(10, seed=3)
    places = [int(question.id) for question in drawn.questions]
    assert len(places) == 10
    assert places == sorted(places)
    assert places != list(range(10))
    assert whole.sample(10, seed=3) == drawn
    assert whole.sample(10, seed=4) != drawn
    assert whole.sample(10, seed=3, limit=2).questions == drawn.questions[:2]
    assert whole.sample(None, seed=3, limit=2).questions == whole.questions[:2]
    assert whole.sample(200, seed=3) == whole


def test_binary_grades_are_0_and_1() -> None:
    graded = QuestionSet("g", (JudgedQuestion("1", "why", {"a": 3, "b": 1, "c": 0, "d": -1}),))
    assert graded.binary().questions[0].relevant == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert graded.questions[0].judged
    assert not replace(graded.questions[0], relevant={"c": 0, "d": -1}).judged


def test_the_fingerprint_is_that_of_the_questions_and_their_judgements() -> None:
    def of(relevant: dict[str, int], name: str = "g", **more: Any) -> str:
        return QuestionSet(name, (JudgedQuestion("1", "why", relevant, **more),)).fingerprint

    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1}, name="other")
    others = [of({"a": 1}), of({"a": 2}), of({"b": 1}), of({"a": 1}, golden_answers=("so",)), of({})]
    assert len(set(others)) == len(others)


def test_relevant_documents_that_a_corpus_lacks_are_known_by_question() -> None:
    questions = (
        JudgedQuestion("1", "why", {"a": 1, "b": 2, "zero": 0}),
        JudgedQuestion("2", "how", {"a": 1}),
        JudgedQuestion("3", "when", {"c": 1}),
    )
    assert unknown_documents(questions, lambda ids: {"a"} & set(ids)) == {"1": ["b"], "3": ["c"]}
