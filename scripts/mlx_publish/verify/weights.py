"""Compare published weights with converted ones where their files differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.weight_differences import WeightDifferences
from mlx_publish.hub.fetch import fetch
from mlx_publish.hub.repo import RepoFiles
from mlx_publish.model.files import FolderFiles, read_json_file
from mlx_publish.source.bounds import bounds
from mlx_publish.verify.published import Published


def differing_weights(context: Context, published: Published, made: Mapping[str, str]) -> WeightDifferences | None:
    """Return how published weights differ from those that were just converted; None if no file does.

    `made` are SHA-256 of the converted files by path. Of a repo only the files that differ are downloaded.
    """
    [variant] = context.variants
    folder = context.work.model(variant.label)
    theirs = {path: digest for path, digest in _weights(published.sha256).items() if path in published.entries}
    ours = _weights(made)
    if theirs == ours:
        return None
    same = {*theirs.values()} & {*ours.values()}
    other = sorted(path for path, digest in theirs.items() if digest not in same)
    config = read_json_file(FolderFiles(folder), "config.json") or {}
    arguments = {
        "rebuilt": [(path, str(folder / path)) for path, digest in ours.items() if digest not in same],
        "untouched": [(path, str(folder / path)) for path, digest in ours.items() if digest in same],
        "quantization": config.get("quantization") or {},
    }
    log = context.work.variant(variant.label) / "differences.log"
    with context.console.busy(f"verify  {published.name}"):
        arguments["published"] = [(path, str(place)) for path, place in local(published, other, context).items()]
        job = Job("differences", arguments, log, bounds(context))
        return from_json(WeightDifferences, run_job(job, context.console.progress))


def _weights(sha256: Mapping[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in sha256.items() if is_weight(path)}


def is_weight(path: str) -> bool:
    """Return whether a file holds tensors."""
    return path.endswith(".safetensors")


def local(published: Published, paths: list[str], context: Context) -> dict[str, Path]:
    """Return where files lie on this disk."""
    files = published.files
    if isinstance(files, RepoFiles) and paths:
        entries = [files.entries[path] for path in paths]
        loaded = fetch(files.repo, files.commit, entries, context.work, context.console.progress)
        loaded.verify()
        return {path: loaded.folder / path for path in paths}
    if isinstance(files, FolderFiles):
        return {path: files.look.places[path].real for path in paths}
    return {}
