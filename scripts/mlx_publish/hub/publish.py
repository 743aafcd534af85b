"""One commit with everything, compared afterwards, tagged last."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.evidence import same_source
from mlx_publish.hub.client import acting_as, hub_api, hub_errors
from mlx_publish.hub.identity import writing_token
from mlx_publish.hub.manifest import Sent
from mlx_publish.hub.repo import OF_THE_HUB, RepoFiles
from mlx_publish.hub.watch import GivenUp, Watch, watched
from mlx_publish.model.files import FileEntry

# Seconds between the attempts to commit; the client itself never repeats a commit.
_WAITS = (1, 2, 4)


@dataclass(frozen=True)
class Order:
    """What is to be published where."""

    repo: str
    files: tuple[Sent, ...]
    source: Mapping[str, Any]
    """The evidence's source; a repo is ours when its own evidence names the same one."""
    title: str
    tag: str
    private: bool = False
    adopt: bool = False


@dataclass(frozen=True)
class Receipt:
    """What the Hub has now. `commit` is the one that holds the files, `sent` those that had to travel."""

    repo: str
    commit: str
    tag: str
    sent: tuple[str, ...]
    removed: tuple[str, ...]


def publish(order: Order, progress: Callable[[str], None]) -> Receipt:
    """Publish in the name of the job or of HF_TOKEN, and end where the Hub fails for too long; see `_publish`."""
    watched(Watch(progress, total=sum(file.size for file in order.files)))
    with acting_as(writing_token(order.repo)):
        return _publish(order, progress)


def _publish(order: Order, progress: Callable[[str], None]) -> Receipt:
    """Make the repo hold exactly the order's files, at one commit, and tag it.

    A new repo stays private until its commit has been compared; the next run sees to it where this one breaks
    off. Raises `Refused` where the repo is somebody else's, the token may not write, the tag stands for other
    files, or the remote files differ afterwards.
    """
    api = hub_api()
    with hub_errors(f"the token for {order.repo}"):
        new = not api.repo_exists(order.repo)
        if new:
            api.create_repo(order.repo, private=True)
        else:
            api.auth_check(order.repo, write=True)
    remote, head = _remote(order.repo)
    ours = _is_ours(order, remote, head)
    if not (ours or order.adopt):
        raise Refused(
            f"{order.repo} exists and was not made from this source", check="destination-ours",
            remedy="Take another destination, or write 'adopt: true' into the recipe to replace its files.",
        )  # fmt: skip
    tags = _tags(order)
    changed = [file for file in order.files if not _same(file, remote.get(file.path))]
    removed = sorted(set(remote) - {file.path for file in order.files} - OF_THE_HUB)
    if changed or removed:
        progress(f"sending {sum(f.size for f in changed) / 1e6:.1f} MB in {len(changed)} files to {order.repo}")
        head = _commit(order, changed, removed, head)
    _compare(order, head)
    with hub_errors(order.repo):
        # The tag is the last thing: one of ours that has none was begun, and not finished, by an earlier run.
        begun = new or (ours and not tags and bool(api.model_info(order.repo).private))
        if begun and not order.private:
            api.update_repo_settings(order.repo, private=False)
        if order.tag not in tags:
            api.create_tag(order.repo, tag=order.tag, revision=head, tag_message=order.title)
    return Receipt(order.repo, head, order.tag, tuple(file.path for file in changed), tuple(removed))


def _remote(repo: str) -> tuple[Mapping[str, FileEntry], str]:
    """Files and head of the main branch; nothing but the client's head is trusted."""
    with hub_errors(repo):
        head = hub_api().model_info(repo).sha
    if not head:
        return {}, ""
    return RepoFiles(repo, head).entries, head


def _is_ours(order: Order, remote: Mapping[str, FileEntry], head: str) -> bool:
    """Tell whether the repo is empty, or was made by us from this source."""
    if not set(remote) - OF_THE_HUB:
        return True
    if "mlx-publish.json" not in remote:
        return False
    try:
        evidence = json.loads(RepoFiles(order.repo, head).read("mlx-publish.json"))
    except ValueError:
        return False
    return same_source(evidence, order.source)


def _same(file: Sent, entry: FileEntry | None) -> bool:
    return (
        entry is not None
        and entry.size == file.size
        and (entry.sha256 == file.sha256 if entry.sha256 else entry.git_sha1 == file.git_sha1)
    )


def _commit(order: Order, changed: Sequence[Sent], removed: Sequence[str], head: str) -> str:
    """Commit, and after any error read the head again: it is done, it is tried again, or somebody else was there.

    Large files that arrived are not sent again. Raises the last error after some attempts.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete  # noqa: PLC0415

    operations: list[Any] = [CommitOperationAdd(file.path, str(file.local)) for file in changed]
    operations += [CommitOperationDelete(path) for path in removed]
    for wait in (*_WAITS, None):
        try:
            with hub_errors(order.repo):
                done = hub_api().create_commit(
                    order.repo, operations, commit_message=order.title, parent_commit=head or None
                )
            return str(done.oid)
        except SurroundingsError as error:
            if landed := _landed(order, head):
                return landed
            if wait is None or isinstance(error, GivenUp):
                raise
            time.sleep(wait)
    raise AssertionError  # pragma: no cover


def _landed(order: Order, head: str) -> str | None:
    """Return the head where it holds all the files, though the answer was lost; None where nothing happened.

    Raises `SurroundingsError` where somebody else has committed: what they did is not overwritten unseen.
    """
    remote, now = _remote(order.repo)
    if now == head:
        return None
    if not (set(remote) - {file.path for file in order.files} - OF_THE_HUB) and all(
        _same(file, remote.get(file.path)) for file in order.files
    ):
        return now
    raise SurroundingsError(
        f"{order.repo}: somebody else committed meanwhile ({now[:12]})",
        remedy="Look at it, then run the same command again to publish over it.",
    )


def _compare(order: Order, commit: str) -> None:
    if different := _differences(order, commit):
        raise Refused(
            f"{order.repo}@{commit[:12]} differs from what was sent: {', '.join(different[:5])}",
            check="remote-equal", remedy="It was not tagged. Run the same command again.",
        )  # fmt: skip


def _differences(order: Order, commit: str) -> list[str]:
    remote = RepoFiles(order.repo, commit).entries
    different = [file.path for file in order.files if not _same(file, remote.get(file.path))]
    return different + sorted(set(remote) - {file.path for file in order.files} - OF_THE_HUB)


def _tags(order: Order) -> Mapping[str, str]:
    """Return the repo's tags. `Refused` where the order's own stands for other files: nothing was changed yet."""
    with hub_errors(order.repo):
        tags = {tag.name: tag.target_commit for tag in hub_api().list_repo_refs(order.repo).tags}
    if order.tag in tags and (different := _differences(order, tags[order.tag])):
        raise Refused(
            f"the tag {order.tag} of {order.repo} is at another commit ({tags[order.tag][:12]}), which differs in "
            f"{', '.join(different[:5])}",
            check="tag-free", remedy="Take another tag; a tag that is out must not move.",
        )  # fmt: skip
    return tags
