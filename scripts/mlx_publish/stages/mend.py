"""Mend tokenizer files and stop ids of a converted folder: before the tokenizer is loaded in the child, and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.checks.tokenizer_output import TokenizerOutput
from mlx_publish.errors import Refused
from mlx_publish.model.draft import read_object
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.portable import Repaired, portable, tokenizer_files
from mlx_publish.model.stopping import Stopping, complete_stop_ids
from mlx_publish.template.turn import TurnEnd, turn_end


@dataclass(frozen=True)
class Mending:
    """A folder whose tokenizer files suit other clients and name every end, and what may still be done to it."""

    folder: Path
    repaired: Repaired
    plain: Repaired
    """What makes the class one that reads tokenizer.json as it is; the child writes it where ids differ."""
    stopping: Stopping
    turn_end: TurnEnd | None


def begin(folder: Path, source: Metadata) -> Mending:
    """Mend the files of `folder`, a conversion of `source`. Raises `Refused` where a file is broken."""
    generation = _generation_config(folder)
    repaired = portable(tokenizer_files(folder))
    for path, data in repaired.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    seen = source.look
    end = turn_end(seen, source.added_tokens) if seen else None
    stopping = _stopping(folder, generation, end)
    write_stopping(folder, stopping)
    return Mending(folder, repaired, portable(tokenizer_files(folder), plain=True), stopping, end)


def finish(mending: Mending, compared: Mapping[str, Any], rows: int | None) -> TokenizerOutput:
    """Add what the engine's `tokenizer` found; `rows` is the number of rows of the embedding."""
    repaired, plain = mending.repaired, mending.plain
    if compared.get("plain"):
        repaired = Repaired({**repaired.files, **plain.files}, (*repaired.changes, *plain.changes), plain.remarks)
    return TokenizerOutput(compared, repaired, mending.stopping, rows, mending.turn_end)


def _generation_config(folder: Path) -> bytes | None:
    """Its content as it came; a broken one leaves the folder, because mlx-lm stumbles over it."""
    path = folder / "generation_config.json"
    data = path.read_bytes() if path.exists() else None
    try:
        if data is not None:
            read_object(path.name, data)
    except Refused:
        path.unlink()
    return data


def _stopping(folder: Path, generation: bytes | None, end: TurnEnd | None) -> Stopping:
    def read(name: str) -> dict[str, Any] | None:
        path = folder / name
        return read_object(name, path.read_bytes()) if path.exists() else None

    return complete_stop_ids(
        read("config.json") or {},
        generation,
        read("tokenizer_config.json") or {},
        read("tokenizer.json"),
        end.stop if end else None,
        chat=end is not None,
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
