"""The calls of the loopback Hub that change something: repositories, LFS objects, commits and tags."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from hub_calls import Answer, Call, Token, Upload, route, say, signed_in, writable
from hub_read import collection_of
from hub_store import GITATTRIBUTES, Commit, File, HubError, Repo, is_lfs, sha256_of
from hub_xet import take

MOST_AT_ONCE = 256


@route("POST", r"/api/repos/create")
def create(call: Call) -> Answer:
    asked = call.json()
    if call.token is None:
        raise HubError(401, "Invalid username or password.")
    if asked.get("type", "model") != "model":
        raise HubError(501, "this loopback Hub has models only")
    namespace = asked.get("organization") or call.token.user
    name = f"{namespace}/{asked['name']}"
    if not call.token.may("write", name):
        raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    url = f"{call.site.endpoint}/{name}"
    with call.site.store.lock:
        if call.site.store.find(name):
            return say({"error": "You already created this model repo", "url": url}, 409)
        repo = call.site.store.create(name, private=asked.get("visibility") == "private")
        first = {".gitattributes": repo.keep(".gitattributes", GITATTRIBUTES.encode())}
        repo.commit("main", first, "initial commit", author=call.token.user)
    return say({"url": url, "name": name})


@route("GET", r"/id-token")
def identity(call: Call) -> Answer:
    """Say who a job is, as GitHub would."""
    return say({"value": "an identity"})


@route("POST", r"/oauth/token")
def exchange(call: Call) -> Answer:
    """Exchange the identity of a job for a token of an hour, which the client renews five minutes before its end."""
    if call.json()["subject_token"] != "an identity":
        raise HubError(401, "Invalid subject token")
    if call.site.exchanges is not None:
        call.site.exchanges -= 1
        if call.site.exchanges < 0:
            raise HubError(400, "invalid_grant: the subject token has expired")
    seconds = call.site.token_seconds
    if seconds == 3600:
        return say({"access_token": Token("write", "ada").secret, "token_type": "bearer", "expires_in": 3600})
    told = call.site.renewed_before + seconds / 3
    token = Token(f"exchanged {len(call.site.issued)}", "ada", ("lab",))
    call.site.issued[token.secret] = token, time.monotonic() + seconds
    return say({"access_token": token.secret, "token_type": "bearer", "expires_in": told})


@route("PUT", r"/api/models/{repo}/settings")
def settings(call: Call, repo: str) -> Answer:
    stored = writable(call, repo)
    asked = call.json()
    changes: dict[str, Any] = {"gated": asked["gated"]} if "gated" in asked else {}
    if "visibility" in asked:
        changes["private"] = asked["visibility"] == "private"
    with call.site.store.lock:
        stored.update(**changes)
    return say(changes)


@route("POST", r"/api/models/{repo}/tag/{rev}")
def add_tag(call: Call, repo: str, rev: str) -> Answer:
    stored = writable(call, repo)
    tag = call.json()["tag"]
    with call.site.store.lock:
        tags = stored.state["tags"]
        if tag in tags:
            raise HubError(409, "Tag reference exists already")
        stored.update(tags=tags | {tag: stored.resolve(rev).id})
    return say({})


@route("DELETE", r"/api/models/{repo}/tag/{rev}")
def delete_tag(call: Call, repo: str, rev: str) -> Answer:
    stored = writable(call, repo)
    with call.site.store.lock:
        tags = stored.state["tags"]
        if rev not in tags:
            raise HubError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        stored.update(tags={name: commit for name, commit in tags.items() if name != rev})
    return say({})


@route("DELETE", r"/api/repos/delete")
def delete(call: Call) -> Answer:
    asked = call.json()
    repo = writable(call, f"{asked['organization']}/{asked['name']}")
    with call.site.store.lock:
        shutil.rmtree(repo.folder)
    return say({})


@route("POST", r"/api/collections/{repo}/items")
def add_to_collection(call: Call, repo: str) -> Answer:
    if not (call.token and call.token.may("write", repo)):
        raise HubError(403, "You don't have the rights to change this collection")
    item = call.json()["item"]
    with call.site.store.lock:
        items = call.site.store.collection(repo)
        if item in items:
            raise HubError(409, "Item already in collection")
        call.site.store.collect(repo, item)
    return say(collection_of(call, repo))


@route("POST", r"/api/models/{repo}/preupload/{rev}")
def preupload(call: Call, repo: str, rev: str) -> Answer:
    # Whoever may read may open a pull request.
    commit = (signed_in if call.asked("create_pr") else writable)(call, repo).resolve(rev)
    if len(call.json()["files"]) > MOST_AT_ONCE:
        raise HubError(413, "too many parameters")
    return say({"files": [_upload_mode(asked, commit) for asked in call.json()["files"]]})


def _upload_mode(asked: dict[str, Any], commit: Commit) -> dict[str, Any]:
    path = asked["path"]
    lfs = is_lfs(path, asked["size"], base64.b64decode(asked["sample"]))
    mode = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
    # With the oid of what is there, the client leaves out files that did not change.
    return mode | ({"oid": commit.files[path].digest} if path in commit.files else {})


@route("POST", r"/{repo}\.git/info/lfs/objects/batch")
def lfs_batch(call: Call, repo: str) -> Answer:
    stored = signed_in(call, repo)
    return say(
        {
            "transfer": "basic",
            "objects": [_announce(call, stored, **asked) for asked in call.json()["objects"]],
        }
    )


def _announce(call: Call, repo: Repo, oid: str, size: int) -> dict[str, Any]:
    """Tell where to send an object, with an address that needs no token; say nothing if it is there."""
    if not re.fullmatch(r"[0-9a-f]{64}", oid):
        return {"oid": oid, "size": size, "error": {"code": 422, "message": "Invalid oid"}}
    if repo.object(oid).exists():
        return {"oid": oid, "size": size}
    key = uuid.uuid4().hex
    call.site.uploads[key] = Upload(repo, oid, size)
    single = f"{call.site.endpoint}/storage/{key}"
    upload: dict[str, Any] = {"href": single}
    if size > call.site.multipart_above:
        count = -(-size // call.site.part_size)
        parts = {f"{number:05}": f"{single}/{number}" for number in range(1, count + 1)}
        complete = f"{call.site.endpoint}/api/complete_multipart/{key}"
        upload = {"href": complete, "header": {"chunk_size": str(call.site.part_size), **parts}}
    verify = {"href": f"{call.site.endpoint}/{repo.name}.git/info/lfs/objects/verify"}
    return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}


@route("PUT", r"/storage/(?P<key>\w+)(?:/(?P<part>\d+))?")
def storage(call: Call, key: str, part: str) -> Answer:
    upload = _upload(call, key)
    time.sleep(call.site.slow)
    if call.site.dropping:
        etag = f'"{upload.digest.copy().hexdigest()[:32]}"'
        upload.parts[int(part or 1)] = (Path(), etag)
        if not part:
            _keep_hole(upload)
        return Answer(200, {"ETag": etag})
    etag = f'"{sha256_of(_spooled(call))[:32]}"'
    if part:
        kept = call.site.store.incoming / f"{key}.{part}"
        _spooled(call).replace(kept)
        upload.parts[int(part)] = (kept, etag)
    else:
        _keep(upload, _spooled(call))
    return Answer(200, {"ETag": etag})


def _upload(call: Call, key: str) -> Upload:
    if key not in call.site.uploads:
        raise HubError(403, "Request has expired")
    return call.site.uploads[key]


def _spooled(call: Call) -> Path:
    if call.spooled is None:
        raise HubError(411, "MissingContentLength")
    return call.spooled


def _keep(upload: Upload, content: Path) -> None:
    """Take the bytes among the objects if they are those that were announced."""
    if content.stat().st_size != upload.size or sha256_of(content) != upload.oid:
        raise HubError(400, "The content does not match the digest that was announced")
    content.replace(upload.repo.object(upload.oid))


def _keep_hole(upload: Upload) -> None:
    if (upload.arrived, upload.digest.hexdigest()) != (upload.size, upload.oid):
        raise HubError(400, "The content does not match the digest that was announced")
    with upload.repo.object(upload.oid).open("wb") as stream:
        stream.truncate(upload.size)


@route("POST", r"/api/complete_multipart/(?P<key>\w+)")
def complete_multipart(call: Call, key: str) -> Answer:
    upload = _upload(call, key)
    if upload.repo.object(upload.oid).exists():  # the first answer was lost
        return say({})
    if any(part["etag"] != upload.parts.get(part["partNumber"], ("", ""))[1] for part in call.json()["parts"]):
        raise HubError(400, "InvalidPart")
    if call.site.dropping:
        _keep_hole(upload)
        return say({})
    whole = call.site.store.incoming / key
    with whole.open("wb") as stream:
        for number in sorted(upload.parts):
            stream.write(upload.parts[number][0].read_bytes())
    _keep(upload, whole)
    for part, _ in upload.parts.values():
        part.unlink()
    return say({})


@route("POST", r"/{repo}\.git/info/lfs/objects/verify")
def lfs_verify(call: Call, repo: str) -> Answer:
    asked = call.json()
    there = signed_in(call, repo).object(asked["oid"])
    if not there.is_file() or there.stat().st_size != asked["size"]:
        raise HubError(404, "Object does not exist")
    return say({})


@route("POST", r"/api/models/{repo}/commit/{rev}")
def commit(call: Call, repo: str, rev: str) -> Answer:
    proposed = call.asked("create_pr")
    stored = (signed_in if proposed else writable)(call, repo)
    lines = [json.loads(line) for line in call.body.splitlines() if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    answer: dict[str, Any] = {}
    with call.site.store.lock:
        files = _checked_head(stored, rev, header.get("parentCommit", "")).files
        for line in lines:
            files = _applied(call, stored, files, line["key"], line["value"])
        most = call.site.private_bytes
        if most is not None and stored.state["private"] and sum(file.size for file in files.values()) > most:
            words = "please upgrade your plan to increase your private storage limit."
            raise HubError(403, f"Private repository storage limit reached, {words}")
        if proposed:
            number = stored.propose(rev, header["summary"], _author(call))
            rev, answer = f"refs/pr/{number}", {"pullRequestUrl": f"{call.site.endpoint}/{repo}/discussions/{number}"}
        made = stored.commit(rev, files, header["summary"], message=header.get("description", ""), author=_author(call))
    url = f"{call.site.endpoint}/{repo}/commit/{made.id}"
    return say({"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": "", **answer})


def _author(call: Call) -> str:
    return call.token.user if call.token else ""


def _checked_head(repo: Repo, branch: str, parent: str) -> Commit:
    if branch not in repo.state["heads"]:
        raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    head = repo.resolve(branch)
    if not head.id.startswith(parent.lower()):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    return head


def _applied(call: Call, repo: Repo, files: dict[str, File], key: str, value: dict[str, Any]) -> dict[str, File]:
    """Return the tree after one line of a commit."""
    if key not in {"file", "lfsFile", "deletedFile", "deletedFolder"}:
        return files
    path = _checked_path(value["path"])
    if key == "file":
        return files | {path: repo.keep_regular(base64.b64decode(value["content"]))}
    if key == "lfsFile":
        return files | {path: _uploaded(call, repo, path, value["oid"])}
    gone = {path} if key == "deletedFile" else {name for name in files if name.startswith(f"{path}/")}
    if not gone & set(files):
        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
    return {name: file for name, file in files.items() if name not in gone}


def _checked_path(path: str) -> str:
    path = path.rstrip("/")
    if not {"", ".", "..", ".git"}.isdisjoint(path.split("/")):
        raise HubError(400, f"Invalid path: {path}")
    return path


def _uploaded(call: Call, repo: Repo, path: str, oid: str) -> File:
    if call.site.xet and not repo.object(oid).is_file():
        aside = call.site.store.incoming / oid
        if take(call.site.xet, oid, aside):
            _keep(Upload(repo, oid, aside.stat().st_size), aside)
    if not re.fullmatch(r"[0-9a-f]{64}", oid) or not repo.object(oid).is_file():
        raise HubError(400, f"An LFS pointer pointed to a file that does not exist. Offending file: {path}")
    return repo.lfs_file(oid)
