"""One commit on the Hub; after every error the head is read again before anything is repeated.

Large files go before it, some at a time: a batch that arrived is neither sent nor read again, and each batch asks for
the token anew, because one of a trusted publisher lives an hour and the client keeps it as long as a call takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from mlx_publish.errors import SurroundingsError
from mlx_publish.hub.client import StorageFull, hub_api, hub_errors
from mlx_publish.hub.manifest import Sent, is_same
from mlx_publish.hub.repo import OF_THE_HUB, RepoFiles
from mlx_publish.hub.watch import GivenUp, Watch
from mlx_publish.model.files import FileEntry

# Seconds between the attempts; the client itself never repeats a commit.
_WAITS = (1, 2, 4)
_BATCH_FILES, _BATCH_BYTES = 250, 25 << 30
"""Most of a batch. The Hub takes 256 files a request; five shards as mlx-lm cuts them are one for each thread of the
client, and arrive within an hour at 7 MB/s."""
_SECONDS_EACH = 0.05
"""Pause for each file of a commit that the Hub did not answer in time: it checks each, and may be at it still."""
_NO_ANSWER = frozenset({502, 504})
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Change:
    """The changes of a commit: `adds` and `removes` on top of `head`, where the repo has the files `before`."""

    repo: str
    adds: tuple[Sent, ...]
    removes: tuple[str, ...]
    files: tuple[Sent, ...]
    """All files that the repo has afterwards."""
    title: str
    before: Mapping[str, FileEntry]
    head: str

    @property
    def size(self) -> int:
        """Bytes of the files that are added."""
        return sum(file.size for file in self.adds)


@dataclass(frozen=True)
class Done:
    """The commit that holds the files, and the address of the pull request that it is for, if it is for one."""

    oid: str
    pull_request: str = ""


def again(what: str, call: Callable[[], Answer]) -> Answer:
    """Make a call that may be repeated, and repeat it where the surroundings fail. Raises the last error."""
    for wait in _WAITS:
        try:
            with hub_errors(what):
                return call()
        except GivenUp:
            raise
        except SurroundingsError as error:
            _pause(wait, error)
    with hub_errors(what):
        return call()


def _pause(seconds: float, error: SurroundingsError) -> None:
    """Wait before the next attempt, as long as the Hub asks for; what is longer than our patience, `Watch` ends."""
    time.sleep(max(seconds, error.retry_after or 0))


def commit(change: Change, watch: Watch, *, create_pr: bool = False, show: Callable[[], object] | None = None) -> Done:
    """Send large files first, then everything by one commit.

    After any error the head is read again: it is done, it is tried again, also on top of a commit that does not
    concern the model, or somebody else was there, which raises `SurroundingsError`. Large files that arrived are not
    sent again. `show` makes the repo public, which is done where it is private and the account may store nothing more
    in private. Raises the last error after some attempts.
    """
    adds = _adds(change)
    watch.total = change.size
    try:
        return _commit(change, adds, watch, create_pr=create_pr)
    except StorageFull as error:
        if not (error.private and show):
            raise
        watch.say(f"{change.repo} becomes public now, still empty: the private storage of its account is full")
        show()
    return _commit(change, adds, watch, create_pr=create_pr)


def _commit(change: Change, adds: Sequence[Any], watch: Watch, *, create_pr: bool) -> Done:
    from huggingface_hub import CommitOperationDelete  # noqa: PLC0415

    _send_large(change, adds, watch, create_pr=create_pr)
    operations = [*adds, *(CommitOperationDelete(path) for path in change.removes)]
    head = change.head
    for wait in (*_WAITS, None):
        try:
            with hub_errors(change.repo):
                done = hub_api().create_commit(
                    change.repo,
                    operations,
                    commit_message=change.title,
                    parent_commit=head or None,
                    create_pr=create_pr,
                )
            return Done(str(done.oid), str(done.pr_url or ""))
        except SurroundingsError as error:
            if create_pr:
                # What happened to a pull request no head tells; the next run looks for it.
                raise
            now, landed = _look(change, head)
            if landed:
                return Done(now)
            if wait is None or isinstance(error, GivenUp):
                raise
            if now != head:
                watch.say(f"{change.repo} got a new commit that does not touch the model; committing on top of it")
                head = now
            _pause(max(wait, _SECONDS_EACH * len(operations) if error.status in _NO_ANSWER else 0), error)
    raise AssertionError  # pragma: no cover


def _send_large(change: Change, adds: Sequence[Any], watch: Watch, *, create_pr: bool) -> None:
    """Send what the Hub keeps outside of git, batch by batch, each with attempts of its own."""
    done = 0
    for batch in _batches(adds):
        again(
            change.repo,
            # An empty .gitignore, for the repo's own would keep files away in silence.
            lambda: hub_api().preupload_lfs_files(
                change.repo,
                batch,  # noqa: B023  called at once
                create_pr=create_pr,
                gitignore_content="",
                free_memory=False,
            ),
        )
        watch.large_arrived = True
        done += sum(add.upload_info.size for add in batch)
        if len(batch) < len(adds):
            watch.reached(done)


def _batches(adds: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield operations in their order, so many at once as a batch may have; one of a larger file is alone."""
    batch: list[Any] = []
    size = 0
    for add in adds:
        if batch and (len(batch) == _BATCH_FILES or size + add.upload_info.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(add)
        size += add.upload_info.size
    if batch:
        yield batch


def _adds(change: Change) -> list[Any]:
    """Return the client's operations to add files, where it can be with digests, so that it need not read them again.

    LFS compares what arrives with the digest. Xet believes any digest, so there the client takes it anew.
    """
    from huggingface_hub import CommitOperationAdd, constants  # noqa: PLC0415

    adds = [CommitOperationAdd(file.path, str(file.local)) for file in change.adds]
    if constants.HF_HUB_DISABLE_XET or find_spec("hf_xet") is None:
        for add, file in zip(adds, change.adds, strict=True):
            add.upload_info.sha256 = bytes.fromhex(file.sha256)
    return adds


def _look(change: Change, head: str) -> tuple[str, bool]:
    """Return the head, and whether it holds all the files although the answer was lost.

    Raises `SurroundingsError` if somebody else has changed files of the model, instead of overwriting them unseen.
    """
    with hub_errors(change.repo):
        now = hub_api().model_info(change.repo).sha or ""
    if now == head:
        return now, False
    remote = RepoFiles(change.repo, now).entries
    if not (set(remote) - {file.path for file in change.files} - OF_THE_HUB) and all(
        is_same(file, remote.get(file.path)) for file in change.files
    ):
        return now, True
    if _of_a_model(remote) == _of_a_model(change.before):
        return now, False
    raise SurroundingsError(
        f"{change.repo}: somebody else committed in the meantime ({now[:12]})",
        remedy="Review that commit, then run the same command again to publish over it.",
    )


def _of_a_model(files: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
    return {path: entry for path, entry in files.items() if path not in OF_THE_HUB}
