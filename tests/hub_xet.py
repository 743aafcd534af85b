"""Xet on the loopback Hub: its content lies in a folder that hf_xet itself fills and reads.

The Hub finds a file by its SHA-256 in the shards that an upload leaves, as the real one does. Layout of a shard, read of
hf_xet 1.8's: a header of 48 bytes, then for each file records of 48 bytes, the first with the file's hash, flags and how
many segments follow, after which come as many proofs and one record with the SHA-256, as the flags say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from hub_calls import Answer, Call, route, say, signed_in
from hub_store import HubError

RECORD = 48
PROOFS, EXTENDED = 1 << 31, 1 << 30
NEVER = 4102444800


@dataclass(frozen=True)
class Stored:
    """A file in Xet's storage: its hash there, and its size in bytes."""

    hash: str
    size: int


@route("GET", r"/api/models/{repo}/xet-write-token/{rev}")
def write_token(call: Call, repo: str, rev: str) -> Answer:
    if call.site.xet is None:
        raise HubError(404, "this loopback Hub has no Xet")
    signed_in(call, repo)
    return say({"casUrl": f"local://{call.site.xet}", "exp": NEVER, "accessToken": "of Xet"})


def take(xet: Path, sha256: str, to: Path) -> bool:
    """Put a file that was uploaded through Xet together again; tells whether there is one of this digest."""
    file = next((entry for shard in (xet / "xet/xorbs/shards").glob("*.mdb") if (entry := _find(shard, sha256))), None)
    if file is None:
        return False
    from hf_xet import XetFileInfo, XetSession  # type: ignore[import-untyped]  # noqa: PLC0415  most tests are without

    with XetSession().new_file_download_group(
        endpoint=f"local://{xet}", token="of Xet", token_expiry_unix_secs=NEVER
    ) as group:
        group.start_download_file(XetFileInfo(file.hash, file.size), str(to))
    return True


def _find(shard: Path, sha256: str) -> Stored | None:
    content = shard.read_bytes()
    at = RECORD
    while (first := content[at : at + 32]) != b"\xff" * 32 and len(first) == 32:
        flags, segments = struct.unpack_from("<II", content, at + 32)
        sizes = [struct.unpack_from("<I", content, at + RECORD * (n + 1) + 36)[0] for n in range(segments)]
        at += RECORD * (1 + segments * (2 if flags & PROOFS else 1))
        if flags & EXTENDED:
            if _hex(content[at : at + 32]) == sha256:
                return Stored(_hex(first), sum(sizes))
            at += RECORD
    return None


def _hex(digest: bytes) -> str:
    """Xet writes a digest as four little-endian numbers."""
    return "".join(digest[at : at + 8][::-1].hex() for at in range(0, 32, 8))
