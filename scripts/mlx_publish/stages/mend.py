"""Mend tokenizer files and stop ids of a converted folder: before the tokenizer is loaded in the child, and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_publish.chat.turn import TurnEnd, turn_end
from mlx_publish.checks.tokenizer_output import TokenizerOutput
from mlx_publish.errors import Refused
from mlx_publish.model.draft import CONFIG, Change, json_bytes, read_object
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.portable import Repaired, portable, tokenizer_files
from mlx_publish.model.senses import is_language, text_alone
from mlx_publish.model.stopping import Stopping, complete_stop_ids
from mlx_publish.model.tokenizer_config import made_config
from mlx_publish.text.bounds import CONFIG as CONFIG_BOUNDS
from mlx_publish.text.json_text import parse


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
    made = _complete(folder, source)
    repaired = portable(tokenizer_files(folder))
    repaired = replace(repaired, changes=(*made, *repaired.changes))
    for path, data in repaired.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    seen = source.look
    end = turn_end(seen, source.added_tokens) if seen else None
    stopping = _stopping(folder, generation, end)
    write_stopping(folder, stopping)
    return Mending(folder, repaired, portable(tokenizer_files(folder), plain=True), stopping, end)


def _complete(folder: Path, source: Metadata) -> tuple[Change, ...]:
    """Write a tokenizer_config.json where only tokenizer.json is there; returns what was done."""
    if not source.tokenizer.fast or (folder / CONFIG).exists():
        return ()
    vocabulary = source.vocabulary
    made = made_config(source.tokenizer.special_tokens, source.config.raw, {**vocabulary.pieces, **vocabulary.added})
    (folder / CONFIG).write_bytes(json_bytes(made))
    keys = ", ".join(f"{key} {value!r}" for key, value in made.items())
    return (Change(CONFIG, "", f"{CONFIG}, which the source does not have, was written: {keys}"),)


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
    config = parse(path.read_bytes(), CONFIG_BOUNDS)
    if config.get("eos_token_id") != stopping.eos_token_id:
        # In the order and with the indent that mlx-lm writes.
        path.write_text(json.dumps(dict(sorted({**config, "eos_token_id": stopping.eos_token_id}.items())), indent=4))
    if stopping.generation_config is not None:
        (folder / "generation_config.json").write_bytes(stopping.generation_config)


def claim_text_alone(folder: Path) -> None:
    """Take out of config.json what the converted weights of text alone do not have, and name no class of the whole.

    A class that keeps its towers, as mlx-lm's muse_spark, needs their part of the config.
    """
    files = FolderFiles(folder)
    weights = [path for path in files.entries if path.endswith(".safetensors")]
    if all(is_language(tensor.name) for path in weights for tensor in files.header(path)):
        path = folder / "config.json"
        path.write_text(json.dumps(text_alone(parse(path.read_bytes(), CONFIG_BOUNDS)), indent=4))
