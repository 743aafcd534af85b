"""Mend the tokenizer of a conversion: its files suit other clients, every end is named, its ids are the source's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlx_publish.chat.turn import TurnEnd, turn_end
from mlx_publish.checks.tokenizer_output import TokenizerOutput
from mlx_publish.conversion.side import write_stopping
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import TokenizerComparison
from mlx_publish.model.draft import CONFIG, Change, json_bytes, read_object
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.portable import PLAIN, Repaired, portable, tokenizer_files
from mlx_publish.model.stopping import Stopping, complete_stop_ids, stop_ids_in

_ROLES = ("bos_token", "eos_token", "pad_token")


@dataclass(frozen=True)
class Mending:
    """A folder whose tokenizer files suit other clients and name every end."""

    folder: Path
    repaired: Repaired
    plain: Path | None
    """The same folder with the class that reads tokenizer.json as it is; None if it has that class already."""
    plainly: Repaired
    """What makes it that."""
    stopping: Stopping
    turn_end: TurnEnd | None

    def order(self, source: Path, rows: int | None) -> dict[str, Any]:
        """Return the arguments of the engine's comparison; `rows` is the number of rows of the embedding."""
        plain = str(self.plain) if self.plain else None
        return {"folder": str(self.folder), "plain": plain, "source": str(source), "rows": rows}

    def finish(self, comparison: TokenizerComparison, rows: int | None, library: str = "mlx-lm") -> TokenizerOutput:
        """Take the class that gives the source's ids, and return what is known of the tokenizer then."""
        repaired = self.repaired
        if comparison.plain:
            _write(self.folder, self.plainly)
            repaired = Repaired(
                {**repaired.files, **self.plainly.files},
                (*repaired.changes, *self.plainly.changes),
                self.plainly.remarks,
            )
        return TokenizerOutput(comparison, repaired, self.stopping, rows, library, self.turn_end)


def mend(folder: Path, source: Metadata) -> Mending:
    """Mend the files of `folder`, a conversion of `source`. Raises `Refused` if a file is broken."""
    generation = _taken_generation_config(folder)
    completed = _complete(folder, source)
    repaired = portable(tokenizer_files(folder))
    _write(folder, repaired)
    look = source.look
    end = turn_end(look, source.added_tokens) if look else None
    stopping = _stopping(folder, generation, end)
    write_stopping(folder, stopping)
    repaired = replace(repaired, changes=(*completed, *repaired.changes))
    plainly = portable(tokenizer_files(folder), plain=True)
    plain = None
    if plainly.files:
        plain = folder.with_name(f"{folder.name}-plain")
        shutil.copytree(folder, plain)
        _write(plain, plainly)
    return Mending(folder, repaired, plain, plainly, stopping, end)


def _write(folder: Path, repaired: Repaired) -> None:
    for path, data in repaired.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def _complete(folder: Path, source: Metadata) -> tuple[Change, ...]:
    """Write a tokenizer_config.json where only tokenizer.json is there; return what was done."""
    if not source.tokenizer.fast or (folder / CONFIG).exists():
        return ()
    vocabulary = source.vocabulary
    made = made_config(source.tokenizer.special_tokens, source.config.raw, {**vocabulary.pieces, **vocabulary.added})
    (folder / CONFIG).write_bytes(json_bytes(made))
    keys = ", ".join(f"{key} {value!r}" for key, value in made.items())
    return (Change(CONFIG, "", f"{CONFIG}, which the source does not have, was written: {keys}"),)


def made_config(
    special_tokens: Mapping[str, str], config: Mapping[str, object], ids: Mapping[str, int]
) -> dict[str, str]:
    """Return one from the roles that special_tokens_map.json names, else from the ids of config.json.

    `ids` are those of tokenizer.json by text. Without the file a library would take the class of the model's type,
    which may read text otherwise, and no end.
    """
    texts = {id_: text for text, id_ in ids.items()}
    config_of_roles = {role: special_tokens[role] for role in _ROLES if role in special_tokens}
    for role in _ROLES:
        named = stop_ids_in(config)[:1] if role == "eos_token" else (config.get(f"{role}_id"),)
        text = next((texts[id_] for id_ in named if type(id_) is int and id_ in texts), None)
        if text is not None:
            config_of_roles.setdefault(role, text)
    return {"tokenizer_class": PLAIN, **config_of_roles}


def _taken_generation_config(folder: Path) -> bytes | None:
    """Return generation_config.json as it came; a broken one leaves the folder, because mlx-lm stumbles over it."""
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
