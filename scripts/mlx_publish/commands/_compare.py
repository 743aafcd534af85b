"""The command: a table of both sides, what cannot be compared, and which checks and answers differ."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from mlx_publish.commands._arguments import print_json
from mlx_publish.commands._columns import Column, print_columns
from mlx_publish.commands._compared import Difference, Row, answers, checks, noise, rows
from mlx_publish.commands._side import Side, side_of
from mlx_publish.evidence.clustered import unseen
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import one_line

_ANSWER = 200  # characters
_NAME = 24


def compare(options: argparse.Namespace, console: Console) -> int:
    """Print two variants or runs side by side."""
    a, b = (side_of(text, options.recipe, options.work) for text in (options.a, options.b))
    table = list(rows(a.evidence, b.evidence))
    differing, answered = checks(a.evidence, b.evidence), answers(a.evidence, b.evidence)
    console.heading("compare", f"A: {_name(a)}")
    console.say(f"       B: {_name(b)}")
    _print_rows(table, a, b, console)
    within = noise(a.evidence, b.evidence)
    if within and (clause := unseen(within.mean_kld)):
        console.say(f"mean KLD: {clause}{', passage by passage' if within.paired else ''}")
    _print_checks(differing, console)
    for answer in answered:
        console.say(f"another answer to {one_line(answer.name)}:")
        console.say(f"  A: {one_line(answer.a, _ANSWER)}")
        console.say(f"  B: {one_line(answer.b, _ANSWER)}")
    if not (differing or answered):
        console.say("checks and answers are the same")
    record = {
        "a": _side(a),
        "b": _side(b),
        "noise": asdict(within) if within else None,
        "rows": [asdict(row) for row in table],
        "checks": [asdict(check) for check in differing],
        "answers": [asdict(answer) for answer in answered],
    }
    print_json(options, record)
    return 0


def _name(side: Side) -> str:
    of = side.evidence.source
    return one_line(f"{side.name} ({side.evidence.variant.label} of {of.repo or of.name} at {of.identity[:12]})")


def _side(side: Side) -> dict[str, object]:
    source = side.evidence.source
    return {
        "name": side.name,
        "variant": side.evidence.variant.label,
        "source": source.repo or source.name,
        "commit": source.identity,
    }


def _print_rows(table: Sequence[Row], a: Side, b: Side, console: Console) -> None:
    names = [_short(side.name) for side in (a, b)]
    if names[0] == names[1]:
        names = ["A", "B"]
    columns = (
        Column(""),
        Column(names[0], right=True),
        Column(names[1], right=True),
        Column("B to A", 2, right=True),
    )
    cells = [(row.name, _short(row.a), _short(row.b), row.b_to_a or "-") for row in table]
    print_columns(console, columns, cells)
    reasons: dict[str, list[str]] = {}
    for row in table:
        if row.why:
            reasons.setdefault(row.why, []).append(row.name.partition(",")[0])
    for why, of in reasons.items():
        console.say(f"not comparable ({why}): {', '.join(dict.fromkeys(of))}")


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _print_checks(differing: Sequence[Difference], console: Console) -> None:
    if differing:
        columns = (Column("checks that differ"), Column("A"), Column("B"))
        print_columns(console, columns, [(check.name, check.a, check.b) for check in differing])
