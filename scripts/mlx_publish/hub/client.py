"""The Hub's client, with its many exceptions turned into our few."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mlx_publish.errors import BadInput, PublishError, Refused, SurroundingsError
from mlx_publish.hub.endpoint import guard, judge_endpoint
from mlx_publish.hub.watch import retry_after
from mlx_publish.text.masking import learn, without_secrets

_TOKEN = re.compile(r"[!-~]*")
_FULL = re.compile(r"(private\b.{0,40}?)?\bstorage (?:limit|quota|patterns)", re.IGNORECASE)
"""How the Hub says that an account may store no more: "Private repository storage limit reached", for one."""
WRITABLE = "destination-writable"
"""The check under which missing rights stand in the report."""
_PUBLISHER = "Add this repo and workflow as a trusted publisher in the settings of the Hub repo."
LIMITS = "hub-limits"
"""The check under which stands what the Hub does not take."""
_acting: ContextVar[str | bool | None] = ContextVar("acting", default=None)

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError


class StorageFull(Refused):
    """The account may store nothing more on the Hub; `private` where that is so of its private repos."""

    def __init__(self, message: str, *, private: bool) -> None:
        remedy = "Free space in the account's storage settings, or take a plan with more. "
        remedy += "Files that arrived are not sent again."
        if private:
            public = "Public repos do not count there: remove 'private: true' from the recipe, or make your repo public"
            remedy = f"{public} in its settings. Or: {remedy}"
        super().__init__(message, check=LIMITS, remedy=remedy)
        self.private = private


def hub_api(*, token: bool | str | None = None) -> HfApi:
    """Return a client for the Hub of `HF_ENDPOINT`.

    Without `token` it is that of `acting_as`, else HF_TOKEN, else none; a token file is never read. Raises `BadInput`
    where a token would go there without TLS.
    """
    _untold()
    from huggingface_hub import HfApi, __version__  # noqa: PLC0415  0.2 s that a local folder need not pay

    from mlx_publish import __version__ as own  # noqa: PLC0415

    asking = token if token is not None else _acting.get() or given_token() or False
    if asking is True:
        asking = exchanged()
    judge_endpoint(token=bool(asking))
    guard()
    return HfApi(
        token=asking,
        library_name="mlx-publish",
        library_version=own,
        user_agent={"huggingface_hub": __version__},
    )


@contextmanager
def client_loaded() -> Iterator[None]:
    """Load the client meanwhile: who digests a folder first does not wait for it afterwards."""
    thread = threading.Thread(target=_load, name="client")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _load() -> None:
    _untold()
    # Whatever keeps it from being loaded comes up again where it is used.
    with suppress(Exception):
        from huggingface_hub import HfApi  # noqa: F401, PLC0415


def _untold() -> None:
    """Turn the client's telemetry off, which it reads as it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def given_token() -> str | None:
    """Return the token of the environment, or None. Raises `BadInput`, without the text, for what can be no token."""
    name = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "HUGGING_FACE_HUB_TOKEN"
    token = os.environ.get(name, "").strip()
    if not _TOKEN.fullmatch(token):
        # An HTTP library would show the whole of it, escaped, in its error.
        raise BadInput(
            "contains a character that is not allowed in a token, such as an accented letter, a space or a line break",
            place=name,
            remedy="Set it to exactly the token that the Hub shows: letters, digits and '_'.",
        )
    return token or None


def exchanged() -> str:
    """Return the token for the job's identity: the last one, or where that is about to end a new one.

    Raises `Refused` if the Hub does not take the identity, or takes it no more.
    """
    from huggingface_hub import get_token  # noqa: PLC0415

    try:
        with hub_errors("the exchange of this job's identity for a token"):
            token = get_token() or ""
    except PublishError as error:
        if os.environ.get("HF_OIDC_ID_TOKEN"):
            remedy = "An identity is valid for minutes, its token for an hour. Run the job again for a new identity; "
            remedy += "files that the Hub already has are not sent again."
        elif isinstance(error, Refused):
            remedy = _PUBLISHER
        else:
            raise
        raise Refused(str(error), check=WRITABLE, remedy=remedy) from error
    learn(token)
    return token


@contextmanager
def acting_as(token: str | bool) -> Iterator[None]:
    """Ask the Hub with this token; True is the one that the client exchanges for a job's identity, and renews."""
    before = _acting.set(token)
    try:
        yield
    finally:
        _acting.reset(before)


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn an exception of the client into one of ours; `what` names the repo or the step.

    The exceptions: https://huggingface.co/docs/huggingface_hub/package_reference/utilities
    """
    from huggingface_hub import errors  # noqa: PLC0415
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # noqa: PLC0415  of its HTTP library

    no_identity: Any = getattr(errors, "OIDCError", ())  # older clients exchange none
    try:
        yield
    except PublishError:
        raise
    except no_identity as error:
        raise Refused(
            str(error),
            check=WRITABLE,
            remedy=_PUBLISHER,
        ) from error
    except errors.GatedRepoError as error:
        raise BadInput(
            f"{what} is gated, and this token may not read it",
            remedy="Accept the terms on its page, then set HF_TOKEN to a token of that account.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BadInput(
            f"{what} does not exist on {_endpoint()}, or this token may not see it",
            remedy="Check the spelling; for a private repo set HF_TOKEN.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BadInput(
            f"{what}: revision not found",
            remedy="Give a commit of 40 hex digits, a tag or a branch. "
            "To write the newest commit into a recipe, run: mlx-publish pin RECIPE --update",
        ) from error
    except errors.HFValidationError as error:
        raise BadInput(f"{what}: {error}") from error
    except errors.HfHubHTTPError as error:
        raise _by_status(error, what) from error
    except (
        HTTPError,
        errors.LocalEntryNotFoundError,
        errors.RevisionResolutionError,
        errors.XetDownloadError,
        OSError,
        RuntimeError,
    ) as error:
        raise _surroundings(error, what) from error


def _by_status(error: HfHubHTTPError, what: str) -> PublishError:
    status = error.response.status_code
    reason = without_secrets(str(error.server_message or error.response.reason_phrase))
    message = f"{what}: the Hub answered {status}: {reason}"
    if status == 403 and (full := _FULL.search(reason)):
        return StorageFull(message, private=bool(full[1]))
    if status in (401, 403):
        return Refused(message, remedy="Set HF_TOKEN to a token with access to this repo.")
    if status == 412:
        return SurroundingsError(message, remedy="Somebody else committed in the meantime; run the same command again.")
    return SurroundingsError(
        message,
        remedy="Run the same command again later; nothing is left half-done.",
        retry_after=retry_after(error.response.headers),
        status=status,
    )


def _surroundings(error: BaseException, what: str) -> PublishError:
    cause: BaseException | None = error
    while cause is not None:
        # The client wraps what the storage of large files answers.
        if "403" in str(cause) and (full := _FULL.search(str(cause))):
            reason = without_secrets(str(cause).strip().splitlines()[-1])
            return StorageFull(f"{what}: the Hub answered 403: {reason}", private=bool(full[1]))
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return SurroundingsError(
                f"{what}: the disk is full",
                remedy="Free space, or set HF_HOME to a larger disk; then run again.",
            )
        cause = cause.__cause__ or cause.__context__
    first = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return SurroundingsError(
        f"{what}: no answer from {_endpoint()}: {first[0]}",
        remedy="Check the network, then run the same command again; completed downloads are kept.",
    )


def _endpoint() -> str:
    from huggingface_hub import constants  # noqa: PLC0415

    return constants.ENDPOINT
