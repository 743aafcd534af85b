"""Evidence signed by the machine that measured: an SSH signature over the very bytes, of the namespace `mlx-publish`.

Anyone with OpenSSH verifies it: `ssh-keygen -Y verify -f SIGNERS -I NAME -n mlx-publish -s mlx-publish.sig < mlx-publish.json`.
"""  # noqa: E501  one command

from __future__ import annotations

import base64
import os
from pathlib import Path

from mlx_publish.errors import BadInput
from mlx_publish.signing.programs import complaint, ssh_keygen
from mlx_publish.text.files import write_atomically
from mlx_publish.text.temporary import TemporaryFolder

KEY = "MLX_PUBLISH_EVIDENCE_KEY"
NAMESPACE = "mlx-publish"
PUBLISHED = "mlx-publish.sig"
"""The signature as it lies beside `mlx-publish.json`; beside a reviewed card it is `evidence.sig`."""
LARGEST = 64 << 10
_MAKE = "Create one with: ssh-keygen -t ed25519 -N '' -C mlx-publish -f ~/.mlx-publish/evidence"


def evidence_key() -> Path | None:
    """Return the path of this machine's key, or None. `BadInput` if no file there can be read."""
    given = os.environ.get(KEY, "").strip()
    if not given:
        return None
    path = Path(given).expanduser().absolute()
    try:
        readable = path.is_file() and os.access(path, os.R_OK)
    except (OSError, ValueError):
        readable = False
    if not readable:
        raise BadInput("is not the path of a private key file", place=KEY, remedy=_MAKE)
    return path


def sign_evidence(evidence: bytes, signature: Path) -> bool:
    """Write the signature of this machine, or remove an old one where it has no key. Return whether it has one."""
    key = evidence_key()
    if key is None:
        signature.unlink(missing_ok=True)
        return False
    outcome = ssh_keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", key, text=evidence)
    if outcome.code or not outcome.out.startswith("-----BEGIN SSH SIGNATURE-----"):
        raise BadInput(f"ssh-keygen cannot sign with it: {complaint(outcome)}", place=KEY, remedy=_MAKE)
    write_atomically(signature, outcome.out)
    return True


def is_of_this_machine(signature: Path) -> bool:
    """Return whether nothing has to be signed anew: the signature is by the key of this machine, or it has none."""
    key = evidence_key()
    if key is None:
        return True
    try:
        blob = base64.b64decode("".join(signature.read_text("ascii").split("\n")[1:-2]))
    except (OSError, ValueError):
        return False
    words = ssh_keygen("-y", "-P", "", "-f", key).out.split()
    return len(words) > 1 and base64.b64decode(words[1]) in blob


def signer_of(evidence: bytes, signature: bytes, signers: bytes) -> tuple[str, str]:
    """Return who of the allowed `signers` signed these bytes, and the key; or an empty name, and why nobody did.

    `signers` is the content of a file as OpenSSH's ALLOWED SIGNERS (man ssh-keygen).
    """
    if len(signature) > LARGEST:
        return "", f"its {len(signature):,} bytes are too many for a signature"
    with TemporaryFolder() as aside:
        allowed, sig = Path(aside, "signers"), Path(aside, "sig")
        allowed.write_bytes(signers)
        sig.write_bytes(signature)
        principals = ssh_keygen("-Y", "find-principals", "-f", allowed, "-s", sig)
        name = next(iter(principals.out.splitlines()), "").partition(",")[0].strip()
        if principals.code or not name:
            return "", f"not by a listed key ({complaint(principals)})"
        outcome = ssh_keygen("-Y", "verify", "-n", NAMESPACE, "-f", allowed, "-s", sig, "-I", name, text=evidence)
    if outcome.code:
        return "", f"not valid for these bytes, this purpose or this time ({complaint(outcome)})"
    return name, outcome.out.strip().rpartition(" key ")[2]
