"""What the Hub takes of a model: sizes and numbers of files, and storage by the plan of an account.

Source: https://huggingface.co/docs/hub/storage-limits, as of January 2026. What the Hub is sure to refuse is refused
here, before anything is made; what it advises against is a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from mlx_publish.errors import PublishError
from mlx_publish.evidence.report import Finding
from mlx_publish.hub.client import LIMITS, given_token, hub_api, hub_errors
from mlx_publish.hub.identity import Account, resource
from mlx_publish.text.numbers import size

GB = 10**9
LARGEST_FILE, ADVISED_FILE = 500 * GB, 200 * GB
"""Bytes that no file exceeds, and that the Hub advises not to exceed."""
MOST_IN_A_FOLDER = 10_000
"""Files that one folder of a repo holds."""
COMMITTED = 256
"""Files from which on a commit is large: so many the client puts into one by itself. The Hub advises 100."""
PUBLIC = 1000 * GB
"""Bytes from which on a public model needs a plan or a grant."""
PRIVATE_FREE, PRIVATE_PRO = 100 * GB, 1000 * GB
"""Bytes that private repos of an account may hold together: without a plan, and with one (more is paid for)."""
WORTH_ASKING = 10 * GB
"""Bytes of a private model from which on the account is looked at."""
HOUR = 50 * GB
"""Bytes that an hour may be too short for, at 14 MB/s."""
_MOST_REPOS = 5000
_PLANS = "https://huggingface.co/docs/hub/storage-limits"


@dataclass(frozen=True)
class Load:
    """The files of a model on its way to a repo, or an estimate of them."""

    files: int
    largest: int
    """Bytes of the largest file."""
    bytes: int
    private: bool
    estimated: bool = False
    folder: int = 0
    """Files in the fullest folder."""
    one_token: bool = False
    """Whether it is sent with a token of an hour that cannot be renewed."""

    @classmethod
    def of(cls, sizes: Mapping[str, int], *, private: bool) -> Load:
        """Return the load of files by their paths."""
        folders: dict[str, int] = {}
        for path in sizes:
            folder = path.rpartition("/")[0]
            folders[folder] = folders.get(folder, 0) + 1
        largest, fullest = max(sizes.values(), default=0), max(folders.values(), default=0)
        one_token = bool(resource() and os.environ.get("HF_OIDC_ID_TOKEN"))
        return cls(len(sizes), largest, sum(sizes.values()), private, folder=fullest, one_token=one_token)


@dataclass(frozen=True)
class Storage:
    """What the Hub tells of an account's storage."""

    namespace: str
    paid: bool | None
    """Whether it has a plan; None where the Hub does not tell."""
    private_bytes: int | None
    """Bytes in its private repos; None where this token may not list them."""

    @property
    def words(self) -> str:
        """Say what is known."""
        plan = {True: "has a paid plan", False: "has no paid plan", None: "has a plan that this token cannot see"}
        used = "" if self.private_bytes is None else f" and {size(self.private_bytes)} in private repos"
        return f"{self.namespace} {plan[self.paid]}{used}"

    def lacks(self, load: Load) -> bool:
        """Return whether what is known leaves no room for a private repo."""
        return self.paid is False and load.bytes + (self.private_bytes or 0) > PRIVATE_FREE


def judge(load: Load, storage: Storage | None = None) -> tuple[Finding, ...]:
    """Return the finding about a load: a failure or a warning; nothing where the Hub takes it without ado."""
    refused = list(_refused(load))
    remarks = list(_advised_against(load, storage))
    if not (refused or remarks):
        return ()
    about = "the estimate" if load.estimated else "the model"
    words = "; ".join(message for message, _ in (*refused, *remarks))
    remedies = dict.fromkeys(remedy for _, remedy in (*refused, *remarks) if remedy)
    return (Finding(LIMITS, "fail" if refused else "warn", f"{about} has {words}", " ".join(remedies)),)


def _refused(load: Load) -> Iterator[tuple[str, str]]:
    if load.largest > LARGEST_FILE:
        yield f"a file of {size(load.largest)}, and the Hub takes none above {size(LARGEST_FILE)}", "Use fewer bits."
    if load.folder > MOST_IN_A_FOLDER:
        yield (
            f"{load.folder:,} files in one folder, and the Hub takes {MOST_IN_A_FOLDER:,}",
            "Leave files out of the source that its users do not need.",
        )


def _advised_against(load: Load, storage: Storage | None) -> Iterator[tuple[str, str]]:
    if ADVISED_FILE < load.largest <= LARGEST_FILE:
        yield f"a file of {size(load.largest)}, and the Hub advises to stay below {size(ADVISED_FILE)}", ""
    if load.files > COMMITTED:
        yield (
            f"{load.files:,} files for one commit, and the Hub advises 100",
            "Its answer may come late; the upload looks whether the commit is there before it asks again.",
        )
    if not load.private and load.bytes > PUBLIC:
        yield (
            f"{size(load.bytes)} for a public repo, and the Hub asks for a plan or a grant above {size(PUBLIC)}",
            f"See {_PLANS}, or ask models@huggingface.co, before the work begins.",
        )
    if load.one_token and load.bytes > HOUR:
        yield (
            f"{size(load.bytes)} to send, and the identity in HF_OIDC_ID_TOKEN gives one token for one hour",
            "If the hour is not enough, run the job again: files that arrived are not sent again.",
        )
    if load.private and (storage.lacks(load) if storage and storage.paid is not None else load.bytes > PRIVATE_FREE):
        known = f" ({storage.words})" if storage else ""
        yield (
            f"{size(load.bytes)} for a private repo, and an account without a plan stores {size(PRIVATE_FREE)}{known}",
            f"Make sure that the account has room ({_PLANS}), or remove 'private: true' from the recipe.",
        )


def storage_of(repo: str) -> Storage | None:
    """Return what the Hub tells of the account of a repo; None without a token of one's own, or where it tells nothing.

    There is no call for what an account may store: that follows from its plan, which `whoami` names.
    """
    namespace = repo.partition("/")[0]
    if given_token() is None:
        return None
    try:
        with hub_errors("the account"):
            account = Account(hub_api().whoami())
            return Storage(namespace, account.has_plan(namespace), _private_bytes(account, namespace))
    except PublishError:
        return None


def _private_bytes(account: Account, namespace: str) -> int | None:
    own = namespace.casefold() == account.names[0].casefold()
    try:
        with hub_errors("the account's repos"):
            return _sum(hub_api().list_user_repos(None if own else namespace))
    except (PublishError, AttributeError, KeyError):  # no right to list them, or an older client
        return None


def _sum(repos: Iterable[object]) -> int:
    private = (repo for repo in islice(repos, _MOST_REPOS) if getattr(repo, "visibility", "") == "private")
    return sum(int(getattr(repo, "storage", 0)) for repo in private)
