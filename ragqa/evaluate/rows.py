"""Rows of the file of runs, and the values that they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragqa.evaluate.questions import JudgedQuestion
from ragqa.evaluate.runs import RankedPassage, Reply, Result, RunInfo, RunKey

# In the order in which `info_of` and `result_of` take them.
RUN_COLUMNS = (
    "id, batch, name, created, question_set, config_name, config, corpus, corpus_path, model, options,"
    " prompt, depth, code_version, device, environment, index_bytes, absent"
)
RESULT_COLUMNS = (
    "place, status, reason, attempts, ranking, timings_ms, answer, refused, cited, context, context_tokens,"
    " input_tokens, output_tokens, cost"
)
QUESTION_COLUMNS = "id, question, type, unanswerable, relevant, golden_answers"


def question_row(question: JudgedQuestion) -> tuple[Any, ...]:
    """Return a question as the columns of its row."""
    return (
        question.id,
        question.text,
        question.type,
        int(question.unanswerable),
        json.dumps(question.relevant, ensure_ascii=False),
        json.dumps(question.golden_answers, ensure_ascii=False),
    )


def question_of(row: tuple[Any, ...]) -> JudgedQuestion:
    identifier, text, kind, unanswerable, relevant, golden = row
    return JudgedQuestion(
        identifier, text, json.loads(relevant), tuple(json.loads(golden)), kind, bool(unanswerable)
    )


def result_row(result: Result) -> dict[str, Any]:
    """Return a result as the columns of its row."""
    reply = result.reply
    row: dict[str, Any] = {
        "status": result.status,
        "reason": result.reason,
        "attempts": result.attempts,
        "ranking": json.dumps(
            [
                [
                    p.document_id,
                    p.passage_id,
                    _short(p.score),
                    _short_all(p.scores),
                    *([p.page] if p.page else []),
                ]
                for p in result.ranking
            ],
            ensure_ascii=False,
        ),
        "timings_ms": json.dumps(dict(result.timings_ms)),
    }
    if reply is not None:
        row |= {
            "answer": reply.text,
            "refused": int(reply.refused),
            "cited": json.dumps(list(reply.cited), ensure_ascii=False),
            "context": reply.context,
            "context_tokens": reply.context_tokens,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "cost": reply.cost,
        }
    return row


def info_of(row: tuple[Any, ...], question_set: str) -> RunInfo:
    (identifier, batch, name, created, _, config_name, config, corpus, corpus_path, model, options,
     prompt, depth, code_version, device, environment, index_bytes, absent) = row  # fmt: skip
    key = RunKey(question_set, config, corpus, model, json.loads(options), prompt, depth, code_version)
    return RunInfo(
        id=identifier,
        batch=batch,
        name=name,
        created=created,
        key=key,
        config_name=config_name,
        corpus_path=corpus_path,
        index_bytes=index_bytes,
        device=device,
        environment=json.loads(environment),
        absent=json.loads(absent),
    )


def result_of(row: tuple[Any, ...]) -> Result:
    (_, status, reason, attempts, ranking, timings, answer, refused, cited, context, context_tokens,
     input_tokens, output_tokens, cost) = row  # fmt: skip
    reply = None
    if answer is not None:
        reply = Reply(
            text=answer,
            refused=bool(refused),
            cited=tuple(json.loads(cited)),
            context=context,
            context_tokens=context_tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=cost,
        )
    passages = tuple(RankedPassage(*passage) for passage in json.loads(ranking))
    return Result(status, passages, json.loads(timings), reply, reason, attempts)


def _short(value: float) -> float:
    """Return a score with as many digits as any ranking rests on."""
    return float(f"{value:.7g}")


def _short_all(scores: Mapping[str, float]) -> dict[str, float]:
    return {stage: _short(score) for stage, score in scores.items()}
