"""What inspect says of a source whose result is large, by its headers alone."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headers import facts
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.listed import wrong_list
from mlx_publish.children.engine import Children
from mlx_publish.context import Context
from mlx_publish.converters import CONVERTERS
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.hub.limits import GB, Storage
from mlx_publish.model.size import estimate_bytes
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.recipe import Destination, Variant
from mlx_publish.source import room
from mlx_publish.source.room import judge_load
from mlx_publish.text.progress import Step
from samples import list_of_checks, make_evidence

EXPERTS = tuple(
    TensorInfo(f"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight", "BF16", (2048, 7168), 2 * 2048 * 7168)
    for layer in range(61)
    for expert in range(1100)
)
"""984 billion weights in 67,100 tensors, as the largest models have them."""
LAYER = TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (1000, 64_000), 2 * 64_000_000)


def of(tensors: tuple[TensorInfo, ...], **recipe: Any) -> SourceFacts:
    found = facts(**recipe)
    vars(found.source)["tensors"] = tensors
    return found


def judged(found: SourceFacts, *planned: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return status and message of what is said, and what is printed."""
    printed: list[str] = []

    def progress(step: Step) -> None:
        assert step.stays
        printed.append(step.what)

    console = SimpleNamespace(progress=progress)
    parts: dict[str, Any] = {"once": lambda *_: CONVERTERS[0], "children": Children()}
    context = SimpleNamespace(recipe=found.recipe, planned=frozenset(planned), console=console, **parts)
    said = judge_load(cast("Context", context), found.source, found.variant)
    return [(finding.status, finding.message) for finding in said], printed


def test_of_an_ordinary_model_nothing_is_said() -> None:
    assert judged(of((LAYER,) * 100)) == ([], [])


def test_a_public_model_of_more_than_a_terabyte_needs_a_plan() -> None:
    [(status, message)], _ = judged(of(EXPERTS, variants=["8bit"]))
    assert status == "warn"
    assert "the estimate has 1.0 TB for a public repo" in message
    assert "commit" not in message  # 195 files


def test_a_result_in_more_files_than_the_client_commits_at_once_is_told() -> None:
    [(_, message)], _ = judged(of(EXPERTS, variants=["bf16"]))
    assert "376 files for one commit" in message
    assert "2.0 TB for a public repo" in message


def test_a_private_model_is_compared_with_the_private_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def storage_of(repo: str) -> Storage:
        asked.append(repo)
        return Storage("acme", False, 61 * GB)

    monkeypatch.setattr(room, "storage_of", storage_of)
    tensors = (LAYER,) * 3000
    [(status, message)], printed = judged(of(tensors, private=True))
    assert (status, printed, asked) == ("warn", [], [])
    assert message == "the estimate has 108 GB for a private repo, and an account without a plan stores 100 GB"
    # What the account has stored is of the hour: it is printed where something is published, and is no evidence.
    [(_, same)], printed = judged(of(tensors, private=True), "upload")
    assert same == message
    assert printed == ["hub-limits: acme has no paid plan and 61.0 GB in private repos"]
    assert judged(of((LAYER,) * 1500, private=True), "upload") == ([], printed)
    assert judged(of((LAYER,) * 100, private=True), "upload") == ([], [])
    assert asked == ["acme/out"] * 2


def test_a_folder_has_no_limits_of_the_hub(tmp_path: Any) -> None:
    found = of(EXPERTS, variants=["bf16"], private=True)
    there = {label: Destination(folder=tmp_path) for label in found.recipe.destinations}
    assert judged(replace(found, recipe=replace(found.recipe, destinations=there))) == ([], [])


def test_a_hundred_thousand_tensors_are_estimated_at_once() -> None:
    begun = time.process_time()
    assert estimate_bytes(EXPERTS, Variant(bits=4)) == sum(tensor.size for tensor in EXPERTS) * 4.5 / 8
    assert time.process_time() - begun < 3  # as slow as it was, this took half a minute


@pytest.mark.parametrize("told", [True, False])
def test_evidence_lists_the_limits_where_something_was_said_of_them(*, told: bool) -> None:
    checks = list_of_checks()
    if told:
        checks.append({"stage": "inspect", "id": "hub-limits", "status": "warn", "message": "much", "accepted": None})
    assert not list(wrong_list(Evidence.of(make_evidence(checks=checks))))
