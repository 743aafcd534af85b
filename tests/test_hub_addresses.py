"""An address of the Hub that is pasted means its repo, wherever a repo may be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_publish.recipes.address import Address, NotAModel, read_address, with_revision
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.verify.published import find

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = "https://huggingface.co"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for recipes, and no mirror of the Hub."""
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return tmp_path


ADDRESSES = {
    f"{HUB}/acme/Tiny": ("acme/Tiny", ""),
    f"{HUB}/acme/Tiny/": ("acme/Tiny", ""),
    f"{HUB}/acme/Tiny?library=mlx#usage": ("acme/Tiny", ""),
    f"{HUB}/acme/Tiny/tree/main": ("acme/Tiny", ""),
    f"{HUB}/acme/Tiny/tree/{COMMIT}": ("acme/Tiny", COMMIT),
    f"{HUB}/acme/Tiny/blob/v1/config.json": ("acme/Tiny", "v1"),
    f"{HUB}/acme/Tiny/resolve/{COMMIT}/model.safetensors?download=true": ("acme/Tiny", COMMIT),
    f"{HUB}/acme/Tiny/commit/{COMMIT}": ("acme/Tiny", COMMIT),
    f"{HUB}/acme/Tiny/tree/refs%2Fpr%2F1": ("acme/Tiny", "refs/pr/1"),
    f"{HUB}/acme/Tiny/discussions/1": ("acme/Tiny", ""),
    "http://www.huggingface.co/acme/Tiny": ("acme/Tiny", ""),
    "huggingface.co/acme/Tiny": ("acme/Tiny", ""),
    "https://hf.co/acme/Tiny": ("acme/Tiny", ""),
    "hf.co/acme/Tiny": ("acme/Tiny", ""),
    "hf://acme/Tiny": ("acme/Tiny", ""),
    f"hf://models/acme/Tiny@{COMMIT}/config.json": ("acme/Tiny", COMMIT),
    f"{HUB}/acme/Tiny.git": ("acme/Tiny", ""),
    "git@hf.co:acme/Tiny.git": ("acme/Tiny", ""),
    "  https://huggingface.co/acme/Tiny\n": ("acme/Tiny", ""),
}


@pytest.mark.parametrize(("text", "meant"), ADDRESSES.items())
def test_an_address_of_the_hub_means_its_repo(text: str, meant: tuple[str, str]) -> None:
    assert read_address(text) == Address(*meant)
    spec = recipe_from_flags({"source": text, "base_model": text, "to": text}).spec
    assert (spec.source, spec.base_model, spec.to) == ("acme/Tiny", "acme/Tiny", "acme/Tiny")
    assert spec.revision == (meant[1] or None)
    assert with_revision(text) == "@".join(filter(None, meant))


def test_an_address_in_a_recipe_is_read_like_the_repo(here: Path) -> None:
    (here / "recipes/own.yaml").write_text(f"source: {HUB}/acme/Tiny/tree/{COMMIT}\nto: hf.co/me/{{source}}\n")
    recipe = recipe_from_file(Path("recipes/own.yaml"))
    assert (recipe.spec.source, recipe.spec.revision, recipe.source_name) == ("acme/Tiny", COMMIT, "Tiny")
    assert str(recipe.destinations["4bit"]) == "me/Tiny"
    (here / "recipes/own.yaml").write_text(f"source: {HUB}/acme/Tiny/tree/{COMMIT}\nrevision: {COMMIT}\n")
    assert recipe_from_file(Path("recipes/own.yaml")).spec.revision == COMMIT


def test_a_mirror_is_the_hub_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_address("http://127.0.0.1:8000/acme/Tiny") is None
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000")
    assert read_address("http://127.0.0.1:8000/acme/Tiny") == Address("acme/Tiny")


@pytest.mark.parametrize(
    "text", ["acme/Tiny", "./acme/Tiny", "/huggingface.co/a/b", "~/a", "https://example.org/a/b", ""]
)
def test_what_is_no_address_of_the_hub_stays_as_it_is(text: str) -> None:
    assert read_address(text) is None
    assert with_revision(text) == text


@pytest.mark.parametrize("text", [HUB, f"{HUB}/", f"{HUB}/acme", "hf.co/collections/a/b-1", f"{HUB}/papers/2401.1"])
def test_an_address_of_something_else_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(NotAModel, match=r"not of a model|is not a model's address"):
        read_address(text)


def test_verify_takes_an_address_and_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[str, str | None]] = []

    def pinned(repo: str, revision: str | None) -> str:
        wanted.append((repo, revision))
        return COMMIT

    monkeypatch.setattr("mlx_publish.verify.published.pinned", pinned)
    assert find(f"{HUB}/acme/Tiny/tree/v1").name == f"acme/Tiny@{COMMIT[:12]}"
    find("acme/Tiny@v1")
    assert wanted == [("acme/Tiny", "v1"), ("acme/Tiny", "v1")]
