"""The envelope of a signature: sigstore's bundle in JSON, with a DSSE envelope in it.

https://docs.sigstore.dev/about/bundle/, https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from mlx_publish.signing.statement import Unreadable, laid_out
from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.files import json_text
from mlx_publish.text.json_text import parse

_MEDIA = "application/vnd.dev.sigstore.bundle"
MEDIA_TYPE = f"{_MEDIA}.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LARGEST = 4 << 20
"""Bytes of a bundle; one of a thousand files has some two hundred thousand."""


@dataclass(frozen=True)
class Bundle:
    """The signed payload, its signature, and the signer's key or certificate."""

    payload: bytes
    signature: bytes
    key: str = ""
    """SHA-256 of the public key in PEM; empty if it was signed with a certificate."""
    certificate: bytes = b""
    """The signer's certificate in DER; empty if it was signed with a bare key."""
    text: bytes = b""
    """The bundle as it was read, for sigstore's own verifier."""


def signing_input(payload: bytes) -> bytes:
    """Return the bytes that are signed: type and payload, each behind its length (DSSE's PAE)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def bundle_text(payload: bytes, signature: bytes, key: str) -> str:
    """Return a bundle that a bare key signed; `key` is SHA-256 of its public half in PEM."""
    return json_text(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": _encoded(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": _encoded(signature), "keyid": ""}],
            },
        }
    )


def read_bundle(text: bytes) -> Bundle:
    """Read a bundle. `Unreadable` if it is none, or holds more than one signature; nothing is verified."""
    if len(text) > LARGEST:
        raise Unreadable(f"its {len(text):,} bytes are too many for a signature")
    with laid_out("bundle"):
        data = parse(text, EVIDENCE)
        envelope, material = data["dsseEnvelope"], data["verificationMaterial"]
        kinds = (data["mediaType"].startswith(_MEDIA), envelope["payloadType"] == PAYLOAD_TYPE)
        (signature,) = envelope["signatures"]
        payload, signed = _decoded(envelope["payload"]), _decoded(signature["sig"])
        key = str(material["publicKey"].get("hint") or "") if "publicKey" in material else ""
        certificate = b""
        if "certificate" in material:
            certificate = _decoded(material["certificate"]["rawBytes"])
        elif "x509CertificateChain" in material:
            certificate = _decoded(material["x509CertificateChain"]["certificates"][0]["rawBytes"])
    if not all(kinds):
        raise Unreadable("it is not a sigstore bundle with an in-toto statement")
    return Bundle(payload, signed, key, certificate, text)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
