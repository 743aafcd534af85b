"""The signature of what is published, as the policy asks for it."""

from __future__ import annotations

from pathlib import Path

from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.hub.manifest import Sent
from mlx_publish.recipes.policy import Policy
from mlx_publish.signing.keyless import identity_token, sign_keyless
from mlx_publish.signing.keys import sign_with_key, take_key
from mlx_publish.signing.statement import IGNORED, SIGNATURE, Signed, statement_of
from mlx_publish.text.files import write_atomically


class Signer:
    """The signer of published files, made before anything slow begins, so that a missing key costs no hours."""

    def __init__(self, policy: Policy) -> None:
        """Take the key, or check that this job has an identity. `BadInput` if the policy asks for what it lacks."""
        self._how = policy.spec.sign
        self._key = take_key() if self._how == "key" else None
        if self._how == "sigstore":
            identity_token()

    def signed(self, files: tuple[Sent, ...], name: str, folder: Path) -> tuple[Sent, ...]:
        """Return the files with `model.sig`, which is made of their digests and written to `folder`.

        The signature covers card and evidence, too. Where the policy asks for none, the files come back as they are.
        """
        if self._how == "none":
            return files
        digests = {file.path: file.sha256 for file in files}
        if ignored := sorted(path for path in digests if path.partition("/")[0] in IGNORED):
            raise Refused(
                f"{ignored[0]} would be published unsigned, because verifiers ignore it",
                check="only-model-files",
                remedy="Remove it from model/.",
            )
        payload = statement_of(Signed(name, digests))
        text = sign_keyless(payload) if self._key is None else sign_with_key(payload, self._key)
        path = folder / SIGNATURE
        write_atomically(path, text)
        return (*files, Sent(SIGNATURE, path, path.stat().st_size, sha256_of(path)))
