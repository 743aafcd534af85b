"""Files that GitHub and newcomers look for: forms, dependabot, citation, the index of the docs, links between pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_publish import __version__
from mlx_publish.text import kit
from release import section

ROOT = Path(__file__).parents[1]
FORMS = ".github/ISSUE_TEMPLATE"
PAGES = [
    path
    for folder in (".", "docs", "examples", "benchmarks", ".github")
    for path in sorted((ROOT / folder).glob("*.md"))
]
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([\w-]+))?\)")


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-issue-forms", [f"{FORMS}/{name}.yml" for name in ("bug", "wrong-refusal", "model-request")]),
        ("github-issue-config", [f"{FORMS}/config.yml"]),
        ("dependabot", [".github/dependabot.yml"]),
        ("citation-file-format", ["CITATION.cff"]),
    ],
)
def test_a_file_is_valid_by_its_schema(schema: str, files: list[str]) -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    command: list[str | Path] = [tool, "--builtin-schema", f"vendor.{schema}", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([\w-]+\.md)", index))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in LINK.findall(text):
        where = page.parent / target if target else page
        assert where.exists(), target
        if anchor:
            assert anchor in slugs(where), f"{target}#{anchor}"


def slugs(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_no_page_leaves_a_placeholder_for_the_kit() -> None:
    for page in (ROOT / "README.md", ROOT / "docs/hooks.md", ROOT / "examples/README.md"):
        assert "OWNER/mlx-publish" not in page.read_text(encoding="utf-8")


def test_addresses_of_the_kit_are_the_one_that_it_knows() -> None:
    files = [*PAGES, ROOT / "CITATION.cff", *(ROOT / FORMS).glob("*.yml")]
    found = {
        repo
        for path in files
        for repo in re.findall(r"https://github\.com/([\w.-]+/mlx-publish)\b", path.read_text(encoding="utf-8"))
    }
    assert found == {kit.REPO}


def test_the_changelog_has_notes_for_this_version() -> None:
    assert section(ROOT / "CHANGELOG.md", __version__).startswith("### ")


def test_the_hooks_are_taken_from_this_version() -> None:
    for page in (ROOT / "README.md", ROOT / "docs/hooks.md"):
        assert re.findall(r"^    rev: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE) == [f"v{__version__}"]
