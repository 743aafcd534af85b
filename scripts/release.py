"""Release this kit: `python scripts/release.py v1.2.3 dist/*.whl`, run on that tag by release.yml.

The notes are the changelog's section of that version; the tag of the major version, as v1, moves to the same commit,
for those who take the Action by it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mlx_publish
from mlx_publish.errors import BadInput, PublishError
from mlx_publish.github.programs import CREDENTIALS, gh, git
from mlx_publish.text.streams import patient

ROOT = Path(__file__).parents[1]
_TAG = re.compile(r"v(?P<version>(?P<major>\d+)\.\d+\.\d+)")


def release(tag: str, wheels: list[Path], changelog: Path, root: Path) -> str:
    """Make the release and move the major tag; returns its address. Raises `BadInput` for what does not fit the tag."""
    found = _TAG.fullmatch(tag)
    if found is None:
        raise BadInput(f"'{tag}' is not a version", place="TAG", remedy="Tag as v1.2.3.")
    version, major = found["version"], f"v{found['major']}"
    if version != mlx_publish.__version__:
        raise BadInput(
            f"the tag is {tag}, but the package says {mlx_publish.__version__}",
            place="scripts/mlx_publish/__init__.py",
            remedy="Tag the commit whose package has the same version.",
        )
    wrong = [wheel.name for wheel in wheels if not wheel.name.startswith(f"mlx_publish-{version}-")]
    if wrong or not wheels:
        raise BadInput(
            f"{wrong[0] if wrong else 'nothing'} is not a wheel of {version}", place="dist", remedy="Build it."
        )
    notes = section(changelog, version)
    told = ("--verify-tag", "--title", tag, "--notes-file", "-")
    address = gh(root, "release", "create", tag, *map(str, wheels), *told, text=notes).strip()
    git(root, "tag", "--force", major, f"{tag}^{{commit}}")
    git(root, *CREDENTIALS, "push", "--quiet", "--force", "origin", f"refs/tags/{major}")
    return address


def section(changelog: Path, version: str) -> str:
    """Return what a changelog says of a version. Raises `BadInput` if it says nothing."""
    parts = re.split(r"^## ", changelog.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for part in parts[1:]:
        head, _, body = part.partition("\n")
        if head.split(" ")[0].strip("[]") == version and body.strip():
            return body.strip() + "\n"
    raise BadInput(
        f"CHANGELOG.md has no section '## {version}'",
        place=f"{changelog}:1",
        remedy="Give the unreleased section that heading.",
    )


def main(arguments: list[str]) -> int:
    """Release; returns the exit code."""
    if not arguments:
        sys.stderr.write("usage: release.py TAG WHEEL...\n")
        return 2
    try:
        address = release(arguments[0], [Path(name) for name in arguments[1:]], ROOT / "CHANGELOG.md", ROOT)
    except PublishError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"released: {address}\n")
    return 0


if __name__ == "__main__":
    with patient():
        sys.exit(main(sys.argv[1:]))
