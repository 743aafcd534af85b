"""YAML that remembers on which line each key stood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput
from mlx_publish.yaml_quick import quick


def key_path(parts: tuple[str | int, ...]) -> str:
    """Write a path of keys as `variants[0].bits`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def load_yaml(path: Path) -> tuple[Any, dict[str, int]]:
    """Read a YAML 1.2 file into plain data and the 1-based line of every key path.

    Raises `BadInput` that names file and line where the file is missing, unreadable or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"not valid YAML: {error}", place=str(path)) from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", place=str(path)) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> tuple[Any, dict[str, int]]:
    """Parse YAML 1.2 likewise. `file` is what messages call it."""
    found = quick(text)
    if found is None:
        from mlx_publish.yaml_full import full  # noqa: PLC0415  ruamel.yaml takes its time, and is seldom needed

        found = full(text, file)
    return found


def scalar(text: str) -> Any:
    """Read text from a flag or a form as one YAML scalar: `4` is a number, `no` is text."""
    from mlx_publish.yaml_full import scalar_of  # noqa: PLC0415

    return scalar_of(text)
