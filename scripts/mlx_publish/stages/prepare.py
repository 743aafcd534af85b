"""Folders made of a source that is never written to: what mlx-lm is shown, and what travels beside the weights."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.evidence.digests import MADE_FROM_EVIDENCE, sha256_of
from mlx_publish.model.draft import Change
from mlx_publish.model.files import FileEntry, FolderFiles, read_json_file
from mlx_publish.model.normalise import normalise_config
from mlx_publish.model.select import is_legal, is_tokenizer, side_files
from mlx_publish.model.weights import INDEX
from mlx_publish.stages.context import Context
from mlx_publish.stages.source import Source, source_of
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
    side_files: tuple[str, ...]
    config: Mapping[str, Any]
    """config.json as its authors wrote it."""
    normalised: tuple[Change, ...]
    """What the config says now in an older spelling, too."""


def prepare(found: Source, paths: Sequence[str], aside: Path) -> Prepared:
    """Make all folders below `aside`. `paths` are the files of the source that count."""
    source = found.lay_out(paths, aside / "source")
    config = read_json_file(FolderFiles(source), "config.json") or {}
    normal, changes = normalise_config(config)
    travelling = tuple(sorted(side_files({path: FileEntry(path, 0) for path in paths})))
    prepared = Prepared(source, aside / "links", aside / "side", travelling, config, tuple(changes))
    for folder in (prepared.links, prepared.side):
        folder.mkdir()
        (folder / "config.json").write_text(json_text(normal), encoding="utf-8")
    for path in paths:
        # mlx-lm reads every model*.safetensors that it sees, and takes ends from a generation_config.json that may
        # be broken; it sees the chosen weights, and the ends are joined afterwards.
        if path.endswith(".safetensors") or path == INDEX or is_tokenizer(path):
            _place(prepared.links / path, source / path, link=True)
    for path in travelling:
        _place(prepared.side / path, source / path, link=False)
    return prepared


@contextlib.contextmanager
def readable_source(context: Context) -> Iterator[Path]:
    """Give a folder from which mlx-lm reads the source as it is meant: links, and the config in its spelling."""
    paths: list[str] = context.report(context.variants[0], "inspect").result["source"]["files"]
    with context.work.aside("source") as aside:
        yield prepare(source_of(context), paths, aside).links


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
        _place(folder / path, prepared.side / path, link=False)
    return frozenset(
        path
        for path in prepared.side_files
        if not is_legal(path) and sha256_of(prepared.side / path) != sha256_of(prepared.source / path)
    )


def _place(target: Path, source: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)
