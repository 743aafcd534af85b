"""What travels beside the weights of a conversion: side files of the source, ends, the claim of a modality."""

from __future__ import annotations

import json
from pathlib import Path

from mlx_publish.evidence.digests import MADE_FROM_EVIDENCE, sha256_of
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.select import is_legal, is_tokenizer
from mlx_publish.model.senses import is_language, text_alone
from mlx_publish.model.stopping import Stopping
from mlx_publish.source.layout import Prepared
from mlx_publish.source.resolve import place
from mlx_publish.text.bounds import CONFIG as CONFIG_BOUNDS
from mlx_publish.text.json_text import parse


def add_side_files(prepared: Prepared, folder: Path) -> frozenset[str]:
    """Put the side files, mended, into a converted folder, in the place of what mlx-lm wrote of them.

    Returns those that differ from the source's.
    """
    mended = {path for path in FolderFiles(prepared.side).entries if path != "config.json"}
    for path in FolderFiles(folder).entries:
        whole = (prepared.source / "tokenizer.json").exists()
        if path in MADE_FROM_EVIDENCE or path.endswith(".py") or (is_tokenizer(path) and whole):
            (folder / path).unlink()
    for path in sorted(mended):
        place(folder / path, prepared.side / path, link=False)
    return frozenset(
        path
        for path in prepared.side_files
        if not is_legal(path) and sha256_of(prepared.side / path) != sha256_of(prepared.source / path)
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
