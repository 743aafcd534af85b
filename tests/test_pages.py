"""README and docs: every command is one, every piece of YAML is valid, every link and every quoted message is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mlx_publish.cli import parser
from mlx_publish.commands import registry
from mlx_publish.hooks import HOOKS
from mlx_publish.recipes.plan import plan_of
from mlx_publish.recipes.policy import read_policy
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import RecipeSpec

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[Any]:
    """Blocks of a language with the page and line where each begins."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if block[1] == language:
                name = f"{page.name}:{text[: block.start()].count(chr(10)) + 1}"
                found.append(pytest.param(block[2], id=name))
    return found


def commands() -> list[Any]:
    """Lines of shell, and commands between backticks, that call mlx-publish."""
    found = [
        pytest.param(line.strip(), id=f"{block.id}-{number}")
        for block in blocks("sh")
        for number, line in enumerate(str(block.values[0]).replace("\\\n", " ").splitlines())
        if re.search(r"(^|\s)mlx-publish ", line)
    ]
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for number, command in enumerate(re.findall(r"`(mlx-publish [^`\n]+)`", text)):
            if not re.search(r"<|…|STAGE|NAME FILES", command):
                found.append(pytest.param(command, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0], comments=True)
    words = words[words.index("mlx-publish") :]  # behind variables that are set for it
    parser().parse_args(words[1:])


def test_shell_calls_sessions_that_there_are() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    asked = {name for names in re.findall(r"bootstrap\.sh -s ([\w -]+?)(?: --|\n)", text) for name in names.split()}
    asked |= set(re.findall(r"`nox -s ([\w-]+)`", text))
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert asked
    for name in asked:
        assert name in registry() or f"def {name}(" in source, name


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_piece_of_yaml_is_what_it_looks_like(text: str, tmp_path: Path) -> None:
    data = YAML(typ="safe", pure=True).load(text)
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    if "schema" in data:
        assert not plan_of(text, "quantization.md").edited
    elif "source" in data:
        # The README's commit is all zeros, which is no text without quotes; a real one is written like that.
        path.write_text(text.replace(f" {'0' * 40}", f" {'a' * 40}"), encoding="utf-8")
        assert recipe_from_file(path, elsewhere=True).variants
    elif "repos" in data:
        [repo] = data["repos"]
        assert {hook["id"] for hook in repo["hooks"]} == set(HOOKS)
    elif "jobs" in data:
        assert data["on"]
        for job in data["jobs"].values():
            assert "permissions" in job
    elif set(data) <= set(RecipeSpec.model_fields):
        whole = {"source": "a/b", **data}
        RecipeSpec.model_validate(whole)
    else:
        assert read_policy(path).spec.model_fields_set == set(data)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([\w-]+))?\)", BLOCK.sub("", text)):
        where = (page.parent / target) if target else page
        assert where.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", where.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{target}#{anchor}"


def test_messages_of_troubleshooting_are_ours() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    code = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "scripts").rglob("*") if path.suffix in (".py", ".sh")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    assert len(rows) > 12
    for row in rows:
        if "GitHub" in row or "card-review" in row:
            continue
        for message in re.findall(r"`([^`]+)`", row):
            plain = message.removeprefix(", ")
            assert plain in code or plain.replace("not measured: benchmark", "not measured: ") in code, message
