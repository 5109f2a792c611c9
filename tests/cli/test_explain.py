from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run, fill

QUESTION = "How warm is green tea steeped?"
SGR = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(*args: str | Path, **env: str) -> str:
    """Return what the command line prints on a terminal."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", **env}
    command = [sys.executable, "-m", "ragqa", *map(str, args)]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=settings) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            printed += piece
    os.close(ours)
    assert process.returncode == 0
    return printed.decode().replace("\r\n", "\n")


def test_without_colours_words_have_marks_and_stages_a_table(db: Path, ragqa: Run) -> None:
    done = ragqa("explain", QUESTION, "--db", db, "-k", "1")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert re.search("[«‹]Green[»›] [«‹]tea[»›] is [«‹]steeped[»›]", done.stdout)
    assert "(fts 1, dense 1, hybrid 1, colbert 1 -> rank 1)" in done.stdout
    assert re.search(r"query word +colbert +share +best match +fts +share +best match", done.stdout)
    assert re.search(
        r"^ +green +\d\.\d\d +\d+% +Green 0\.\d\d +\d+\.\d\d +\d+% +Green 1\.00$", done.stdout, re.M
    )
    assert done.stdout.strip().endswith("«strong» and ‹weaker› matches with a word of the question")


def test_a_terminal_gets_colours_unless_it_cannot_or_the_user_will_not(db: Path) -> None:
    args = ("explain", QUESTION, "--db", db, "-k", "1")
    colored = on_a_terminal(*args, NO_COLOR="")
    assert re.search(r"\x1b\[[0-9;]*48;5;\d+[0-9;]*mGreen\x1b\[0m", colored)
    assert "«" not in colored
    for env in ({"NO_COLOR": "1"}, {"NO_COLOR": "", "TERM": "dumb"}):
        printed = on_a_terminal(*args, **env)
        assert "\x1b" not in printed
        assert "«" in printed


def test_json_is_the_documented_form(db: Path, ragqa: Run) -> None:
    done = ragqa("explain", QUESTION, "--db", db, "--json", "-k", "2")
    found = json.loads(done.stdout)
    assert found.keys() == {"question", "config", "document", "candidates", "query_words", "hits"}
    words = found["query_words"]
    for word in words[:-1]:
        assert QUESTION[word["start"] : word["end"]] == word["text"]
    assert words[-1] == {"text": "[3 special tokens]", "start": 0, "end": 0}
    assert [hit["rank"] for hit in found["hits"]] == [1, 2]
    for hit in found["hits"]:
        assert hit["ranks"].keys() <= {"fts", "dense", "hybrid", "colbert", "fusion"}
        for matches in hit["matches"]:
            assert matches.keys() == {"stage", "total", "note", "text", "words", "query"}
            assert matches["total"] == pytest.approx(
                hit["scores"].get(matches["stage"], matches["total"]), 1e-4
            )
            assert sum(match["share"] for match in matches["query"]) == pytest.approx(
                matches["total"], abs=1e-4
            )
            assert matches["text"].endswith(hit["text"])
            for start, end, similarity, number in matches["words"]:
                assert matches["text"][start:end].strip()
                assert similarity <= 1.01
                assert number in {match["index"] for match in matches["query"]}
            for match in matches["query"]:
                assert words[match["index"]]["text"] == match["word"]
                assert match["best"] is None or matches["text"][slice(*match["best"])].strip()


def test_hostile_passages_act_on_no_terminal(tmp_path: Path, ragqa: Run) -> None:
    text = "Green \x1b[31mtea\x1b[0m \x9b5m \u202eneerg\u202c \x1b]0;title\x07 <script>alert(1)</script>"
    (tmp_path / "bad.txt").write_text(text, encoding="utf-8")
    fill(tmp_path / "bad.db", tmp_path / "bad.txt")
    args = ("explain", "green \x1b[32m tea", "--db", tmp_path / "bad.db", "-c", "fts")
    printed = on_a_terminal(*args, NO_COLOR="")
    assert not set(SGR.sub("", printed)) & set("\x1b\x9b\x07\u202e\u202c")
    assert "<script>alert(1)</script>" in SGR.sub("", printed)
    # What is left once our own colours are gone is the passage, character by character.
    plain = re.sub(r"[\x1b\x9b\x07\u202e\u202c]", "\ufffd", text)
    assert plain in SGR.sub("", printed)
    done = ragqa(*args, "--json")
    assert not set(done.stdout) & set("\x1b\x9b\x07\u202e\u202c")
    assert json.loads(done.stdout)["hits"][0]["matches"][0]["text"].endswith(text)


def test_a_document_that_is_not_found_is_explained_and_said_not_to_be(
    db: Path, ragqa: Run, tmp_path: Path
) -> None:
    config = tmp_path / "few.yaml"
    config.write_text("retrieve: {type: fts}\nrerank: {type: none}\ncandidates: 1\nk: 1\n")
    args = ("explain", QUESTION, "--db", db, "-c", config, "-k", "1", "--document", "garden.txt")
    done = ragqa(*args)
    assert "garden.txt#0, lines 1-3  (not among the 1 candidates)" in done.stdout
    assert json.loads(ragqa(*args, "--json").stdout)["hits"][0]["rank"] is None
    wrong = ragqa(*args[:-1], "gardn.txt")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "Error: There is no document 'gardn.txt'. Did you mean 'garden.txt'?\n"


def test_a_page_is_written_and_an_empty_result_says_so(db: Path, ragqa: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = ragqa("explain", QUESTION, "--db", db, "-c", "fts", "--html", page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"Written: {page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    nothing = ragqa("explain", "xylophone", "--db", db, "-c", "fts")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "No passage matches.\n")
    assert json.loads(ragqa("explain", "xylophone", "--db", db, "-c", "fts", "--json").stdout)["hits"] == []
    lost = ragqa("explain", QUESTION, "--db", db, "-c", "fts", "--html", tmp_path / "no" / "page.html")
    assert lost.returncode == 1
    assert lost.stderr.count("\n") == 1
