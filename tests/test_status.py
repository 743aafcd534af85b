"""`status`: how far each variant has come, and what it holds on this disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from conftest import Published
from pipeline import User, read_json
from samples_that_see import make_seeing

COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


@pytest.fixture
def work(published: Published, user: User) -> Path:
    """A work folder in which all was done, beside its recipe."""
    user.environment  # noqa: B018  makes the home
    (user.home / "recipes").mkdir()
    text = f"source: {published.source}\nbase_model: acme/base\nvariants: [4bit, 8bit]\nto: folder:../out-{{variant}}\n"
    (user.home / "recipes" / "Scripted.yaml").write_text(text)
    return published.copy_work(user.home / "work")


def cached(user: User, repo: str, commit: str, content: bytes) -> Path:
    """Put a model into the Hub's cache of a user, as huggingface_hub keeps it."""
    folder = user.home / "huggingface" / "hub" / f"models--{repo.replace('/', '--')}"
    blob, snapshot = folder / "blobs" / commit, folder / "snapshots" / commit
    for path in (blob.parent, snapshot, folder / "refs"):
        path.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    os.utime(blob, (1, 1))
    (snapshot / "model.safetensors").symlink_to(blob)
    return snapshot


@pytest.mark.usefixtures("work")
def test_stage_verdict_closeness_and_place_of_each_variant(user: User) -> None:
    text = user.run("status").text
    assert "Scripted recipes/Scripted.yaml" in text
    assert "4bit upload published" in text
    assert "8bit - not run" in text
    assert "4bit is at" in text
    assert "mlx-publish clean --older-than 0 --dry-run" in text


def test_a_refused_variant_is_named_with_the_check_that_refused_it(work: Path, user: User) -> None:
    path = work / "Scripted/4bit/fidelity.json"
    report = read_json(path)
    report["verdict"] = "refused"
    report["checks"][0] |= {"id": "mean-kld", "status": "fail", "message": "mean KLD 1.3 is over the limit 1"}
    path.write_text(json.dumps(report))
    (work / "Scripted/4bit/upload.json").unlink()
    text = user.run("status", "Scripted").text
    assert "refused" in text
    assert "4bit: fidelity: mean-kld: mean KLD 1.3 is over the limit 1" in text


def test_freed_weights_and_disk_are_counted_in_json(work: Path, user: User) -> None:
    data = json.loads(user.run("status", "--json").out)
    four = data["recipes"][0]["variants"][0]
    assert (four["label"], four["verdict"], four["has_weights"]) == ("4bit", "pass", True)
    assert four["weight_bytes"] > 0
    held = sum(path.lstat().st_size for path in work.rglob("*") if path.is_file())
    assert data["work"]["bytes"] == held
    (work / "Scripted/4bit/model/model.safetensors").unlink()
    assert not json.loads(user.run("status", "--json").out)["recipes"][0]["variants"][0]["has_weights"]
    assert "freed" in user.run("status").text


def test_the_hub_cache_is_counted_by_the_models_of_recipes_here(user: User) -> None:
    user.environment  # noqa: B018  makes the home
    (user.home / "recipes").mkdir()
    (user.home / "recipes/a.yaml").write_text(f"source: acme/base\nrevision: {COMMIT}\nvariants: [4bit]\nto: me/a\n")
    cached(user, "acme/base", COMMIT, b"x" * 1000)
    cached(user, "other/model", COMMIT, b"x" * 5000)
    data = json.loads(user.run("status", "--json").out)
    assert data["hub_cache"]["models"] == {"acme/base": 1000}
    assert data["hub_cache"]["bytes"] == 6000
    assert "mlx-publish clean --cache --older-than 0 --dry-run" in user.run("status").text


def test_clean_takes_from_the_hub_cache_only_what_recipes_here_pin(user: User) -> None:
    user.environment  # noqa: B018  makes the home
    (user.home / "recipes").mkdir()
    (user.home / "recipes/a.yaml").write_text(f"source: acme/base\nrevision: {COMMIT}\nvariants: [4bit]\nto: me/a\n")
    ours = cached(user, "acme/base", COMMIT, b"x" * 1000)
    another = cached(user, "acme/base", "f" * 40, b"y" * 1000)
    other = cached(user, "other/model", COMMIT, b"x" * 5000)
    assert "would remove acme/base at 12fd25f77366" in user.run("clean", "--cache", "--dry-run").text
    assert ours.exists()
    data = json.loads(user.run("clean", "--cache", "--json").out)
    assert (data["bytes"], data["dry_run"]) == (1000, False)
    assert not ours.exists()
    assert another.exists()
    assert other.exists()
    shutil.rmtree(user.home / "huggingface")
    assert "freed 0" in user.run("clean", "--cache").text


def test_a_recipe_that_does_not_exist_is_answered_with_those_that_do(work: Path, user: User) -> None:
    assert work.is_dir()
    text = user.run("status", "Scriptd", code=2).text
    assert "did you mean Scripted? next: Recipes here: Scripted." in text


@pytest.mark.usefixtures("work")
def test_a_narrow_terminal_loses_columns_and_no_number(user: User) -> None:
    user.more["COLUMNS"] = "60"
    out = user.run("status").out
    row = next(line for line in out.splitlines() if line.strip().startswith("4bit "))
    assert len(row) <= 60
    assert "published" in row
    assert "…" not in row


def test_of_a_model_that_sees_the_distance_with_pictures_stands_beside(work: Path, user: User) -> None:
    assert "pictures" not in user.run("status", "--json").out
    path = work / "Scripted/4bit/fidelity.json"
    report = read_json(path)
    report["result"]["pictures"] = make_seeing()["fidelity"]["pictures"]
    path.write_text(json.dumps(report))
    assert "(pictures 0.0612)" in user.run("status").text
    assert '"pictures_kld": 0.0612' in user.run("status", "--json").out
