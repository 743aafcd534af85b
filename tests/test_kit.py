from __future__ import annotations

from pathlib import Path

import pytest
from nox.project import load_toml

from mlx_publish import __version__
from mlx_publish.text import kit

ROOT = Path(__file__).parents[1]


def test_the_address_is_that_of_the_running_action() -> None:
    given = {"MLX_PUBLISH_KIT": "acme/kit@" + "a" * 40, "GITHUB_SERVER_URL": "https://ghe.example"}
    assert kit.address(given) == "https://ghe.example/acme/kit"
    assert kit.page("docs/card.md", given) == f"https://ghe.example/acme/kit/blob/{'a' * 40}/docs/card.md"


def test_outside_of_an_action_it_is_the_constant_at_this_version() -> None:
    elsewhere = {"GITHUB_SERVER_URL": "https://ghe.example"}
    assert kit.address(elsewhere) == f"https://github.com/{kit.REPO}"
    assert kit.page("README.md", {}) == f"https://github.com/{kit.REPO}/blob/v{__version__}/README.md"


def test_a_name_that_is_no_repo_is_not_taken() -> None:
    assert kit.repo({"MLX_PUBLISH_KIT": "x y/z](http://evil)@1"}) == kit.REPO


def test_the_install_command_names_this_checkout() -> None:
    assert kit.install("mlx", {}) == f"pip install '{ROOT}[mlx]'"


def test_the_packages_urls_are_the_kits() -> None:
    urls = load_toml(ROOT / "pyproject.toml")["project"]["urls"]
    assert urls
    assert all(url.startswith(f"https://github.com/{kit.REPO}") for url in urls.values())


@pytest.mark.parametrize(
    ("command", "script", "typed"),
    [
        ("mlx-publish verify a/b@v1", "", "mlx-publish verify a/b@v1"),
        ("mlx-publish verify a/b@v1", "scripts/bootstrap.sh", "sh scripts/bootstrap.sh -s verify -- a/b@v1"),
        ("git push origin v1", "scripts/bootstrap.sh", "git push origin v1"),
    ],
)
def test_the_next_command_is_printed_as_it_is_typed_here(command: str, script: str, typed: str) -> None:
    assert kit.typed(command, {kit.SCRIPT: script}) == typed
