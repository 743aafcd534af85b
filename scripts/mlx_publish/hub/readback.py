"""Some of the bytes once more, by the way on which anybody loads the model, compared with those on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlx_publish.errors import Refused
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.hub.manifest import Sent

PIECE = 64 << 10
"""Bytes of a piece."""


def read_back(repo: str, commit: str, files: Sequence[Sent]) -> int:
    """Load beginning, middle and end of each file of the weights, and small files whole; returns how many bytes.

    Raises `Refused` that names the file whose bytes are others.
    """
    count = 0
    for file in files:
        for start, length in _pieces(file.size):
            count += length
            if _load(repo, commit, file.path, start, length) != _local(file, start, length):
                raise Refused(
                    f"{file.path} at {repo}@{commit[:12]} is loaded with other bytes ({length} from {start} on)",
                    check="remote-equal", remedy="It was not tagged. Run the same command again.",
                )  # fmt: skip
    return count


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    if size <= 3 * PIECE:
        if size:
            yield 0, size
        return
    yield from ((start, PIECE) for start in (0, (size - PIECE) // 2, size - PIECE))


def _local(file: Sent, start: int, length: int) -> bytes:
    with file.local.open("rb") as stream:
        stream.seek(start)
        return stream.read(length)


def _load(repo: str, commit: str, path: str, start: int, length: int) -> bytes:
    from huggingface_hub import HfFileSystem  # noqa: PLC0415

    api = hub_api()
    disk = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    with hub_errors(f"{repo}/{path}"):
        found: bytes = disk.cat_file(f"{repo}@{commit}/{path}", start=start, end=start + length)
    return found
