"""The statement that a model's signature signs: its name and the SHA-256 of every published file, as in-toto has it.

The format is the OpenSSF's: https://github.com/sigstore/model-transparency, predicate `signature/v1.0`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.json_text import FaultyJson, parse

SIGNATURE = "model.sig"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
IGNORED = (SIGNATURE, ".cache", ".git", ".gitattributes", ".github", ".gitignore")
"""Paths that verifiers ignore: the signature, files that a Hub adds, and its client's notes about a download."""
_HEX = re.compile(r"[0-9a-f]{64}")


class Unreadable(ValueError):
    """A signature, or what it signs, breaks the format; the message says how."""


@dataclass(frozen=True)
class Signed:
    """The signed model: its name, and SHA-256 in hex by the path of each file."""

    name: str
    sha256: Mapping[str, str]


def statement_of(signed: Signed) -> bytes:
    """Return the bytes of the statement; the same files give the same bytes."""
    files = sorted(signed.sha256.items(), key=lambda file: PurePosixPath(file[0]).parts)
    return json.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": signed.name, "digest": {"sha256": _of_all(digest for _, digest in files)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": list(IGNORED),
                },
                "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in files],
            },
        },
        indent=1,
    ).encode()


def read_statement(payload: bytes) -> Signed:
    """Return what a statement signs. `Unreadable` if it is another kind, or where two readers could differ."""
    with laid_out("statement"):
        data = parse(payload, EVIDENCE)
        _need(data["_type"] == STATEMENT_TYPE, "it does not sign an in-toto statement")
        _need(data["predicateType"] == PREDICATE_TYPE, "it signs something other than the files of a model")
        (subject,) = data["subject"]
        files = _files(data["predicate"])
        _need(subject["digest"]["sha256"] == _of_all(files.values()), "its digest does not match the files it lists")
        return Signed(str(subject["name"]), files)


@contextlib.contextmanager
def laid_out(what: str) -> Iterator[None]:
    """Turn the errors of reading foreign JSON of another layout into `Unreadable`."""
    try:
        yield
    except (Unreadable, FaultyJson) as error:
        raise Unreadable(str(error)) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"its {what} has an unexpected layout ({type(error).__name__})") from None


def _need(so: bool, otherwise: str) -> None:
    if not so:
        raise Unreadable(otherwise)


def _files(predicate: Mapping[str, Any]) -> dict[str, str]:
    """Return SHA-256 in hex by path. `Unreadable` for other digests, for a file listed twice, and for the signature."""
    how = predicate["serialization"]
    of_files = how["method"] == "files" and how["hash_type"] == "sha256"
    _need(of_files, "its digests are not SHA-256 of whole files, the only kind supported")
    files: dict[str, str] = {}
    for resource in predicate["resources"]:
        path, digest = resource["name"], resource["digest"]
        fits = resource["algorithm"] == "sha256" and bool(_HEX.fullmatch(digest)) and isinstance(path, str)
        _need(fits, "one of its digests is not SHA-256")
        _need(path not in files and path != SIGNATURE, "it lists a file twice, or lists itself")
        files[path] = digest
    return files


def _of_all(digests: Iterable[str]) -> str:
    """Return SHA-256 over the digests, one behind the other, in the order of the files."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()
