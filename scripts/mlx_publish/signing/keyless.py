"""Signing without a key: the job's identity becomes a certificate of some minutes, and the act stands in a public log.

All of it is sigstore's own library, which the extra `sign` brings. The trust it begins with comes from sigstore's
repository (TUF), or from the file that MLX_PUBLISH_SIGSTORE names, for an instance of one's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.github.runner import Runner
from mlx_publish.signing.bundle import Bundle
from mlx_publish.text import kit
from mlx_publish.text.masking import learn

TRUST = "MLX_PUBLISH_SIGSTORE"
GITHUB = "https://token.actions.githubusercontent.com"
"""Who vouches for the identity of GitHub's jobs."""
_ISSUER, _REPOSITORY = "1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.12"


@dataclass(frozen=True)
class Named:
    """The names in a certificate: who signed, who vouches for that, and for which repo the job ran.

    A workflow that many call has one identity for all of them; the repo tells them apart.
    """

    identity: str = ""
    issuer: str = ""
    repository: str = ""

    def __str__(self) -> str:
        """Return the three for a message, cut."""
        ran = f", run for {self.repository[:200]}" if self.repository else ""
        return f"{self.identity[:200]} ({self.issuer[:100]}){ran}"


def identity_token() -> str:
    """Ask GitHub, or another machine that knows who runs there, for an identity that sigstore takes.

    Raises `BadInput` where this job has none.
    """
    oidc = _module("sigstore.oidc")
    try:
        token = oidc.detect_credential()
    except Exception as error:  # each surrounding has errors of its own
        if not Runner.from_env().mints_identities:
            raise BadInput(
                "the policy asks for a signature by sigstore, and this job may not ask for an identity",
                place="sign",
                remedy="Give the job 'permissions: id-token: write'.",
            ) from error
        raise SurroundingsError(
            f"GitHub does not tell this job's identity: {type(error).__name__}", remedy="Run the same command again."
        ) from error
    if not token:
        raise BadInput(
            "the policy asks for a signature by sigstore, and this job has no identity",
            place="sign",
            remedy="Publish from a workflow whose job has 'permissions: id-token: write', or sign with a key.",
        )
    learn(token)
    return str(token)


def sign_keyless(payload: bytes) -> str:
    """Sign a statement in the name of this job. Return the bundle, with certificate and entry of the log."""
    token = identity_token()
    signing, oidc = _module("sigstore.sign"), _module("sigstore.oidc")
    try:
        context = signing.SigningContext.from_trust_config(_trust())
        with context.signer(oidc.IdentityToken(token)) as signer:
            return str(signer.sign_dsse(_module("sigstore.dsse").Statement(payload)).to_json()) + "\n"
    except Exception as error:  # each of its parts has errors of its own, with no base in common
        raise SurroundingsError(
            f"sigstore did not sign: {type(error).__name__}: {str(error)[:200]}", remedy="Run the same command again."
        ) from error


def why_unproven(bundle: Bundle, wanted: Named) -> str:
    """Return why a bundle is not proven to be of whom is wanted; empty where it is.

    `repository` counts where it is given, as `OWNER/REPO`. Raises `SurroundingsError` where sigstore's roots cannot be
    had.
    """
    models, policy = _module("sigstore.models"), _module("sigstore.verify.policy")
    verifier = _module("sigstore.verify").Verifier(trusted_root=_trust().trusted_root)
    try:
        whole = models.Bundle.from_json(bundle.text)
        asked = [policy.Identity(identity=wanted.identity, issuer=wanted.issuer)]
        if wanted.repository:
            asked.append(policy.OIDCSourceRepositoryURI(f"https://github.com/{wanted.repository}"))
        _, payload = verifier.verify_dsse(whole, policy.AllOf(asked))
    except (ValueError, KeyError, TypeError, _errors()) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "" if payload == bundle.payload else "what was verified is not what was read"


def named_in(bundle: Bundle) -> Named:
    """Return the names in a certificate, which prove nothing by themselves; empty where it cannot be read."""
    try:
        from cryptography import x509  # noqa: PLC0415
    except ImportError:
        return Named()
    try:
        certificate = x509.load_der_x509_certificate(bundle.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        more = {
            extension.oid.dotted_string: _utf8(getattr(extension.value, "value", b""))
            for extension in certificate.extensions
        }
        first = next((str(name.value) for name in names), "")
        return Named(first, more.get(_ISSUER, ""), more.get(_REPOSITORY, ""))
    except (ValueError, x509.ExtensionNotFound):
        return Named()


def _utf8(der: object) -> str:
    """Return the text of an UTF8String in DER; empty for anything else."""
    if not isinstance(der, bytes) or der[:1] != b"\x0c":
        return ""
    start = 3 if der[1:2] == b"\x81" else 2
    return der[start:].decode("utf-8", "replace")


def _trust() -> Any:
    config = _module("sigstore.models").ClientTrustConfig
    try:
        if given := os.environ.get(TRUST):
            return config.from_json(Path(given).read_text(encoding="utf-8"))
        return config.production()
    except (OSError, ValueError, _errors()) as error:
        raise SurroundingsError(
            f"sigstore's roots cannot be had: {type(error).__name__}: {str(error)[:200]}",
            remedy=f"Look at the network, or at the file that {TRUST} names.",
        ) from error


def _errors() -> type[Exception]:
    base: type[Exception] = _module("sigstore.errors").Error
    return base


def _module(name: str) -> Any:
    import importlib  # noqa: PLC0415

    try:
        return importlib.import_module(name)
    except ImportError:
        raise SurroundingsError(
            "keyless signatures need the package sigstore, which is not installed",
            remedy=kit.install("sign"),
        ) from None
