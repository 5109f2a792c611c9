"""The report, of runs made by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.report.content import study, telling, warnings
from ragqa.evaluate.report.page import report_html
from ragqa.evaluate.runs import RankedPassage, Reply, Result, Run, RunInfo, RunKey

EVIL = '<script>alert("x")</script>&$x_1$'
VOID = {"meta", "link", "br", "img", "input", "hr"}


def question_set(count: int = 12, types: Sequence[str] = ("who", "when", "")) -> QuestionSet:
    return QuestionSet(
        "handbook",
        tuple(
            JudgedQuestion(f"q{n}", f"Question {n}?", {f"d{n}": 1}, (f"gold {n}",), types[n % len(types)])
            for n in range(count)
        ),
    )


def found(question: JudgedQuestion, rank: int, reply: Reply | None = None) -> Result:
    """A result whose relevant document is at `rank` of 30; 0 for nowhere."""
    documents = [f"other{n}" for n in range(1, 30)]
    if rank:
        documents.insert(rank - 1, next(iter(question.relevant)))
    ranking = tuple(RankedPassage(d, f"{d}#0", 1 / n, {}) for n, d in enumerate(documents, 1))
    return Result("done", ranking, {"encode": 1.0, "fts": 2.0 + rank}, reply)


def run_of(
    number: int,
    ranks: Sequence[int],
    questions: QuestionSet | None = None,
    replies: Mapping[int, Reply] | None = None,
    name: str | None = None,
) -> Run:
    """A run that finds the relevant document of each question at the rank given for it."""
    asked = questions or question_set(len(ranks))
    model = None if replies is None else "smollm2"
    info = RunInfo(
        id=number,
        batch=1,
        name=name or f"run{number}",
        created=f"2026-01-0{number}T10:00:00+00:00",
        key=RunKey(asked.fingerprint, "stages: []", "corpus-1", model, {}, "", 100, "0.1.0"),
        config_name="fts",
        corpus_path="/home/someone/secret/handbook.db",
        index_bytes=number * 2**20,
        device="cpu",
        environment={"processor": "A processor"},
        absent={},
    )
    results = {
        place: found(question, rank, (replies or {}).get(place))
        for place, (question, rank) in enumerate(zip(asked.questions, ranks, strict=True))
    }
    return Run(info, asked, results)


def three() -> list[Run]:
    return [run_of(1, [3, 0, 9] * 4), run_of(2, [1, 2, 0] * 4), run_of(3, [1, 1, 5] * 4)]


class _Page(HTMLParser):
    """Collects tags with attributes, and what is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            self.crossed.append(tag)

    def all(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def sane(page: str) -> _Page:
    """Check what holds of every report, and return it parsed."""
    parsed = _Page(page)
    assert not parsed.open
    assert not parsed.crossed
    assert "http:" not in page
    assert "https:" not in page
    assert not {"script", "link", "img", "iframe", "image"} & {tag for tag, _ in parsed.tags}
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    ids = parsed.all("id")
    assert len(ids) == len(set(ids))
    assert all(target[0] == "#" and target[1:] in ids for target in parsed.all("href"))
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)
    assert not re.search(r"#0[0a]0[\da-f]{3}\b", page), "a placeholder colour is left"
    for tag, attrs in parsed.tags:
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or (attrs["role"] == "img" and attrs["aria-label"])
    return parsed


def count(page: str, text: str) -> int:
    return page.count(text)


@pytest.mark.needs("report")
def test_a_report_has_all_its_parts() -> None:
    page = report_html(three())
    parsed = sane(page)
    for part in (
        '<html lang="en">',
        "Evaluation: handbook",
        "12: 12 judged,\n12 with golden answers,\n0 unanswerable",
        "<dd>handbook.db</dd>",
        "2026-01-01 10:00 to 2026-01-03 10:00 UTC",
        "cpu, A processor",
        "nDCG@10",
        "1.0 MB",
        '<td class="text best">run3 is better</td>',
    ):
        assert part in page, part
    assert "secret" not in page
    assert "Before you read the figures" not in page
    labels = [attrs["aria-label"] or "" for tag, attrs in parsed.tags if tag == "svg" and "role" in attrs]
    assert len(labels) == 4
    assert labels[0].startswith("nDCG@10 against median ms per question: run1 ")
    assert "untyped" in labels[3]


@pytest.mark.needs("report")
def test_the_best_is_marked_in_each_column() -> None:
    page = report_html(three())
    marked = re.findall(r'<td class="best"><span title="best">★</span> ([\d.]+)', page)
    # R@100 is run 3's too, as is Success@5: what has all.
    assert marked == ["0.796", "1.000", "0.733", "1.000"]


@pytest.mark.needs("report")
def test_the_same_runs_make_the_same_page() -> None:
    assert report_html(three()) == report_html(three())


@pytest.mark.needs("report")
def test_the_twenty_most_telling_questions_ties_by_place() -> None:
    ranks = [1, 2, 3, 0, 10] * 6
    runs = [run_of(1, [1] * 30), run_of(2, ranks)]
    told = telling(study(runs, None, "RR@10"))
    assert len(told) == 20
    nowhere, tenth, third = ([n for n in range(30) if ranks[n] == rank] for rank in (0, 10, 3))
    second = [n for n in range(30) if ranks[n] == 2]
    assert [item.question.id for item in told] == [f"q{n}" for n in [*nowhere, *tenth, *third, *second][:20]]
    page = report_html(runs, metric="RR@10")
    parsed = sane(page)
    assert count(page, "<details>") == 20
    # Each is linked from its dot, with a tooltip; the others have the tooltip alone.
    assert count(page, '<a href="#q-q') == 20
    assert count(page, '<circle class="dot') == 30
    assert count(page, "<title>Question") == 30
    assert len(parsed.all("href")) > 20


@pytest.mark.needs("report")
def test_what_is_relevant_is_said_in_words_and_where_it_is_below_the_top() -> None:
    page = report_html([run_of(1, [1, 1, 1]), run_of(2, [9, 0, 1])])
    assert count(page, "✓ relevant") == 2
    assert "First relevant document at rank 9." in page
    assert "No relevant document found." in page


@pytest.mark.needs("report")
def test_the_pair_and_the_metric_can_be_chosen() -> None:
    runs = three()
    page = report_html(runs, pair=(runs[1], runs[0]), metric="RR@10")
    sane(page)
    assert 'aria-label="RR@10 of run1 against run2 by question' in page
    assert "Differences on RR@10" in page


@pytest.mark.needs("report")
def test_one_run_has_neither_pairs_nor_scatter_nor_telling_questions() -> None:
    page = report_html(three()[:1])
    sane(page)
    for absent in ("Differences on", "by question: higher", "Telling questions", "★"):
        assert absent not in page


@pytest.mark.needs("report")
def test_runs_that_are_all_equal_have_no_best_and_nothing_to_tell() -> None:
    runs = [run_of(1, [1, 4] * 4), run_of(2, [1, 4] * 4)]
    page = report_html(runs)
    sane(page)
    assert 'title="best"' not in page
    assert "run1 and run2 do not differ on any question." in page
    assert "not significant" in page
    assert "higher on 0, equal on 8, lower on 0" in page


@pytest.mark.needs("report")
def test_questions_of_one_type_are_not_told_apart() -> None:
    questions = question_set(6, ("who",))
    page = report_html([run_of(1, [1, 2, 3] * 2, questions), run_of(2, [2, 1, 1] * 2, questions)])
    sane(page)
    assert "by type of question" not in page


@pytest.mark.needs("report")
def test_answers_are_shown_as_what_became_of_them() -> None:
    asked = question_set(5)
    replies = {
        0: Reply("It is gold 0 [1].", False, ("d0",), input_tokens=900, output_tokens=100, cost=0.25),
        1: Reply("I do not know.", True),
        2: Reply("", True),
    }
    told = run_of(1, [1, 1, 1, 1, 1], asked, replies)
    failed = replace(told.results[3], status="failed", reason="timeout <60 s>", reply=None)
    told = replace(told, results={**told.results, 3: failed})
    page = report_html([told, run_of(2, [0, 0, 0, 0, 0], asked)])
    sane(page)
    assert ">It is gold 0 [1].</p>" in page
    assert '<span class="state">refused</span>: I do not know.</p>' in page
    assert '<span class="state">refused</span></p>' in page
    assert '<span class="state">failed</span>: timeout &lt;60 s&gt;</p>' in page
    assert "No model was asked." in page
    assert "1 of 5 questions failed: timeout &lt;60 s&gt; (1)" in page
    for shown in ("F1", "CiteP", "<td>1,000</td>", "<td>0.25</td>"):
        assert shown in page


@pytest.mark.needs("report")
def test_without_answers_there_is_no_word_of_models() -> None:
    page = report_html(three())
    for absent in ("F1", "Tokens", "Cost", "No model was asked"):
        assert absent not in page


@pytest.mark.needs("report")
def test_warnings_say_what_the_figures_lack() -> None:
    first, second, third = three()
    first = replace(first, info=replace(first.info, absent={"q1": ["gone<1>"], "q2": []}))
    second = replace(second, results={place: second.results[place] for place in range(9)})
    elsewhere = replace(third.info.key, corpus="another corpus", code_version="0.2.0")
    third = replace(third, info=replace(third.info, key=elsewhere, device="cuda"))
    runs = [first, second, third]
    said = warnings(study(runs, None, None))
    assert [line.split(":")[0] for line in said] == [
        "run2 is incomplete",
        "run1",
        "The runs search different corpora, so differences may be the documents'",
        "The runs were made by different versions of the code",
        "The runs were made on different devices, so latencies cannot be compared",
    ]
    assert "handbook.db (corpus-1); handbook.db (another )" in said[2]
    page = report_html(runs)
    sane(page)
    assert "gone&lt;1&gt;" in page
    assert "9 questions</small>" in page


@pytest.mark.needs("report")
def test_what_documents_and_people_wrote_is_never_markup() -> None:
    evil = JudgedQuestion(EVIL, EVIL, {EVIL: 1}, (EVIL,), EVIL)
    asked = QuestionSet(EVIL, (evil, *question_set(3).questions))
    reply = Reply(EVIL, False)
    good = run_of(1, [1, 1, 2, 1], asked, {0: reply}, name=f"a {EVIL}")
    bad = run_of(2, [0, 2, 1, 1], asked, name=f"b {EVIL}")
    failed = replace(bad.results[1], status="failed", reason=EVIL)
    bad = replace(
        bad,
        results={**bad.results, 1: failed},
        info=replace(
            bad.info,
            absent={EVIL: [EVIL]},
            device=EVIL,
            config_name=EVIL,
            corpus_path=f"C:\\docs\\{EVIL.replace('/', '')}",
            environment={"processor": EVIL},
        ),
    )
    page = report_html([good, bad])
    sane(page)
    assert "<script" not in page
    assert "alert(" in page
    assert '<a href="#q-%3Cscript%3E' in page


@pytest.mark.needs("report")
def test_ids_with_spaces_are_linked() -> None:
    asked = QuestionSet("s", (JudgedQuestion("a b/ü", "?", {"d": 1}), *question_set(2).questions))
    page = report_html([run_of(1, [1, 1, 1], asked), run_of(2, [0, 1, 1], asked)])
    assert {'id="q-a%20b%2F%C3%BC"', '<a href="#q-a%20b%2F%C3%BC"'} <= set(
        re.findall(r'(?:<a href|\bid)="#?q-a[^"]*"', page)
    )
    sane(page)


@pytest.mark.needs("report")
def test_runs_over_questions_in_common_are_compared_over_those() -> None:
    large, small = question_set(8), question_set(8).sample(4, 1)
    page = report_html([run_of(1, [1, 0] * 4, large), run_of(2, [2, 1, 3, 1], small)])
    sane(page)
    assert "The runs are over different question sets: this is over the 4 they share." in page


@pytest.mark.needs("report")
def test_questions_without_judgements_can_be_reported_too() -> None:
    asked = QuestionSet("s", tuple(JudgedQuestion(f"q{n}", "?", {}) for n in range(3)))
    bare = run_of(1, [0, 0, 0], asked)
    page = report_html([bare, run_of(2, [0, 0, 0], asked)])
    sane(page)
    assert "Nothing can be measured" in page
    page = report_html([replace(bare, results={}), bare])
    sane(page)


@pytest.mark.needs("report")
def test_a_metric_that_one_run_lacks_leaves_pairs_out() -> None:
    asked = question_set(3)
    replies = {place: Reply("gold", False) for place in range(3)}
    page = report_html([run_of(1, [1, 1, 1], asked, replies), run_of(2, [2, 1, 1], asked)], metric="F1")
    sane(page)
    assert "1 pair has no question that both runs have a value for." in page


@pytest.mark.needs("report")
def test_one_question_is_enough() -> None:
    page = report_html([run_of(1, [1]), run_of(2, [3])])
    sane(page)
    assert "no interval" in page
    assert "The only question" in page
    assert not re.search(r"\bnan\b", page)


def test_a_report_needs_a_run_and_a_question_in_common() -> None:
    with pytest.raises(UsageError, match="no run"):
        report_html([])
    other = QuestionSet("s", (JudgedQuestion("z", "?", {"d": 1}),))
    with pytest.raises(UsageError, match="in common"):
        report_html([run_of(1, [1]), run_of(2, [1], other)])
    with pytest.raises(UsageError, match="no metric"):
        report_html(three(), metric="nonsense")


def test_importing_the_report_loads_nothing_heavy() -> None:
    code = "import sys, ragqa.evaluate.report.page as _; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
