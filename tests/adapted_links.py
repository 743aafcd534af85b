"""A base with an adapter as the engine is shown it: links, the config, and beside them what the adapter changes."""

from __future__ import annotations

import json
from pathlib import Path

from mlx_publish.evidence.records import to_json
from mlx_publish.model.adapted import ADAPTED_FILE, FACTORS_FILE
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.fused_files import FusedFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.normalise import normalise_config
from mlx_publish.model.packed import PACKED_FILE, without_block


def links_of(base: Path, adapter: Path | None, folder: Path) -> Path:
    """Make the new `folder`."""
    files = FusedFiles(FolderFiles(base), FolderFiles(adapter)) if adapter else FolderFiles(base)
    metadata = Metadata(files)
    folder.mkdir(parents=True)
    config = metadata.json("config.json") or {}
    if metadata.packing:
        config = without_block(config)
        (folder / PACKED_FILE).write_text(json.dumps(to_json(metadata.packing)))
    (folder / "config.json").write_text(json.dumps(normalise_config(config)[0]))
    if adapter and isinstance(files, FusedFiles):
        (folder / ADAPTED_FILE).write_text(json.dumps(to_json(files.fusing)))
        (folder / FACTORS_FILE).symlink_to(adapter / files.config.weights)
    for path in base.glob("*.safetensors"):
        (folder / path.name).symlink_to(path)
    return folder
