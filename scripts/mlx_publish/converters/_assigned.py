"""Read what a module assigns to a name, without importing it."""

from __future__ import annotations

import ast
from pathlib import Path


def assigned(path: Path, name: str) -> dict[str, object]:
    """Return the mapping that a module assigns to a name, with None for a value that is no constant; else nothing."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        ):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {
                str(key.value): value.value if isinstance(value, ast.Constant) else None
                for key, value in pairs
                if isinstance(key, ast.Constant)
            }
    return {}
