"""Signing and verifying with an elliptic key in PEM, as the package `model-signing` makes and takes them.

The arithmetic is that of `cryptography`, which the extra `sign` brings; it is loaded only where a key is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.signing.bundle import Bundle, bundle_text, signing_input
from mlx_publish.text import kit
from mlx_publish.text.masking import learn

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

KEY, PASSWORD = "MLX_PUBLISH_SIGNING_KEY", "MLX_PUBLISH_SIGNING_PASSWORD"
_MAKE = "Make one with: openssl ecparam -name prime256v1 -genkey -noout -out signing.pem"
_LARGEST = 64 << 10


def take_key(environment: MutableMapping[str, str] = os.environ) -> EllipticCurvePrivateKey:
    """Take the key out of the environment, where it stands as the path of its file or as PEM text.

    From then on messages mask its text, and no child process inherits it.
    Raises `BadInput` where there is none, or where it is no key that other tools verify.
    """
    given, password = environment.get(KEY, "").strip(), environment.get(PASSWORD, "")
    if not given:
        raise BadInput(
            "the policy asks for a signature by a key, and none is given", place=KEY, remedy=f"Set it. {_MAKE}"
        )
    text = given if given.startswith("-----BEGIN") else _read(Path(given).expanduser())
    for secret in (password, *(line for line in text.splitlines() if "-----" not in line)):
        learn(secret.strip())
    key = _private(text.encode(), password.encode() or None)
    environment.pop(PASSWORD, None)
    environment[KEY] = ""
    return key


def sign_with_key(payload: bytes, key: EllipticCurvePrivateKey) -> str:
    """Sign a statement. Return the bundle. The same key and statement give the same bytes, where OpenSSL can do that.

    So nothing is published anew where nothing changed.
    """
    ec = _ec()
    message, digest = signing_input(payload), _digest_for(key.public_key())
    try:
        signature = key.sign(message, ec.ECDSA(digest, deterministic_signing=True))
    except _unsupported():
        signature = key.sign(message, ec.ECDSA(digest))
    return bundle_text(payload, signature, fingerprint(key.public_key()))


def public_key(path: Path) -> EllipticCurvePublicKey:
    """Read a public key in PEM. `BadInput` where there is none."""
    ec = _ec()
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(_read(path, "--key").encode())
    except (ValueError, _unsupported()):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadInput(
            "holds no public elliptic key in PEM",
            place=str(path),
            remedy="Give what this prints: openssl ec -in signing.pem -pubout",
        )
    public: EllipticCurvePublicKey = key
    _digest_for(public, str(path))
    return public


def is_signed_by(bundle: Bundle, key: EllipticCurvePublicKey) -> bool:
    """Tell whether the key's other half signed the bundle."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        key.verify(bundle.signature, signing_input(bundle.payload), _ec().ECDSA(_digest_for(key)))
    except InvalidSignature:
        return False
    return bundle.key in ("", fingerprint(key))


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Return SHA-256 of a public key in PEM, by which a bundle names it."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.PEM, form)).hexdigest()


def _private(text: bytes, password: bytes | None) -> EllipticCurvePrivateKey:
    ec = _ec()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(text, password)
    except TypeError:  # one is given and not needed, or the other way round
        why = f"does not fit {PASSWORD}: one of the two is encrypted or set, and the other is not"
        raise BadInput(why, place=KEY, remedy=f"Set {PASSWORD} for an encrypted key, and only then.") from None
    except (ValueError, _unsupported()):
        raise BadInput("is no private key in PEM, nor its path", place=KEY, remedy=_MAKE) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInput("is no elliptic key", place=KEY, remedy=_MAKE)
    private: EllipticCurvePrivateKey = key
    _digest_for(private.public_key())
    return private


def _digest_for(key: EllipticCurvePublicKey, place: str = KEY) -> HashAlgorithm:
    """Return the digest that the format pairs with a curve. `BadInput` for curves that it does not have."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    known = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
    if key.curve.name not in known:
        raise BadInput(f"is on the curve {key.curve.name}, which others do not verify", place=place, remedy=_MAKE)
    return known[key.curve.name]


def _read(path: Path, place: str = KEY) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("ascii")
    except UnicodeDecodeError:
        raise BadInput("names a file that is no PEM", place=place, remedy=_MAKE) from None
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no path"
        raise BadInput(f"names no file that can be read ({why})", place=place, remedy="Give its path.") from None


def _ec() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError:
        raise SurroundingsError(
            "signing keys need the package cryptography, which is not installed", remedy=kit.install("sign")
        ) from None
    return ec


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    return UnsupportedAlgorithm
