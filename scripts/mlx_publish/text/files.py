"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from mlx_publish.text.bounds import REPORT
from mlx_publish.text.json_text import read
from mlx_publish.text.temporary import TemporaryFolder


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write aside, then rename: a reader sees the old content or the new, never a part. A file keeps its mode.

    Removes what a killed writer left aside; nobody else may write the same file at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.????????"):
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(path.stat().st_mode & 0o777 if path.is_file() else 0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None if it is missing or broken, for the caller makes it again."""
    try:
        return read(path, REPORT)
    except (OSError, ValueError):
        return None


def replace_folder(new: Path, old: Path) -> None:
    """Put a finished folder in the place of another one, and keep the old until the new one is there."""
    if old.exists():
        with TemporaryFolder(f".{old.name}.old-", beside=old.parent) as aside:
            kept = old.replace(aside / old.name)
            try:
                new.replace(old)
            except BaseException:
                if not old.exists():
                    kept.replace(old)
                raise
    else:
        new.replace(old)


def json_text(data: object) -> str:
    """Return JSON as every file holds it: the same data gives the same bytes."""
    text = json.dumps(data, indent=2, ensure_ascii=False, sort_keys=False, allow_nan=False) + "\n"
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    # Half of a surrogate pair, as JSON may escape it, has no form in UTF-8.
    return json.dumps(data, indent=2, sort_keys=False, allow_nan=False) + "\n"
