"""A sigstore of one's own on loopback: a CA that takes an identity, a log of certificates, a log of signatures.

What is public about it, as the file that MLX_PUBLISH_SIGSTORE names, tells sigstore's client to ask here and nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/lab/models/.github/workflows/publish.yml@refs/tags/tiny/v1"
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_REPOSITORY = ObjectIdentifier("1.3.6.1.4.1.57264.1.12")
REPO = "https://github.com/lab/models"
_LONG_AGO = "2020-01-01T00:00:00Z"


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Loopback:
    """The three services and GitHub's, which names the job. `asked` has the paths of all requests."""

    def __init__(self) -> None:
        self.root, self.certificates, self.log = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.asked: list[str] = []
        self.identity = WORKFLOW
        self.fails = ""
        self._ca = self._make_ca()
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, trust: Path) -> dict[str, str]:
        """What a job of GitHub's has, and where sigstore is."""
        trust.write_text(json.dumps(self.trust()), encoding="utf-8")
        return {
            "MLX_PUBLISH_SIGSTORE": str(trust),
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token-of-the-job",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/identity?job=1",
        }

    def trust(self) -> dict[str, Any]:
        """The client's trust configuration."""
        here = {"url": self.url, "majorApiVersion": 1, "validFor": {"start": _LONG_AGO}, "operator": "loopback"}
        authority = {
            "subject": {"organization": "loopback", "commonName": "loopback"},
            "uri": self.url,
            "certChain": {"certificates": [{"rawBytes": _b64(self._ca.public_bytes(Encoding.DER))}]},
            "validFor": {"start": _LONG_AGO},
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [self._instance(self.log)],
                "ctlogs": [self._instance(self.certificates)],
                "certificateAuthorities": [authority],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [here],
                "oidcUrls": [here],
                "rekorTlogUrls": [here],
                "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def _instance(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        public = {
            "rawBytes": _b64(_der(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": _LONG_AGO},
        }
        log_id = {"keyId": _b64(hashlib.sha256(_der(key)).digest())}
        return {"baseUrl": self.url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": log_id}

    def token(self) -> str:
        """An identity of this job, as GitHub mints it."""
        now = datetime.now(timezone.utc)
        claims = {
            "iss": ISSUER,
            "sub": "repo:lab/models",
            "aud": "sigstore",
            "job_workflow_ref": self.identity,
            "iat": now,
            "nbf": now - timedelta(minutes=1),
            "exp": now + timedelta(minutes=5),
        }
        return jwt.encode(claims, "k" * 32, algorithm="HS256")

    def _make_ca(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
        now, public = datetime.now(timezone.utc), self.root.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(of_a_ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.root, hashes.SHA256())
        )

    def certificate(self, request: bytes) -> list[str]:
        """Issue a certificate for the key of a request; the log of certificates vouches for it."""
        key = x509.load_pem_x509_csr(request).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        now = datetime.now(timezone.utc).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(_usage(of_a_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self.identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, ISSUER.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, _utf8(ISSUER)), critical=False)
            .add_extension(x509.UnrecognizedExtension(_REPOSITORY, _utf8(REPO)), critical=False)
        )
        # The log signs what the certificate is without its word.
        bare = builder.add_extension(_word(b"\0" * 8), critical=False).sign(self.root, hashes.SHA256())
        word = self._word_for(bare.tbs_precertificate_bytes, now)
        whole = builder.add_extension(_word(word), critical=False).sign(self.root, hashes.SHA256())
        return [certificate.public_bytes(Encoding.PEM).decode() for certificate in (whole, self._ca)]

    def _word_for(self, tbs: bytes, now: datetime) -> bytes:
        issuer = hashlib.sha256(_der(self.root)).digest()
        time = int(now.timestamp() * 1000)
        entry = issuer + len(tbs).to_bytes(3, "big") + tbs
        signature = _signed(self.certificates, struct.pack("!BBQH", 0, 0, time, 1) + entry + b"\0\0")
        log_id = hashlib.sha256(_der(self.certificates)).digest()
        return (
            b"\0" + log_id + struct.pack("!QH", time, 0) + b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        )

    def entry(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Take a signature into the log, whose only one it is."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = hashlib.sha256(base64.b64decode(envelope["payload"])).hexdigest()
        body = rfc8785.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {
                        "algorithm": "sha256",
                        "value": hashlib.sha256(content["envelope"].encode()).hexdigest(),
                    },
                    "payloadHash": {"algorithm": "sha256", "value": payload},
                    "signatures": [
                        {"signature": envelope["signatures"][0]["sig"], "verifier": content["verifiers"][0]}
                    ],
                },
            }
        )
        leaf, log_id = hashlib.sha256(b"\0" + body).digest(), hashlib.sha256(_der(self.log)).digest()
        time = int(datetime.now(timezone.utc).timestamp())
        promise = rfc8785.dumps({"body": _b64(body), "integratedTime": time, "logID": log_id.hex(), "logIndex": 0})
        note = f"loopback - 1\n1\n{_b64(leaf)}\n"
        checkpoint = f"{note}\n\u2014 loopback {_b64(log_id[:4] + _signed(self.log, note.encode()))}\n"
        return {
            "0" * 64: {
                "body": _b64(body),
                "integratedTime": time,
                "logID": log_id.hex(),
                "logIndex": 0,
                "verification": {
                    "signedEntryTimestamp": _b64(_signed(self.log, promise)),
                    "inclusionProof": {
                        "logIndex": 0,
                        "treeSize": 1,
                        "rootHash": leaf.hex(),
                        "hashes": [],
                        "checkpoint": checkpoint,
                    },
                },
            }
        }


def _utf8(text: str) -> bytes:
    return b"\x0c" + bytes([len(text)]) + text.encode()


def _usage(*, of_a_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not of_a_ca,
        key_cert_sign=of_a_ca,
        crl_sign=of_a_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _word(word: bytes) -> x509.UnrecognizedExtension:
    """The extension in which a log vouches for a certificate (RFC 6962)."""
    listed = struct.pack("!H", len(word)) + word
    text = struct.pack("!H", len(listed)) + listed
    head = bytes([len(text)]) if len(text) < 128 else bytes([0x81, len(text)])
    return x509.UnrecognizedExtension(ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS, b"\x04" + head + text)


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback

    def do_GET(self) -> None:
        self._answer({"value": self.loopback.token()})

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/signingCert"):
            chain = self.loopback.certificate(base64.b64decode(given["certificateSigningRequest"]))
            self._answer({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}})
        else:
            self._answer(self.loopback.entry(given))

    def _answer(self, data: object) -> None:
        self.loopback.asked.append(self.path)
        self.send_response(503 if self.loopback.fails and self.loopback.fails in self.path else 200)
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""
