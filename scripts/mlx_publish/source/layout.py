"""Folders made of a source that is never written to: what mlx-lm is shown, and what travels beside the weights."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.errors import Bug
from mlx_publish.evidence.records import to_json
from mlx_publish.model.adapted import ADAPTED_FILE, FACTORS_FILE
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.draft import Change
from mlx_publish.model.files import FileEntry, FolderFiles, read_json_file
from mlx_publish.model.fused_files import PREFIX, FusedFiles
from mlx_publish.model.left_over import is_left_over
from mlx_publish.model.normalise import normalise_config
from mlx_publish.model.packed import PACKED_FILE, Packing, block_of, packing_of, without_block
from mlx_publish.model.quantized import SIDE_FILES
from mlx_publish.model.select import is_tokenizer, side_files
from mlx_publish.model.weights import INDEX, TensorInfo, read_header
from mlx_publish.source.odd_types import copy_as_bytes, is_odd
from mlx_publish.source.resolve import Source, converter, place, source_of
from mlx_publish.source.streamed import REASON, is_streamed
from mlx_publish.text.files import json_text


@dataclass(frozen=True)
class Prepared:
    """A source made ready for conversion."""

    source: Path
    """The files of the source that count, and nothing else of it."""
    links: Path
    """Links to weights and tokenizer, and the config in the spelling that mlx-lm reads."""
    side: Path
    """Copies of all that travels beside the weights, to be mended, and that config."""
    weights: tuple[str, ...]
    """Weight files, which may be links out of `source`."""
    side_files: tuple[str, ...]
    config: Mapping[str, object]
    """config.json as its authors wrote it."""
    normalised: tuple[Change, ...]
    """What the config says now in an older spelling, too."""
    packing: Packing | None
    """How its weights are quantized; None for plain numbers."""
    tensors: tuple[TensorInfo, ...]
    """The source's tensors by the headers of its weight files, as they are once they are read."""


def prepare(
    origin: Source,
    paths: Sequence[str],
    aside: Path,
    *,
    beside: bool = False,
    there: Mapping[str, Path] | None = None,
) -> Prepared:
    """Make all folders below `aside`.

    `paths` are the files of the source that count, `beside` and `there` as for `lay_out`.
    """
    source = origin.lay_out(paths, aside / "source", beside=beside, there=there)
    files = FolderFiles(source)
    config = read_json_file(files, "config.json") or {}
    weights = tuple(path for path in paths if path.endswith(".safetensors") and not path.startswith(PREFIX))
    headers = {path: read_header(source / path) for path in weights}
    stored = tuple(itertools.chain.from_iterable(headers.values()))
    side_said = {path: content for path in SIDE_FILES if (content := read_json_file(files, path)) is not None}
    packing = packing_of(config, side_said, stored, ModelConfig(config).dtype)
    left_over = is_left_over(config, block_of(config, side_said), stored)
    keeps = converter(origin.context).senses
    normal, changes = normalise_config(without_block(config) if packing or left_over else config, senses=keeps)
    tensors = packing.tensors(stored) if packing else stored
    fused = origin.files if isinstance(origin.files, FusedFiles) else None
    tensors = fused.fusing.tensors(tensors) if fused else tensors
    travelling = tuple(sorted(side_files({path: FileEntry(path, 0) for path in paths})))
    links, side = aside / "links", aside / "side"
    prepared = Prepared(source, links, side, weights, travelling, config, tuple(changes), packing, tensors)
    for folder in (prepared.links, prepared.side):
        folder.mkdir()
        (folder / "config.json").write_text(json_text(normal), encoding="utf-8")
    if packing:
        (links / PACKED_FILE).write_text(json_text(to_json(packing)), encoding="utf-8")
    if fused:
        (links / ADAPTED_FILE).write_text(json_text(to_json(fused.fusing)), encoding="utf-8")
        place(links / FACTORS_FILE, source / f"{PREFIX}{fused.config.weights}", link=True)
    for path in paths:
        # mlx-lm reads every model*.safetensors that it sees, and takes ends from a generation_config.json that may
        # be broken; it sees the chosen weights, and the ends are joined afterwards.
        if is_odd(headers.get(path, ())):
            copy_as_bytes(source / path, prepared.links / path)
        elif path in weights or path == INDEX or is_tokenizer(path):
            place(prepared.links / path, source / path, link=True)
    for path in travelling:
        place(prepared.side / path, source / path, link=False)
    return prepared


@contextlib.contextmanager
def readable_source(context: Context) -> Iterator[Path]:
    """Yield a folder from which mlx-lm reads the source as it is meant: links, and the config in its spelling.

    Raises `Bug` for a source that is streamed: whoever asks for it should have known.
    """
    with prepared_source(context) as prepared:
        yield prepared.links


@contextlib.contextmanager
def prepared_source(context: Context) -> Iterator[Prepared]:
    """Yield the source made ready for reading, its own files beside the folder of links. Raises as above."""
    if is_streamed(context):
        raise Bug(f"{REASON}, and was asked for")
    paths = context.inspected_source.files
    with context.work.aside("source") as aside:
        yield prepare(source_of(context), paths, aside)
