"""Mend tokenizer files and stop ids of the converted folders; the tokenizer is loaded and compared in a child."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_publish.checks.tokenizer_output import TokenizerOutput
from mlx_publish.engine.child import Job, Progress, run_job
from mlx_publish.errors import Refused
from mlx_publish.model.draft import read_object
from mlx_publish.model.portable import Repaired, portable, tokenizer_files
from mlx_publish.model.stopping import Stopping, complete_stop_ids

_LIMIT = 600.0


def mend_tokenizer(
    folders: Sequence[Path],
    source: Path,
    rows: int | None,
    log: Path,
    progress: Progress,
    stop: threading.Event | None = None,
) -> TokenizerOutput:
    """Mend `folders`, conversions of `source` that all have the same tokenizer files; the first one is compared.

    `rows` is the number of rows of the embedding. Where ids differ the class that reads tokenizer.json as it is takes
    the place of the source's, and they are compared again. Raises `Refused` where a file is broken.
    """
    first = folders[0]
    job = Job("tokenizer", {"folder": str(first), "source": str(source), "rows": rows}, log, _LIMIT)
    generation = _generation_config(first)
    repaired = portable(tokenizer_files(first))
    _write(folders, repaired.files)
    plain = portable(tokenizer_files(first), plain=True)
    compared = run_job(job, progress, stop=stop)
    if compared.get("plain"):
        _write(folders, plain.files)
        repaired = Repaired({**repaired.files, **plain.files}, (*repaired.changes, *plain.changes), plain.remarks)
    stopping = _stopping(first, compared, generation)
    for folder in folders:
        write_stopping(folder, stopping)
    return TokenizerOutput(compared, repaired, stopping, rows)


def _write(folders: Sequence[Path], files: Mapping[str, bytes]) -> None:
    for folder in folders:
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


def _generation_config(folder: Path) -> bytes | None:
    """Return generation_config.json; one that is no JSON object leaves the folder, because mlx-lm stumbles over it."""
    path = folder / "generation_config.json"
    data = path.read_bytes() if path.exists() else None
    try:
        if data is not None:
            read_object(path.name, data)
    except Refused:
        path.unlink()
    return data


def _stopping(folder: Path, compared: Mapping[str, Any], generation: bytes | None) -> Stopping:
    def read(name: str) -> dict[str, Any] | None:
        path = folder / name
        return read_object(name, path.read_bytes()) if path.exists() else None

    end = compared.get("turn_end")
    return complete_stop_ids(
        read("config.json") or {},
        generation,
        read("tokenizer_config.json") or {},
        read("tokenizer.json"),
        end["text"] if end else None,
        chat=bool(compared.get("chat")),
    )


def write_stopping(folder: Path, stopping: Stopping) -> None:
    """Put the ids that end an answer into config.json and generation_config.json of a folder."""
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    if config.get("eos_token_id") != stopping.eos_token_id:
        # In the order and with the indent that mlx-lm writes.
        path.write_text(json.dumps(dict(sorted({**config, "eos_token_id": stopping.eos_token_id}.items())), indent=4))
    if stopping.generation_config is not None:
        (folder / "generation_config.json").write_bytes(stopping.generation_config)
