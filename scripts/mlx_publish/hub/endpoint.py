"""The Hub's address, and what may travel there: without TLS no token and nothing to publish, except to this machine."""

from __future__ import annotations

import ipaddress
import re
import sys
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.text.harmless import one_line
from mlx_publish.text.masking import without_secrets

VARIABLE = "HF_ENDPOINT"
# Nothing that another parser could read as another host: no user, no backslash, nothing escaped.
_PLAIN = re.compile(r"http://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(/[a-z0-9._~/-]*)?", re.I | re.ASCII)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: `localhost`, 127.0.0.0/8 or ::1, not a name that merely begins so."""
    name = host.strip("[]").casefold()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address in ipaddress.ip_network("127.0.0.0/8") if address.version == 4 else str(address) == "::1"


def has_tls(address: str) -> bool:
    """Return whether nobody on the way can read what goes to an address: it has TLS, or never leaves this machine.

    Raises `BadInput` for what is not a web address.
    """
    scheme = _scheme(address)
    if not scheme:
        raise BadInput(
            f"'{one_line(address)}' is not the address of a Hub",
            place=VARIABLE,
            remedy="Use an address such as https://huggingface.co, or unset the variable.",
        )
    if scheme == "https":
        return True
    plain = _PLAIN.fullmatch(address)
    return plain is not None and is_loopback(plain["host"])


def _scheme(address: str) -> str:
    """Return http or https; empty for an address that no client could ask."""
    try:
        parts = urlsplit(address)
        whole = bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port, an address of IPv6, a name that cannot be
        return ""
    odd = re.search(r"[\s\x00-\x1f\x7f]", address)
    return parts.scheme if whole and not odd and parts.scheme in ("http", "https") else ""


def judge_endpoint(*, token: bool = False, writing: bool = False) -> None:
    """Raise `BadInput` if HF_ENDPOINT has no TLS and a token, or what is published, would travel there.

    Reading without a token is let through with a warning.
    """
    from huggingface_hub import constants  # noqa: PLC0415  0.2 s

    if has_tls(constants.ENDPOINT):
        return
    shown = one_line(constants.ENDPOINT)
    if writing:
        raise BadInput(
            f"{shown} is HTTP without TLS: anyone on the network path could change the upload and steal the token",
            place=VARIABLE,
            remedy="Use an https:// address, or unset the variable.",
        )
    if token:
        raise BadInput(
            f"{shown} is HTTP without TLS: anyone on the network path could steal the token",
            place=VARIABLE,
            remedy="Use an https:// address, or unset HF_TOKEN to read public repos only.",
        )
    _warn(shown)


@cache
def _warn(shown: str) -> None:
    """Print the warning once."""
    message = (
        f"warning: {VARIABLE}: {shown} is HTTP without TLS: anyone on the network path could change what is downloaded"
    )
    print(without_secrets(message), file=sys.stderr, flush=True)


def before_request(request: Any) -> None:
    """Stop a token, and any request that writes, where a redirect or an answer of the Hub leads away from TLS.

    A hook of the HTTP library, which asks for each address on the way.
    """
    url = request.url
    if url.scheme == "https" or is_loopback(url.host):
        return
    if "authorization" in request.headers or request.method not in _READING:
        raise SurroundingsError(
            f"the Hub redirects to {one_line(url.host)} by HTTP without TLS; nothing was sent there",
            remedy=f"Check {VARIABLE} and the server behind it, then run the same command again.",
        )


def guarded_client() -> Any:
    """Make the client of huggingface_hub with this hook."""
    from huggingface_hub.utils._http import default_client_factory  # noqa: PLC0415  no public name

    client = default_client_factory()
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "request": [*hooks.get("request", []), before_request]}
    return client


@cache
def guard() -> None:
    """Make huggingface_hub use such a client, unless a watch has given it another."""
    from huggingface_hub import set_client_factory  # noqa: PLC0415  0.2 s

    set_client_factory(guarded_client)
