"""Count what must not grow: dicts without types, modules and rooms, restated lists, lines that no formatter may touch.

`python scripts/house.py` prints each count with its limit and exits with 1 where one is over it. The limits stand in
pyproject.toml; whoever lowers a count lowers its limit.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from nox import project

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scripts" / "mlx_publish"
SKIP = "# fmt: " + "skip"
_RESTATED = 4
"""Names of stages or of commands from which on a list repeats its registry."""


def counts(package: Path = PACKAGE) -> dict[str, int]:
    """Return each count by the name of its limit."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    rooms = {path.parent for path in texts if path.parent != package}
    return {
        "untyped-mappings": sum(text.count("Mapping[str, Any]") for text in texts.values()),
        "modules-at-the-root": sum(path.parent == package for path in texts),
        "rooms": len(rooms),
        "restated-lists": sum(len(list(restated(text, path))) for path, text in texts.items()),
        "unformatted-lines": sum(text.count(SKIP) for text in texts.values()),
    }


def restated(text: str, path: Path) -> Iterator[int]:
    """Yield the lines of lists, sets and mappings that spell out stages or commands, which their registries know."""
    from mlx_publish.commands import registry  # noqa: PLC0415  it is found by PYTHONPATH
    from mlx_publish.evidence.stages import NAMES  # noqa: PLC0415

    commands = {name for name in registry() if name not in NAMES}
    for node in ast.walk(ast.parse(text, str(path))):
        if not isinstance(node, (ast.Dict, ast.List, ast.Set, ast.Tuple)):
            continue
        parts = node.keys if isinstance(node, ast.Dict) else node.elts
        words = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
        if len(words & set(NAMES)) >= _RESTATED or len(words & commands) >= _RESTATED:
            yield node.lineno


def main() -> int:
    """Print the counts; returns 1 where one is over its limit."""
    limits: dict[str, int] = project.load_toml(ROOT / "pyproject.toml")["tool"]["house"]
    now = counts()
    grown = [name for name, limit in limits.items() if now[name] > limit]
    for name, limit in limits.items():
        print(f"{name}: {now[name]}, at most {limit}{'  TOO MANY' if name in grown else ''}")
    if grown:
        print("Use a record, or take a name from its registry; CONTRIBUTING.md says where changes go.")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
