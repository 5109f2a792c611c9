"""How comparisons of runs look: differences, changes, the gate, tuning, judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.cli.figures import about, finite, interval, mean_json, number, p_value
from ragqa.cli.show import note, print_table, say, say_text

if TYPE_CHECKING:
    from ragqa.evaluate.comparison import Change
    from ragqa.evaluate.gate import Gate
    from ragqa.evaluate.judging import Judged
    from ragqa.evaluate.runs import Run
    from ragqa.evaluate.significance import Difference
    from ragqa.evaluate.tune import Tuned

SHOWN_DOCUMENTS = 5

# -- comparisons ------------------------------------------------------------------------------


def print_differences(runs: Sequence[Run], differences: Sequence[Difference]) -> None:
    """Print, metric by metric, each pair's difference and whether it is more than chance."""
    for metric in dict.fromkeys(difference.metric for difference in differences):
        listed = [difference for difference in differences if difference.metric == metric]
        say(f"{metric}, {listed[0].mean.count:,} questions")
        table = [
            ["b less a", "difference", "95% interval", "p", "p (Holm)", "wins/ties/losses", "would show"]
        ]
        for one in listed:
            table.append(
                [
                    f"{one.b} less {one.a}",
                    f"{one.mean.value:+.3f}",
                    interval(one.mean),
                    p_value(one.p),
                    p_value(one.adjusted_p),
                    f"{one.wins}/{one.ties}/{one.losses}",
                    number(one.detectable),
                ]
            )
        print_table(table)
        certain = [one for one in listed if one.significant]
        for one in certain:
            say(verdict(one))
        if len(listed) == 1 and not certain:
            say(verdict(listed[0]))
        elif not certain:
            say(f"None of these {len(listed):,} differences is significant: each could be chance.")
        elif len(certain) < len(listed):
            left = len(listed) - len(certain)
            say(f"The other {f'{left:,} differences are' if left > 1 else 'difference is'} not significant.")
        say()


def verdict(one: Difference) -> str:
    """Return what a difference says, in a sentence."""
    if not one.significant:
        if one.wins == one.losses == 0:
            return f"{one.a} and {one.b} do the same on every question."
        return (
            f"{one.a} and {one.b}: the difference is not significant. This set would have shown "
            f"{number(one.detectable)} four times in five."
        )
    better, worse = (one.b, one.a) if one.mean.value > 0 else (one.a, one.b)
    return f"{better} is better than {worse}, by {abs(one.mean.value):.3f} (p {p_value(one.adjusted_p)})."


def differences_json(runs: Sequence[Run], differences: Sequence[Difference]) -> dict[str, Any]:
    """Return the documented form of `eval compare --json`."""
    return {
        "runs": [about(run.info) for run in runs],
        "differences": [difference_json(difference) for difference in differences],
    }


def difference_json(one: Difference) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "a": one.a,
        "b": one.b,
        "difference": mean_json(one.mean),
        "p": one.p,
        "adjusted_p": one.adjusted_p,
        "significant": one.significant,
        "wins": one.wins,
        "ties": one.ties,
        "losses": one.losses,
        "detectable": finite(one.detectable),
    }


def diff_json(a: Run, b: Run, metric: str, changes: Sequence[Change]) -> dict[str, Any]:
    """Return the documented form of `eval diff --json`."""
    return {
        "a": about(a.info),
        "b": about(b.info),
        "metric": metric,
        "changes": [
            {
                "id": a.questions[change.place].id,
                "question": a.questions[change.place].text,
                "a": change.a,
                "b": change.b,
                "documents": [_documents(run, change, a) for run in (a, b)],
                "answers": [_said(run, change, a) for run in (a, b)],
            }
            for change in changes
        ],
    }


def print_diff(a: Run, b: Run, metric: str, changes: Sequence[Change], limit: int) -> None:
    better = sum(change.b > change.a for change in changes)
    say(f"{metric}: {b.label} is better on {better:,} questions, {a.label} on {len(changes) - better:,}.")
    for change in changes[:limit]:
        question = a.questions[change.place]
        say()
        say(f"{question.id}: {question.text}")
        relevant = [document for document, grade in question.relevant.items() if grade > 0]
        if relevant:
            say(f"  relevant: {', '.join(relevant)}")
        for run, value in ((a, change.a), (b, change.b)):
            found = ", ".join(_documents(run, change, a)[:SHOWN_DOCUMENTS]) or "nothing"
            say(f"  {value:.3f} {run.info.name}: {found}")
            said = _said(run, change, a)
            if said is not None:
                say(f"        {' '.join(said.split())}")
    if len(changes) > limit:
        note(f"{len(changes) - limit:,} more questions changed: --limit shows them.")


# -- gate, tuning, judges ---------------------------------------------------------------------


def gate_json(before: Run, now: Run, gate: Gate) -> dict[str, Any]:
    """Return the documented form of `eval check --json`."""
    return {
        "baseline": about(before.info),
        "run": about(now.info),
        "passed": not gate.losses,
        "differences": [difference_json(difference) for difference in gate.differences],
    }


def print_gate(before: Run, now: Run, gate: Gate) -> None:
    table = [["metric", "difference", "95% interval", "p (Holm)", "would show", ""]]
    for one in gate.differences:
        state = "LOSS" if one in gate.losses else "gain" if one.significant else "not significant"
        cells = [
            f"{one.mean.value:+.3f}",
            interval(one.mean),
            p_value(one.adjusted_p),
            number(one.detectable),
        ]
        table.append([one.metric, *cells, state])
    print_table(table, left=(0, 5))
    count = gate.differences[0].mean.count
    if gate.losses:
        names = ", ".join(one.metric for one in gate.losses)
        say(f"Significantly worse than the baseline {before.info.name} over {count:,} questions: {names}.")
    else:
        say(f"Not significantly worse than the baseline {before.info.name} over {count:,} questions.")


def tuned_json(tuned: Tuned, output: Path) -> dict[str, Any]:
    """Return the documented form of `eval tune --json`."""
    return {
        "written": str(output),
        "config": tuned.best.model_dump(mode="json"),
        "trials": [{"number": trial.number, "value": trial.value} for trial in tuned.trials],
        "held_back": difference_json(tuned.difference),
    }


def print_tuned(tuned: Tuned, output: Path) -> None:
    say_text(tuned.yaml().rstrip())
    one = tuned.difference
    say()
    say(
        f"On {one.mean.count:,} questions kept from the search: {one.mean.value:+.3f} {one.metric} "
        f"({interval(one.mean)}), p {p_value(one.p)}."
    )
    say(verdict(one))
    note(f"Written: {output}")


def judged_json(judged: Judged) -> dict[str, Any]:
    about = judged.agreement
    return {
        "a": judged.a,
        "b": judged.b,
        "grade": judged.grade,
        "questions": about.questions,
        "verdicts": about.verdicts,
        "failures": about.failures,
        "agreement": finite(about.share),
        "position_bias": finite(about.position_bias),
    }


def print_judged(judged: Sequence[Judged]) -> None:
    """Print what a judge made of runs, and how far it agrees with itself."""
    for one in judged:
        about = one.agreement
        points = "" if one.b is None else " of the points"
        grade = "no verdict" if one.grade is None else f"{one.grade:.3f}{points}"
        what = f"{one.a}: {grade}" if one.b is None else f"{one.a} against {one.b}: {grade}"
        same = "" if math.isnan(about.share) else f", agrees with itself on {about.share:.0%}"
        first = (
            ""
            if math.isnan(about.position_bias)
            else f", took the one shown first on {about.position_bias:.0%}"
        )
        failed = f", {about.failures:,} without a verdict" if about.failures else ""
        say(f"Judge: {what} ({about.verdicts:,} verdicts{failed}{same}{first})")


def _documents(run: Run, change: Change, a: Run) -> list[str]:
    return run.results[_place(run, change, a)].documents


def _said(run: Run, change: Change, a: Run) -> str | None:
    reply = run.results[_place(run, change, a)].reply
    return None if reply is None else reply.text


def _place(run: Run, change: Change, a: Run) -> int:
    """Return where the question that changed is in `run`; its place is counted in `a`."""
    if run is a:
        return change.place
    wanted = a.questions[change.place].id
    return next(place for place, question in enumerate(run.questions) if question.id == wanted)
