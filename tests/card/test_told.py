"""What of the checks, the licence and the limits a reader is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mlx_publish.card.licence import legal_files, licence_words, link_that_leads
from mlx_publish.card.limits import limits, passed, remarks
from mlx_publish.card.words import same_logits
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.measurements import ProofSpec, TextProof
from samples import judged, make_evidence, record

FULL = make_evidence()


def test_checks_stand_by_what_became_of_them() -> None:
    found = remarks(Evidence.of(FULL))
    assert {group: [one["id"] for one in ones] for group, ones in found.items()} == {
        "accepted": ["perplexity"],
        "fixed": ["tokenizer-portable"],
        "warn": ["stops"],
    }
    assert found["accepted"][0] == {"id": "perplexity", "message": "the limit is 1", "reason": "Wanted for phones"}
    assert passed(Evidence.of(FULL)) == 2


def test_what_was_so_for_an_hour_is_not_told() -> None:
    assert remarks(record(checks=[judged("inspect", "revision", "warn", "a branch moves")]))["warn"] == []


def licensed(**licence: Any) -> Evidence:
    return record(licence={"id": "other", "name": "Own", "link": None} | licence)


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("https://example.org/x?y#z", "https://example.org/x?y#z"),
        ("LICENSE", "LICENSE"),
        ("./LICENSE", "LICENSE"),
        ("LICENSE#part", "LICENSE#part"),
        ("MISSING.md", None),
        ("../LICENSE", None),
        ("javascript:alert(1)", None),
        ("/LICENSE", None),
        (None, None),
        ("https://exa mple.org", None),
    ],
)
def test_a_link_is_printed_only_where_it_leads_somewhere(link: Any, leads: str | None) -> None:
    found = licensed(link=link)
    assert link_that_leads(found) == leads
    assert licence_words(found) == (f"[Own]({leads})" if leads else "Own")


def test_a_licence_has_its_name_or_its_identifier() -> None:
    assert licence_words(Evidence.of(FULL)) == "apache-2.0"
    assert licence_words(licensed(id=None, name=None)) == "not known"
    assert legal_files(Evidence.of(FULL)) == ["LICENSE"]


def with_(**sections: Any) -> Evidence:
    """Changes by section, as `smoke={...}`; None takes the section away."""
    found = copy.deepcopy(FULL)
    for name, changes in sections.items():
        found[name] = changes if changes is None or isinstance(changes, list) else found[name] | changes
    return Evidence.of(found)


LIMITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("on a CPU in float32", {"smoke": {"computed_in": "float32"}}, {}),
    ("on an NVIDIA GPU, by MLX's CUDA backend", {"benchmark": {"backend": "cuda", "gpu": "NVIDIA H100"}}, {}),
    (
        "on an NVIDIA GPU, by MLX's CUDA backend",
        {"benchmark": None, "tools": {"mlx-cuda-13": "0.32.4"}},
        {"benchmark": None},
    ),
    ("Not proven: that MLX", {}, {"checks": [judged("fidelity", "architecture-proven", "pass", "x")]}),
    (
        "Not proven: that MLX",
        {"checks": [judged("inspect", "twin-equal", "skip", "x")]},
        {"checks": [judged("inspect", "twin-equal", "pass", "x")]},
    ),
    (
        "Not proven: that MLX",
        {"checks": [judged("inspect", "twin-equal", "warn", "x (accepted: y)", "y")]},
        {"checks": [judged("inspect", "twin-equal", "warn", "x")]},
    ),
    ("No prompt longer than 556 tokens", {}, {"config": {"context": 556}}),
    ("sliding window", {"checks": [judged("smoke", "long-prompt", "skip", "x")]}, {}),
    ("only English answers were checked, not de and fr", {"language": ["en", "de", "fr"]}, {}),
    ("the 6 other languages", {"language": ["de", "fr", "es", "it", "pt", "pl"]}, {"language": ["en", "en-GB"]}),
    ("thinking off, not with thinking on", {"smoke": {"options": {"enable_thinking": False}}}, {}),
    (
        "how well the model calls them",
        {},
        {"smoke": {"capabilities": FULL["smoke"]["capabilities"] | {"tools": "ignored"}}},
    ),
    ("other template engines", {}, {"checks": [judged("smoke", "other-engines", "pass", "x")]}),
    ("The source takes images", {"source": {"pipeline_tag": "image-text-to-text"}}, {}),
    ("Knowledge, reasoning, code and safety were not tested", {}, {}),
]


@pytest.mark.parametrize(("words", "so", "not_so"), LIMITS)
def test_a_limit_is_told_where_it_is_one(words: str, so: dict[str, Any], not_so: dict[str, Any]) -> None:
    assert any(words in limit for limit in limits(with_(**so)))
    if so or not_so:
        assert not any(words in limit for limit in limits(with_(**not_so)))


def test_what_was_not_measured_has_no_limits_but_that_nothing_was_tested_or_proven() -> None:
    told = limits(with_(smoke=None, fidelity=None, benchmark=None, checks=[]))
    assert [text.partition(":")[0] for text in told] == [
        "Not proven",
        "Knowledge, reasoning, code and safety were not tested, neither on this model nor on its source.",
    ]


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((1e-13, 3.4e-12), "the same logits (normalised squared error 3.4e-12)"),
        ((1e-13, 0.25), "other logits (normalised squared error 2.5e-01)"),
        ((None, 1e-13), "logits that could not be compared"),
    ],
)
def test_what_the_twin_showed_is_told_in_words(errors: tuple[float | None, ...], words: str) -> None:
    texts = [TextProof(nmse=error, mean_kld=None, same_first_choice=None) for error in errors]
    assert same_logits(ProofSpec(against="transformers", versions={}, mlx_lm={}, texts=texts)) == words
