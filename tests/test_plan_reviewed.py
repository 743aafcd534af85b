"""The plan of a variant on its way: published as text, compared with the evidence, and never changed in a review."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hook_trees import evidence_of, make_tree, write_card
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.upload import UPLOAD, Parcel
from mlx_publish.evidence.digests import FileDigest, folder_digest, listing
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.planned import wrong_plan
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.hooks.faults import Options
from mlx_publish.hooks.mlx_card import look
from mlx_publish.hub.manifest import strangers
from mlx_publish.recipes.plan_text import plan_text
from mlx_publish.text import bounds
from mlx_publish.text.yaml import load_yaml
from pipeline import ROOT
from plans import a_plan
from samples import FILES
from samples_of_plans import make_learned, make_planned

PLAN = plan_text(a_plan())
DIGEST = hashlib.sha256(PLAN.encode()).hexdigest()
OTHER = PLAN.replace("{bits: 4,", "{bits: 5,")


def with_plan(data: Mapping[str, Any], text: str = PLAN, sha256: str = "") -> dict[str, Any]:
    """The same evidence with a plan among its files."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    found, files = copy.deepcopy(dict(data)), [*FILES, FileDigest(PLAN_FILE, len(text), digest)]
    found["model"] |= {"files": listing(files), "model": folder_digest(files)}
    quantization = copy.deepcopy(make_planned()["quantization"])
    quantization["plan"]["sha256"] = sha256 or digest
    return found | {"quantization": quantization}


GOOD = with_plan(make_planned())


def test_evidence_with_a_plan_agrees_with_itself() -> None:
    assert list(wrong_plan(Evidence.of(GOOD))) == []
    assert list(wrong_plan(Evidence.of(make_learned()))) == []


def _without_quantization(data: dict[str, Any]) -> object:
    return data.pop("quantization")


DISAGREES: dict[str, tuple[Any, str]] = {
    "another plan": (
        lambda e: e["quantization"]["plan"].update(sha256="0" * 64),
        "quantization.plan.sha256: says 0000",
    ),
    "another name": (lambda e: e["quantization"]["plan"].update(file="plan.yaml"), "quantization.plan.file: is not"),
    "a plan that is no file": (lambda e: e["model"]["files"].pop(), "which model.files does not list"),
    "a file without a plan": (lambda e: e["quantization"].pop("plan"), "names no plan, but model.files lists"),
    "nothing of what was chosen": (_without_quantization, "quantization: missing, but the variant's bits were chosen"),
}


@pytest.mark.parametrize("name", DISAGREES)
def test_evidence_that_disagrees_with_itself_about_the_plan_is_found(name: str) -> None:
    change, words = DISAGREES[name]
    data = copy.deepcopy(GOOD)
    change(data)
    assert words in " ".join(map(str, wrong_plan(Evidence.of(data))))


def of_upload(data: Mapping[str, Any], plan: str) -> Any:
    parcel = Parcel(Evidence.of(data), {}, "card", "card", (), plan=plan)
    return next(finding for finding in run_checks(UPLOAD, parcel) if finding.id == "plan-reviewed")


def test_the_plan_that_was_reviewed_is_the_one_that_the_weights_were_made_by() -> None:
    assert of_upload(GOOD, DIGEST).status == "pass"
    refused = of_upload(GOOD, "0" * 64)
    assert (refused.status, "the weights were made by the plan" in refused.message) == ("fail", True)
    assert "plan: FILE" in refused.remedy
    assert of_upload(GOOD, "").status == "fail"
    assert of_upload(make_learned(), "0" * 64).status == "fail"
    assert of_upload(make_learned(), "").status == "pass"


def test_bytes_that_a_learned_method_gives_on_another_machine_are_refused_with_the_reason() -> None:
    evidence = Evidence.of(make_learned())
    now = {file.path: file.sha256 for file in evidence.model.files} | {"config.json": "0" * 64}
    parcel = Parcel(evidence, now, "card", "card", (), rebuilt=now)
    found = {finding.id: finding for finding in run_checks(UPLOAD, parcel)}
    for name in ("bytes-unchanged", "rebuilt-equal"):
        assert found[name].status == "fail"
        assert "awq gives other bytes on another machine" in found[name].message
        assert "from the machine that converted it" in found[name].remedy
    planned = replace(parcel, evidence=Evidence.of(GOOD))
    assert not any("another machine" in finding.message for finding in run_checks(UPLOAD, planned))


NOT_PUBLISHED: dict[str, tuple[bytes, str]] = {
    "a script": (b"#!/bin/sh\nrm -rf ~\n", "a program, a pickle or an archive"),
    "a program": (b"\x7fELF" + bytes(64), "a program, a pickle or an archive"),
    "no text": (b"modules: \xff\xfe\xfa\x00", "is no text"),
    "a command to a terminal": (b"modules: \x1b[2J", "control character"),
    "a pickle of letters": (b"cos\nsystem\n(S'id'\ntR.", "a pickle"),
    "another text": (b"bits: 4\n", "is not a quantization plan of this version"),
    "a plan with a key of its own": (f"{PLAN}run: rm\n".encode(), "run: "),
    "a plan with fewer bits than a floor": (PLAN.replace("{bits: 4,", "{bits: 2,").encode(), "below the floor"),
    "a plan that makes an object": (PLAN.replace("rounding: ", "rounding: !!python/object:os.system ").encode(), "tag"),
}


@pytest.mark.parametrize("name", NOT_PUBLISHED)
def test_a_plan_that_is_something_else_is_not_sent(tmp_path: Path, name: str) -> None:
    content, words = NOT_PUBLISHED[name]
    (tmp_path / PLAN_FILE).write_text(PLAN)
    assert strangers(tmp_path) == []
    (tmp_path / PLAN_FILE).write_bytes(content)
    [stranger] = strangers(tmp_path)
    assert words in stranger


def test_a_plan_has_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bounds.PLAN_BYTES >= 126 * (4 * 53_248)  # a character for each column that flows into 126 layers of 405B
    monkeypatch.setattr(bounds, "PLAN_BYTES", len(PLAN))
    (tmp_path / PLAN_FILE).write_text(PLAN)
    assert strangers(tmp_path) == []
    (tmp_path / PLAN_FILE).write_text(f"{PLAN}\n")
    assert "too many for a plan" in strangers(tmp_path)[0]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card in a work tree, with the plan beside it."""
    monkeypatch.chdir(tmp_path)
    [recipe] = make_tree(tmp_path, 1)["mlx-recipe"]
    old = tmp_path / "cards/lab/Model-0-MLX-4bit"
    for path in old.iterdir():
        path.unlink()
    old.rmdir()
    written = {"notes": "Words of a person about *model 0*.\n\n- with a list\n"}
    folder = write_card(tmp_path, recipe, with_plan(evidence_of("model-0", "acme/Model-0", words=written)))
    (folder / PLAN_FILE).write_text(PLAN)
    return folder


def said(card: Path, name: str = PLAN_FILE) -> list[str]:
    faults = list(look([card.relative_to(Path.cwd()) / name], Options(recipes=Path("recipes"))))
    return [f"{fault} {fault.remedy}" for fault in faults]


def test_a_card_whose_plan_is_that_of_its_evidence_is_fine(card: Path) -> None:
    assert said(card) == []
    assert said(card, "README.md") == []


def test_whoever_edits_bits_in_a_review_is_told_to_pin_the_plan(card: Path) -> None:
    (card / PLAN_FILE).write_text(OTHER)
    [fault] = said(card)
    assert fault.startswith(f"cards/lab/Model-0-MLX-4bit/{PLAN_FILE}:1: differs from the plan that the weights were")
    assert "name it in the variant (plan: FILE), and run again" in fault


def test_a_plan_that_is_gone_from_a_review_or_is_no_text_is_found(card: Path) -> None:
    (card / PLAN_FILE).write_bytes(b"\x00\xff")
    assert "is no text" in said(card)[0]
    (card / PLAN_FILE).unlink()
    assert f"no {PLAN_FILE} next to it" in said(card, "README.md")[0]


def test_a_plan_beside_the_card_of_a_variant_that_has_none_is_found(card: Path) -> None:
    for path in sorted(card.iterdir()):
        path.unlink()
    card.rmdir()
    data = evidence_of(
        "model-0", "acme/Model-0", words={"notes": "Words of a person about *model 0*.\n\n- with a list\n"}
    )
    write_card(Path.cwd(), Path("recipes/model-0.yaml"), data)
    (card / PLAN_FILE).write_text(PLAN)
    assert "this variant was made without a plan Remove the file." in said(card)[0]


def test_the_hooks_are_asked_about_plans() -> None:
    hooks, _ = load_yaml(ROOT / ".pre-commit-hooks.yaml")
    files = {hook["id"]: re.compile(hook["files"]) for hook in hooks}
    assert files["mlx-card"].search(f"cards/lab/Model/{PLAN_FILE}")
    assert files["mlx-model-config"].search(f"models/m/{PLAN_FILE}")
    assert not files["mlx-recipe"].search(f"recipes/plans/{PLAN_FILE}")
