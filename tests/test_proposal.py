"""Which variants are proposed for a source and a Mac, and which kit the workflows name."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mlx_publish import __version__
from mlx_publish.errors import BadInput
from mlx_publish.github.running_kit import running_kit
from mlx_publish.machine.macs import usable
from mlx_publish.model.weights import TensorInfo
from mlx_publish.source.proposal import ladder, memory_of
from mlx_publish.text import kit

GB = 1 << 30


def tensors(parameters: float) -> list[TensorInfo]:
    rows = int(parameters) // 4096
    return [TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (rows, 4096), rows * 4096 * 2)]


@pytest.mark.parametrize(
    ("parameters", "memory", "names", "left"),
    [
        (0.4e9, 16, ["4bit", "8bit", "bf16"], []),
        (2.5e9, 8, ["4bit", "8bit"], ["bf16"]),
        (8e9, 16, ["4bit", "6bit", "8bit"], []),
        (14e9, 16, ["4bit"], ["6bit", "8bit"]),
        (20e9, 16, ["3bit"], ["4bit", "6bit", "8bit"]),
        (70e9, 64, ["4bit"], ["6bit", "8bit"]),
        (70e9, 16, [], ["4bit", "6bit", "8bit"]),
    ],
)
def test_what_fits_is_proposed_with_a_reason_and_the_rest_is_named(
    parameters: float, memory: int, names: list[str], left: list[str]
) -> None:
    found = ladder(tensors(parameters), "bfloat16", memory * GB)
    assert [proposal.variant for proposal in found.proposals] == names
    assert [reason.split()[0] for reason in found.left_out] == left
    assert all(proposal.weights <= usable(memory * GB) for proposal in found.proposals)
    assert all(": " in proposal.reason for proposal in found.proposals)


def test_an_unquantized_variant_keeps_the_type_of_the_source() -> None:
    assert ladder(tensors(1e9), "float16", 16 * GB).proposals[-1].variant == "fp16"


@pytest.mark.parametrize("text", ["16GB", "16 GB", "16", "16gb", "16GiB"])
def test_memory_is_read_as_people_write_it(text: str) -> None:
    assert memory_of(text) == 16 * GB


@pytest.mark.parametrize("text", ["", "0GB", "16TB", "sixteen", "-8GB"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not an amount of memory"):
        memory_of(text)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLX_PUBLISH_KIT", raising=False)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/bootstrap.sh").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "x")
    return tmp_path


def test_the_kit_of_a_checkout_is_its_remote_at_its_commit(checkout: Path) -> None:
    found = running_kit(checkout)
    assert found.ref == git(checkout, "rev-parse", "HEAD")
    assert found.repo == kit.REPO
    assert "has no remote on GitHub" in found.warning
    for address in ("git@github.com:acme/kit.git", "https://github.com/acme/kit", "ssh://git@github.com/acme/kit.git"):
        git(checkout, "remote", "add", "origin", address)
        found = running_kit(checkout)
        assert found.repo == "acme/kit"
        assert "Push it" in found.warning
        git(checkout, "remote", "remove", "origin")


def test_a_running_action_names_its_own_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_PUBLISH_KIT", f"lab/kit@{'b' * 40}")
    found = running_kit(checkout)
    assert (found.repo, found.ref, found.warning) == ("lab/kit", "b" * 40, "")


def test_an_installed_kit_is_what_pip_wrote_down_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_PUBLISH_KIT", raising=False)
    direct = {"url": "https://github.com/acme/kit.git", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}}
    found = running_kit(tmp_path, lambda: json.dumps(direct))
    assert (found.repo, found.ref, found.warning) == ("acme/kit", "c" * 40, "")
    assert found.page("docs/x.md") == f"https://github.com/acme/kit/blob/{'c' * 40}/docs/x.md"


@pytest.mark.parametrize("text", [None, "{}", "[]", "not JSON", '{"url": "file:///x", "dir_info": {}}'])
def test_without_a_commit_it_is_the_tag_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.delenv("MLX_PUBLISH_KIT", raising=False)
    found = running_kit(tmp_path, lambda: text)
    assert (found.repo, found.ref) == (kit.REPO, f"v{__version__}")
    assert "is a tag, not a commit" in found.warning
