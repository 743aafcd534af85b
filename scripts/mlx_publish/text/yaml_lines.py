"""YAML that remembers on which line each key stood."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput
from mlx_publish.text.bounds import YAML_BYTES
from mlx_publish.text.yaml_bounds import judge_size
from mlx_publish.text.yaml_quick import quick

# Whatever may be a number or a truth; YAML has no others with such characters, or as long.
_SCALAR = re.compile(r"[\s\w.+-]{1,60}")


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
        text = _text(path)
    except UnicodeDecodeError as error:
        raise BadInput(f"not valid YAML: {error.reason}", place=str(path)) from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", place=str(path)) from error
    return parse_yaml(text, str(path))


def _text(path: Path) -> str:
    """The text of a file, of which no more is read than it takes to see that it is too large."""
    with path.open("rb") as file:
        content = file.read(4 * YAML_BYTES + 1)
    if len(content) > 4 * YAML_BYTES:
        return content.decode("latin-1")
    return content.decode("utf-8")


def parse_yaml(text: str, file: str) -> tuple[Any, dict[str, int]]:
    """Parse YAML 1.2 likewise, within the bounds of `foreign.yaml_bounds`. `file` is what messages call it."""
    judge_size(text, file)
    found = quick(text)
    if found is None:
        from mlx_publish.text.yaml_full import full  # noqa: PLC0415  ruamel.yaml takes its time, and is seldom needed

        found = full(text, file)
    return found


def scalar(text: str) -> Any:
    """Read text from a flag or a form as one YAML scalar: `4` is a number, `no` is text."""
    if not _SCALAR.fullmatch(text):
        return text
    from mlx_publish.text.yaml_full import scalar_of  # noqa: PLC0415

    return scalar_of(text)
