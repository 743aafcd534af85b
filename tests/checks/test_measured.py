"""What is said of an answer, a comparison and a speed."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.measured import BENCHMARK, FIDELITY, SMOKE
from mlx_publish.report import Finding

EXCHANGE = {"answer": "A satellite.", "tokens": [5, 6, 2], "prompt_tokens": 9, "stop": "stop", "stop_id": 2}
PROBES = {"system+user": {"text": "S U"}, "user": {"text": "U"}, "several turns": {"text": "U A U"}}
SMOKED: dict[str, Any] = {
    "warnings": [], "chat_template": True, "system_role": "native", "probes": PROBES, "stop_ids": [2],
    "vocabulary": 100, "exchange": EXCHANGE,
}  # fmt: skip
COMPARED: dict[str, Any] = {
    "positions": 512, "mean_kld": 0.05, "mean_kld_error": 0.002, "max_kld": 1.5, "same_first_choice": 0.9,
    "perplexity": 12.0, "perplexity_source": 11.5,
}  # fmt: skip
TIMED: dict[str, Any] = {"generation_tps": {"median": 99.0, "lowest": 95.0, "highest": 101.0}, "trials": [1, 2, 3]}


def find(check: str, result: dict[str, Any]) -> Finding:
    (found,) = (
        finding
        for checks in (SMOKE, FIDELITY, BENCHMARK)
        if check in {one.id for one in checks}
        for finding in run_checks(checks, result)
        if finding.id == check
    )
    return found


def exchange(**changes: Any) -> dict[str, Any]:
    return SMOKED | {"exchange": EXCHANGE | changes}


def test_good_results_pass_every_check() -> None:
    found = (*run_checks(SMOKE, SMOKED), *run_checks(FIDELITY, COMPARED), *run_checks(BENCHMARK, TIMED))
    assert [finding.id for finding in found] == [
        "loads", "template-renders", "system-role", "answers", "stops", "finite", "mean-kld", "same-first-choice",
        "steady",
    ]  # fmt: skip
    assert {finding.status for finding in found} == {"pass"}
    assert find("answers", SMOKED).message == "2 tokens in answer to 9"
    assert find("mean-kld", COMPARED).message == "mean KLD 0.0500 ± 0.0020 nats"
    assert find("steady", TIMED).message == "95.0 to 101.0 generation tokens/s in 3 trials"


FAILING: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "template-renders",
        SMOKED | {"probes": PROBES | {"user": {"error": "TemplateError: no"}}},
        "cannot render one user turn: TemplateError: no",
        "template",
    ),
    ("answers", exchange(tokens=[5, 100, 2]), "the id 100, outside the vocabulary", "tokenizer"),
    ("answers", exchange(tokens=[-1, 2]), "the id -1, outside", "tokenizer"),
    ("answers", exchange(answer=" \n"), "the answer is empty", "smoke.json"),
    ("answers", exchange(tokens=[7] * 9, stop="length"), "one token for ever", "bits"),
    ("stops", SMOKED | {"stop_ids": []}, "no id that ends an answer", "eos_token_id"),
    ("finite", COMPARED | {"max_kld": None, "perplexity": None}, "not a number: max_kld, perplexity", "source"),
    ("mean-kld", COMPARED | {"mean_kld": 1.001}, "mean KLD 1.0010 ± 0.0020 nats, above the limit of 1.0", "more bits"),
    ("same-first-choice", COMPARED | {"same_first_choice": 0.249}, "24.9% of positions, too few", "more bits"),
]


@pytest.mark.parametrize(("check", "result", "message", "remedy"), FAILING)
def test_failures_name_cause_and_next_step(check: str, result: dict[str, Any], message: str, remedy: str) -> None:
    found = find(check, result)
    assert (found.id, found.status) == (check, "fail")
    assert message in found.message
    assert remedy in found.remedy


FOLDED = SMOKED | {"system_role": "folded"}
WARNING: list[tuple[str, dict[str, Any], str]] = [
    ("loads", SMOKED | {"warnings": ["one", "two"]}, "loading said 2 thing(s), first: one"),
    ("template-renders", SMOKED | {"chat_template": False, "probes": {}}, "no chat template"),
    (
        "template-renders",
        SMOKED | {"probes": PROBES | {"several turns": {"error": "roles must alternate"}}},
        "refuses: several turns (roles must alternate)",
    ),
    (
        "system-role",
        FOLDED | {"probes": PROBES | {"system+user": {"error": "System role not supported"}}},
        "no system role (System role not supported)",
    ),
    ("system-role", FOLDED, "no system role (the system text does not arrive)"),
    (
        "steady",
        TIMED | {"generation_tps": {"lowest": 70.0, "highest": 100.0}},
        "unsteady: 70.0 to 100.0 generation tokens/s",
    ),
]


@pytest.mark.parametrize(("check", "result", "message"), WARNING)
def test_warnings_name_the_thing(check: str, result: dict[str, Any], message: str) -> None:
    found = find(check, result)
    assert (found.id, found.status) == (check, "warn")
    assert message in found.message


def test_all_that_loading_said_is_kept() -> None:
    assert find("loads", SMOKED | {"warnings": ["one", "two"]}).details == {"warnings": ["one", "two"]}


@pytest.mark.parametrize(
    ("check", "result"),
    [
        ("mean-kld", COMPARED | {"mean_kld": None}),
        ("same-first-choice", COMPARED | {"same_first_choice": None}),
    ],
)
def test_a_number_that_is_none_is_not_judged_twice(check: str, result: dict[str, Any]) -> None:
    assert find(check, result).status == "skip"
    assert find("finite", result).status == "fail"


@pytest.mark.parametrize(
    ("check", "result", "message"),
    [
        (
            "template-renders",
            FOLDED | {"probes": PROBES | {"system+user": {"error": "no"}}},
            "the chat template renders",
        ),
        ("system-role", SMOKED | {"system_role": "none"}, "no template that could have one"),
        ("answers", exchange(tokens=[5, 6, 100]), "2 tokens"),
        ("answers", exchange(tokens=[7] * 8, stop="length"), "8 tokens"),
        ("stops", exchange(stop="length", tokens=[1] * 96), "cut at the limit of 96 tokens"),
        ("mean-kld", COMPARED | {"mean_kld": 1.0, "mean_kld_error": None}, "mean KLD 1.0000 ± 0.0000"),
        ("same-first-choice", COMPARED | {"same_first_choice": 0.25}, "25.0%"),
        ("steady", TIMED | {"generation_tps": {"lowest": 75.0, "highest": 100.0}}, "75.0 to 100.0"),
    ],
)
def test_at_the_edge_it_passes(check: str, result: dict[str, Any], message: str) -> None:
    found = find(check, result)
    assert found.status == "pass"
    assert message in found.message
