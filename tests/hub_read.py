"""The calls of the loopback Hub that change nothing: who, what, and the bytes."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

from hub_calls import Answer, Call, Slice, past_gate, readable, route, say, writable
from hub_store import Commit, File, HubError, Repo, pointer

if TYPE_CHECKING:
    from collections.abc import Iterator


FRONT_MATTER = re.compile(r"---\n(.*?)\n?---(?:\n|$)", re.DOTALL)
ENTRY = re.compile(r"^(\w+):[ ]*(.*)((?:\n\s*- .*)*)", re.MULTILINE)


@route("GET", r"/api/models")
def some_models(_: Call) -> Answer:
    """A list that is always empty: that there is an answer is what counts."""
    return say([])


@route("GET", r"/api/whoami-v2")
def whoami(call: Call) -> Answer:
    if call.token is None:
        raise HubError(401, "Invalid username or password.")
    token = call.token
    plans = dict(token.plans)
    orgs = [
        {"type": "org", "name": org, "fullname": org, "roleInOrg": token.role}
        | ({"isEnterprise": plans[org]} if org in plans else {})
        for org in token.orgs
    ]
    access: dict[str, object] = {"displayName": token.name, "role": token.role}
    if token.rights:
        scope = {"entity": {"type": "user", "name": token.user}, "permissions": list(token.rights)}
        access["fineGrained"] = {"canReadGatedRepos": True, "global": [], "scoped": [scope]}
    auth = {"type": "access_token", "accessToken": access}
    return say(
        {
            "type": "user",
            "name": token.user,
            "fullname": token.user,
            "isPro": plans.get(token.user, False),
            "orgs": orgs,
            "auth": auth,
        }
    )


@route("GET", r"/api/(?:organizations/(?P<org>[\w.-]+)/)?settings/repositories")
def repositories(call: Call, org: str) -> Answer:
    """List the repos of a namespace with what each stores."""
    if call.token is None:
        raise HubError(401, "Invalid username or password.")
    namespace = org or call.token.user
    if namespace not in (call.token.user, *call.token.orgs):
        raise HubError(403, "You don't have the rights to see this organization's settings")
    folder = call.site.store.root / namespace
    found = [call.site.store.find(f"{namespace}/{path.name}") for path in sorted(folder.glob("*"))]
    return say(
        [
            {
                "id": repo.name,
                "type": "model",
                "updatedAt": "2026-01-01T00:00:00.000Z",
                "visibility": "private" if repo.state["private"] else "public",
                "storage": sum(path.stat().st_size for path in (repo.folder / "objects").iterdir()),
            }
            for repo in found
            if repo
        ]
    )


@route("GET", r"/api/models/{repo}/auth-check")
def auth_check(call: Call, repo: str) -> Answer:
    past_gate(call, repo)
    return say({})


@route("GET", r"/api/models/{repo}/auth-check/write")
def auth_check_write(call: Call, repo: str) -> Answer:
    writable(call, repo)
    return say({})


@route("GET", r"/api/models/{repo}(?:/revision/{rev})?")
def info(call: Call, repo: str, rev: str) -> Answer:
    stored = readable(call, repo)
    commit = stored.resolve(rev or "main")
    card = _card(stored, commit)
    about = {
        "id": repo,
        "modelId": repo,
        "author": repo.partition("/")[0],
        "sha": commit.id,
        "lastModified": commit.date,
        "private": stored.state["private"],
        "gated": stored.state["gated"],
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _as_list(card.get("tags")) + [f"license:{name}" for name in _as_list(card.get("license"))],
        "siblings": [_sibling(path, file, call.asked("blobs")) for path, file in commit.files.items()],
    }
    known = {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
    return say(about | known | ({"cardData": card} if card else {}))


def _as_list(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _card(repo: Repo, commit: Commit) -> dict[str, str | list[str]]:
    """Read `key: word` and `- item` of a card's front matter, which is what test models have."""
    if "README.md" not in commit.files:
        return {}
    text = repo.object(commit.files["README.md"].digest).read_text("utf-8", errors="replace")
    matter = FRONT_MATTER.match(text)
    card: dict[str, str | list[str]] = {}
    for key, word, items in ENTRY.findall(matter[1] if matter else ""):
        inline = word.strip("[]").split(",") if word.startswith("[") else []
        listed = [_bare(item) for item in re.findall(r"- (.*)", items) or inline]
        if listed or word:
            card[key] = listed or _bare(word)
    return card


def _bare(word: str) -> str:
    return word.strip().strip("\"'")


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    sibling: dict[str, Any] = {"rfilename": path, "size": file.size, "blobId": file.oid}
    return sibling | ({"lfs": {"sha256": file.sha256, **_lfs(file)}} if file.sha256 else {})


def _lfs(file: File) -> dict[str, Any]:
    return {"size": file.size, "pointerSize": len(pointer(str(file.sha256), file.size))}


def _entry(path: str, commit: Commit) -> dict[str, Any] | None:
    file = commit.files.get(path)
    if file is None:
        inside = {name: known.oid for name, known in commit.files.items() if name.startswith(f"{path}/")}
        oid = hashlib.sha1(json.dumps(inside).encode(), usedforsecurity=False).hexdigest()
        return {"type": "directory", "oid": oid, "size": 0, "path": path} if inside else None
    entry = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    return entry | ({"lfs": {"oid": file.sha256, **_lfs(file)}} if file.sha256 else {})


def _last_commit(repo: Repo, commit: Commit, path: str) -> dict[str, str]:
    last, wanted = commit, _entry(path, commit)
    for earlier in takewhile(lambda older: _entry(path, older) == wanted, repo.history(commit.id)):
        last = earlier
    return {"id": last.id, "title": last.title, "date": last.date}


def _described(repo: Repo, commit: Commit, paths: list[str], expand: bool) -> list[dict[str, Any]]:
    entries = [entry for entry in (_entry(path, commit) for path in paths) if entry]
    if expand:
        return [entry | {"lastCommit": _last_commit(repo, commit, entry["path"])} for entry in entries]
    return entries


def _paths_below(commit: Commit, folder: str, recursive: bool) -> Iterator[str]:
    """List what is in a folder, each sub-folder once."""
    folders = set()
    for path in sorted(commit.files):
        if folder and not path.startswith(f"{folder}/"):
            continue
        parts = path[len(folder) :].strip("/").split("/")
        for depth in range(1, len(parts) + 1 if recursive else 2):
            folders.add("/".join([*([folder] if folder else []), *parts[:depth]]))
    yield from sorted(folders)


def _page(call: Call, items: list[Any]) -> tuple[list[Any], dict[str, str]]:
    """Cut one page out of a list, with the header that leads to the next one."""
    start = int(call.query.get("cursor", ["0"])[0])
    end = start + call.site.page_size
    if end >= len(items):
        return items[start:], {}
    query = urlencode({**call.query, "cursor": [str(end)]}, doseq=True)
    return items[start:end], {"Link": f'<{call.site.endpoint}{call.path}?{query}>; rel="next"'}


@route("GET", r"/api/models/{repo}/tree/{rev}(?:/(?P<path>.+))?")
def tree(call: Call, repo: str, rev: str, path: str) -> Answer:
    stored = readable(call, repo)
    commit = stored.resolve(rev)
    paths = list(_paths_below(commit, path.strip("/"), call.asked("recursive")))
    if path and not paths:
        raise HubError(404, f'{path} does not exist on "{rev}"', "EntryNotFound", commit.id)
    page, headers = _page(call, paths)
    return say(_described(stored, commit, page, call.asked("expand")), headers=headers)


@route("POST", r"/api/models/{repo}/paths-info/{rev}")
def paths_info(call: Call, repo: str, rev: str) -> Answer:
    stored = readable(call, repo)
    form = parse_qs(call.body.decode())
    expand = form.get("expand", [""])[0].lower() == "true"
    return say(_described(stored, stored.resolve(rev), form.get("paths", []), expand))


@route("GET", r"/api/models/{repo}/commits/{rev}")
def commits(call: Call, repo: str, rev: str) -> Answer:
    history = readable(call, repo).history(rev)
    listed = [
        {
            "id": commit.id,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": commit.date,
        }
        for commit in history
    ]
    page, headers = _page(call, listed)
    return say(page, headers=headers)


@route("GET", r"/api/models/{repo}/refs")
def refs(call: Call, repo: str) -> Answer:
    state = readable(call, repo).state
    listed = {"converts": [], "branches": _refs("heads", state), "tags": _refs("tags", state)}
    return say(listed | ({"pullRequests": []} if call.asked("include_prs") else {}))


def _refs(kind: str, state: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
        for name, commit in state[kind].items()
        if not name.startswith("refs/pr/")
    ]


@route("GET", r"/api/models/{repo}/discussions")
def discussions(call: Call, repo: str) -> Answer:
    wanted = call.query.get("status", [""])[0]
    listed = [
        {
            **pull,
            "author": {"name": pull["author"]},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "isPullRequest": True,
            "repo": {"name": repo, "type": "model"},
        }
        for pull in readable(call, repo).state["pulls"]
        if wanted in ("", pull["status"])
    ]
    return say({"discussions": listed, "count": len(listed), "start": 0})


@route("GET", r"/api/collections/{repo}")
def collection(call: Call, repo: str) -> Answer:
    return say(collection_of(call, repo))


def collection_of(call: Call, slug: str) -> dict[str, Any]:
    """Describe a collection, as far as the client wants to know it."""
    items = [
        {"_id": str(number), "position": number, "note": None, **item}
        for number, item in enumerate(call.site.store.collection(slug))
    ]
    return {
        "slug": slug,
        "title": slug,
        "owner": {"name": slug.partition("/")[0]},
        "items": items,
        "position": 0,
        "lastUpdated": "2026-01-01T00:00:00.000Z",
        "private": False,
        "theme": "blue",
        "upvotes": 0,
    }


@route("POST", r"/api/validate-yaml")
def validate_yaml(call: Call) -> Answer:
    """Judge a card's front matter, by its fences only."""
    text = call.json()["content"].replace("\r\n", "\n")
    if FRONT_MATTER.match(text):
        return say({"errors": [], "warnings": []})
    if text.startswith("---\n"):
        return say({"errors": [{"message": "the front matter does not end"}], "warnings": []}, 400)
    return say({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})


@route("GET", r"/{repo}/resolve/{rev}/(?P<path>.+)")
def resolve(call: Call, repo: str, rev: str, path: str) -> Answer:
    stored = past_gate(call, repo)
    commit = stored.resolve(rev)
    if path not in commit.files:
        raise HubError(404, "Entry not found", "EntryNotFound", commit.id)
    file = commit.files[path]
    headers = {"ETag": f'"{file.digest}"', "X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
    if file.sha256:
        headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    if call.site.cdn and file.sha256:
        address = f"{call.site.cdn}/cdn/{repo}/{file.sha256}?{urlencode({'signature': call.site.signature})}"
        return Answer(302, {**headers, "Location": address})
    return _ranged(call, Slice(stored.object(file.digest), 0, file.size), headers)


@route("GET", r"/cdn/{repo}/(?P<digest>[0-9a-f]{64})")
def cdn(call: Call, repo: str, digest: str) -> Answer:
    """Serve a large file to whoever has a signed address; nobody shows a token here."""
    if "Authorization" in call.headers:
        raise HubError(400, "a token was sent to the server of the bytes")
    if call.query.get("signature") != [call.site.signature]:
        raise HubError(403, "the signature expired")
    stored = call.site.store.find(repo)
    if stored is None:
        raise HubError(404, "no such file")
    file = stored.lfs_file(digest)
    return _ranged(call, Slice(stored.object(digest), 0, file.size), {"ETag": f'"{digest}"'})


def _ranged(call: Call, whole: Slice, headers: dict[str, str]) -> Answer:
    """Serve a file, or the one range of it that was asked for."""
    asked = call.headers.get("Range", "") if call.site.ranges else ""
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if not wanted or wanted[0] == "bytes=-":
        return Answer(200, headers, whole)
    first, last, size = wanted[1], wanted[2], whole.length
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return Answer(416, {**headers, "Content-Range": f"bytes */{size}"})
    headers = {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    return Answer(206, headers, Slice(whole.path, start, end - start + 1))
