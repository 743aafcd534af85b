"""One commit with everything, compared afterwards, tagged last; or the same as a pull request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.errors import PublishError, Refused, SurroundingsError
from mlx_publish.hub.client import acting_as, hub_api, hub_errors
from mlx_publish.hub.commit import Change, again, commit
from mlx_publish.hub.identity import writing_token
from mlx_publish.hub.manifest import Foreseen, Sent, is_same, read_back
from mlx_publish.hub.remote import Remote, find_remote, is_ours, not_ours, tag_taken, tags_of
from mlx_publish.hub.repo import OF_THE_HUB, RepoFiles
from mlx_publish.hub.rights import no_repo
from mlx_publish.hub.watch import Watch, watched
from mlx_publish.text.files import write_atomically

if TYPE_CHECKING:  # pydantic takes longer to load than the requests for a small model
    from mlx_publish.evidence.evidence import SourceSpec


@dataclass(frozen=True)
class Order:
    """Files to publish, and their destination."""

    repo: str
    files: tuple[Sent, ...]
    source: SourceSpec
    """The evidence's source; a repo is ours when its own evidence names the same one."""
    title: str
    tag: str
    begun: Path
    """A file that is there as long as a repo of our making is not complete."""
    private: bool = False
    adopt: bool = False
    create_pr: bool = False
    """Open a pull request on the Hub instead of committing."""
    collection: str | None = None
    """Slug of a collection that the repo is added to."""
    read_back: bool = False
    """Load some of the bytes once more, as anybody would."""


@dataclass(frozen=True)
class Receipt:
    """The result on the Hub: `commit` holds the files, `sent` are those that had to travel."""

    repo: str
    commit: str
    tag: str
    """Empty for a pull request."""
    sent: tuple[str, ...]
    removed: tuple[str, ...]
    private: bool = False
    pull_request: str = ""
    read_back: int = 0
    """Bytes that were loaded once more and compared."""


def publish(order: Order, progress: Callable[[str], None]) -> Receipt:
    """Publish in the name of the job or of HF_TOKEN, and end where the Hub fails for too long.

    The repo then has exactly the order's files at one commit, which is tagged. Raises `Refused` if the repo is
    somebody else's, the token may not write, the tag stands for other files, or the remote files differ afterwards.
    """
    watch = Watch(progress, total=sum(file.size for file in order.files))
    watched(watch)
    with acting_as(writing_token(order.repo)):
        if order.create_pr:
            return _propose(order, watch)
        remote = find_remote(order.repo)
        if remote is not None:
            with hub_errors(f"the token for {order.repo}"):
                hub_api().auth_check(order.repo, write=True)
            return _fill(order, remote, watch)
        write_atomically(order.begun, f"{order.repo}\n")
        with hub_errors(f"the token for {order.repo}"):
            hub_api().create_repo(order.repo, private=True)
        try:
            return _fill(order, _look(order.repo), watch, new=True)
        except PublishError:
            _undo(order, watch)
            raise


def foresee(order: Order, *, tag: bool) -> Foreseen:
    """Return what `publish` would do now; `tag` is whether the order's is known. Raises what it would refuse."""
    remote = find_remote(order.repo)
    if remote is None:
        if order.create_pr:
            raise no_repo(order.repo)
        return Foreseen(True, False, order.files, (), False)
    change = _change(order, remote)
    tags = _tags(order, remote.head) if tag and not order.create_pr else {}
    adopted = not is_ours(order.repo, remote, order.source)
    return Foreseen(False, adopted, change.adds, change.removes, order.tag in tags)


def _look(repo: str) -> Remote:
    """Return the main branch of a repo that has to exist. `SurroundingsError` if it does not."""
    remote = find_remote(repo)
    if remote is None:
        raise SurroundingsError(
            f"the Hub no longer shows {repo}, which existed a moment ago", remedy="Run the same command again later."
        )
    return remote


def _undo(order: Order, watch: Watch) -> None:
    """Remove the repo of this run where nothing has come into it; else it waits for the next one."""
    try:
        remote = _look(order.repo)
        if watch.sent or watch.large_arrived or set(remote.files) - OF_THE_HUB:
            state = "stays private until it is complete" if remote.private else "is complete and public"
            watch.say(f"{order.repo} {state}; the next run completes it")
            return
        with hub_errors(order.repo):
            hub_api().delete_repo(order.repo)
        order.begun.unlink(missing_ok=True)
    except PublishError:
        watch.say(f"{order.repo} was created and remains private and empty for the next run")


def _fill(order: Order, remote: Remote, watch: Watch, *, new: bool = False) -> Receipt:
    head = remote.head
    change = _change(order, remote)
    tags: Mapping[str, str] = {} if new else _tags(order)
    if change.adds or change.removes:
        watch.say(f"sending {change.size / 1e6:.1f} MB in {len(change.adds)} files to {order.repo}")
        show = (lambda: _show(order, remote)) if _is_to_be_shown(order, remote) else None
        head = commit(change, watch, show=show).oid
    _compare(order, head)
    checked = read_back(order.repo, head, order.files) if order.read_back else 0
    private = _show(order, remote)
    if order.tag not in tags:
        _tag(order, head)
    order.begun.unlink(missing_ok=True)
    if order.collection:
        slug = order.collection
        again(
            f"the collection {slug}",
            lambda: hub_api().add_collection_item(slug, item_id=order.repo, item_type="model", exists_ok=True),
        )
    sent, removed = tuple(file.path for file in change.adds), tuple(change.removes)
    return Receipt(order.repo, head, order.tag, sent, removed, private, read_back=checked)


def _change(order: Order, remote: Remote) -> Change:
    if not (order.adopt or is_ours(order.repo, remote, order.source)):
        raise not_ours(order.repo)
    changed = [file for file in order.files if not is_same(file, remote.files.get(file.path))]
    removed = sorted(set(remote.files) - {file.path for file in order.files} - OF_THE_HUB)
    return Change(order.repo, tuple(changed), tuple(removed), order.files, order.title, remote.files, remote.head)


def _show(order: Order, remote: Remote) -> bool:
    """Make a repo of our making public, unless it is to be private. Return whether it is private afterwards.

    A repo that an earlier run began is ours, too; of all others the owner decides.
    """
    if not _is_to_be_shown(order, remote):
        return remote.private
    again(order.repo, lambda: hub_api().update_repo_settings(order.repo, private=False))
    return False


def _is_to_be_shown(order: Order, remote: Remote) -> bool:
    begun = order.begun.is_file() and order.begun.read_text(encoding="utf-8").strip() == order.repo
    return remote.private and begun and not order.private


def _tag(order: Order, head: str) -> None:
    """Tag the commit. Check that the tag exists and is nobody else's: an answer may have been lost."""
    api = hub_api()
    again(
        order.repo,
        lambda: api.create_tag(order.repo, tag=order.tag, revision=head, tag_message=order.title, exist_ok=True),
    )
    if order.tag not in _tags(order, compared=head):
        raise SurroundingsError(
            f"{order.repo} has no tag {order.tag}, although the Hub accepted it",
            remedy="Run the same command again later.",
        )


def _propose(order: Order, watch: Watch) -> Receipt:
    """Open a pull request with the files, unless one of an earlier run has these very files, or the branch has."""
    remote = find_remote(order.repo)
    if remote is None:
        raise no_repo(order.repo)
    change = _change(order, remote)
    if not (change.adds or change.removes):
        return Receipt(order.repo, remote.head, "", (), ())
    sent, removed = tuple(file.path for file in change.adds), change.removes
    if proposal := _proposed(order):
        return Receipt(order.repo, proposal[0], "", (), (), pull_request=proposal[1])
    watch.say(f"sending {change.size / 1e6:.1f} MB in {len(sent)} files for a pull request on {order.repo}")
    done = commit(change, watch, create_pr=True)
    _compare(order, done.oid)
    checked = read_back(order.repo, done.oid, order.files) if order.read_back else 0
    return Receipt(order.repo, done.oid, "", sent, removed, pull_request=done.pull_request, read_back=checked)


def _proposed(order: Order) -> tuple[str, str] | None:
    """Return commit and address of an open pull request of our title that has these very files, or None."""
    api = hub_api()
    with hub_errors(order.repo):
        proposals = [
            proposal
            for proposal in api.get_repo_discussions(
                order.repo, discussion_type="pull_request", discussion_status="open"
            )
            if proposal.title == order.title
        ]
        for proposal in proposals:
            oid = api.model_info(order.repo, revision=proposal.git_reference).sha
            if oid and not _differences(order, oid):
                return oid, proposal.url
    return None


def _compare(order: Order, commit: str) -> None:
    if different := _differences(order, commit):
        raise Refused(
            f"{order.repo}@{commit[:12]} differs from what was sent: {', '.join(different[:5])}",
            check="remote-equal",
            remedy="It was not tagged. Run the same command again.",
        )


def _differences(order: Order, commit: str) -> list[str]:
    remote = RepoFiles(order.repo, commit).entries
    different = [file.path for file in order.files if not is_same(file, remote.get(file.path))]
    return different + sorted(set(remote) - {file.path for file in order.files} - OF_THE_HUB)


def _tags(order: Order, compared: str = "") -> Mapping[str, str]:
    """Return the repo's tags. `Refused` if the order's own stands for other files than it or `compared` has."""
    tags = tags_of(order.repo)
    if tags.get(order.tag, compared) != compared and (different := _differences(order, tags[order.tag])):
        raise tag_taken(order.repo, order.tag, tags[order.tag], ", ".join(different[:5]))
    return tags
