"""The loopback Hub, asked by the real client."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub import Fault, Hub, Request

# isort: split
# After hub: the client reads HF_HUB_DISABLE_XET when it is imported.
import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

# The client's own way to send LFS objects is deprecated in its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = b"---\nlicense: apache-2.0\ntags:\n- mlx\n- conversational\npipeline_tag: text-generation\n---\n# A\n"


def safetensors(size: int) -> bytes:
    """Make a safetensors file with one tensor of so many bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(range(256)) * (size // 256) + bytes(size % 256)


WEIGHTS = safetensors(300_000)
FILES = {"README.md": CARD, "config.json": b"{}\n", "sub/notes.txt": b"text\n", "model.safetensors": WEIGHTS}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub", multipart_above=200_000, part_size=70_000, page_size=3) as hub:
        yield hub


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi(hub.endpoint, token=hub.token("write"))


def client(hub: Hub, token: str | None) -> HfApi:
    return HfApi(hub.endpoint, token=hub.token(token) if token else False)


def asked(hub: Hub, method: str, part: str) -> list[Request]:
    return [request for request in hub.log if request.method == method and part in request.path]


def adds(files: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, content) for path, content in files.items()]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the client wait between its attempts without waiting."""
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    return waits


def test_whoami(hub: Hub, api: HfApi) -> None:
    me = api.whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("ada", ["lab"])
    assert me["auth"]["accessToken"]["role"] == "write"
    assert client(hub, "read").whoami()["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(hub.endpoint, token="hf_wrong").whoami()
    assert [request.token_name for request in hub.log] == ["write", "read", "(unknown)"]


def test_create(hub: Hub, api: HfApi) -> None:
    assert api.create_repo("lab/m", private=True).repo_id == "lab/m"
    assert list(hub.tree("lab/m")) == [".gitattributes"]
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("lab/m")
    assert caught.value.response.status_code == 409
    assert api.create_repo("lab/m", exist_ok=True).repo_id == "lab/m"
    api.update_repo_settings("lab/m", private=False)
    assert api.model_info("lab/m").private is False


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("read", 403), ("stranger", 403)])
def test_create_refused(hub: Hub, token: str | None, status: int) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        client(hub, token).create_repo("lab/m")
    assert caught.value.response.status_code == status
    assert not hub.exists("lab/m")


def test_upload(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo("lab/m")
    first = hub.head("lab/m")
    (tmp_path / "big").write_bytes(WEIGHTS)
    big = CommitOperationAdd("model.safetensors", tmp_path / "big")
    small = adds({"README.md": CARD, "config.json": b"{}\n", "small.safetensors": WEIGHTS[:1000]})
    made = api.create_commit("lab/m", [big, *small], commit_message="add", parent_commit=first)
    assert made.oid == hub.head("lab/m")
    assert [commit.title for commit in hub.commits("lab/m")] == ["add", "initial commit"]
    tree = hub.tree("lab/m")
    assert tree["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert tree["config.json"].sha256 is None
    assert hub.read("lab/m", "main", "model.safetensors") == WEIGHTS
    assert hub.read("lab/m", made.oid, "README.md") == CARD
    assert [request.received for request in asked(hub, "PUT", "/storage/") if request.received != 1000] == [
        70_000,
        70_000,
        70_000,
        70_000,
        len(WEIGHTS) - 280_000,
    ]
    assert [request.token_name for request in asked(hub, "PUT", "/storage/")] == [None] * 6
    assert len(asked(hub, "POST", "/objects/verify")) == 2
    assert not list(hub.store.incoming.iterdir())


def test_upload_again_sends_nothing(hub: Hub, api: HfApi) -> None:
    head = hub.put("lab/m", FILES)
    assert api.create_commit("lab/m", adds(FILES), commit_message="again").oid == head
    assert not asked(hub, "PUT", "")
    api.create_commit("lab/m", adds({"copy.safetensors": WEIGHTS}), commit_message="copy")
    assert not asked(hub, "PUT", "")
    assert hub.read("lab/m", "main", "copy.safetensors") == WEIGHTS


def test_delete(hub: Hub, api: HfApi) -> None:
    hub.put("lab/m", FILES)
    gone = [CommitOperationDelete("config.json"), CommitOperationDelete("sub/")]
    api.create_commit("lab/m", gone, commit_message="less")
    assert set(hub.tree("lab/m")) == {"README.md", "model.safetensors"}
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit("lab/m", gone, commit_message="less")


def test_stale_parent(hub: Hub, api: HfApi) -> None:
    old = hub.put("lab/m", FILES)
    new = hub.put("lab/m", {"a": b"1"})
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit("lab/m", adds({"b": b"2"}), commit_message="late", parent_commit=old)
    assert caught.value.response.status_code == 412
    assert hub.head("lab/m") == new


def test_commit_refuses_an_object_that_was_not_uploaded(hub: Hub, api: HfApi) -> None:
    head = hub.put("lab/m", FILES)
    add = adds({"new.safetensors": b"never sent"})
    add[0]._upload_mode, add[0]._is_uploaded = "lfs", True
    with pytest.raises(BadRequestError, match=r"new\.safetensors"):
        api.create_commit("lab/m", add, commit_message="broken")
    assert hub.head("lab/m") == head


def test_commit_refuses_a_path_outside(hub: Hub, api: HfApi) -> None:
    head = hub.put("lab/m", FILES)
    add = adds({"a": b"1"})
    add[0]._upload_mode, add[0].path_in_repo = "regular", "../ä"
    with pytest.raises(BadRequestError, match="Invalid path"):
        api.create_commit("lab/m", add, commit_message="broken")
    assert hub.head("lab/m") == head


def test_pull_request(hub: Hub, api: HfApi) -> None:
    head = hub.put("lab/m", FILES)
    done = api.create_commit("lab/m", adds({"a": b"1"}), commit_message="pr", create_pr=True)
    assert (hub.head("lab/m"), done.pr_revision) == (head, "refs/pr/1")
    assert done.pr_url == f"{hub.endpoint}/lab/m/discussions/1"
    [proposal] = api.get_repo_discussions("lab/m", discussion_type="pull_request", discussion_status="open")
    assert (proposal.title, proposal.git_reference, proposal.url) == ("pr", "refs/pr/1", done.pr_url)
    assert api.model_info("lab/m", revision="refs/pr/1").sha == done.oid
    assert [ref.name for ref in api.list_repo_refs("lab/m").branches] == ["main"]


def test_collection_and_deletion(hub: Hub, api: HfApi) -> None:
    hub.put("lab/m", FILES)
    for _ in range(2):
        collection = api.add_collection_item("lab/best-1", item_id="lab/m", item_type="model", exists_ok=True)
        assert [item.item_id for item in collection.items] == ["lab/m"]
    api.delete_repo("lab/m")
    assert not hub.exists("lab/m")


def test_same_commits_have_same_ids(tmp_path: Path) -> None:
    made = []
    for name in "ab":
        with Hub(tmp_path / name) as hub:
            made.append([hub.put("lab/m", FILES), hub.put("lab/m", {"x": b""}, message="more")])
    assert made[0] == made[1]
    assert len(set(made[0])) == 2


def test_large_files_are_linked(hub: Hub, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(WEIGHTS)
    hub.put("lab/m", {"model.safetensors": source})
    assert source.stat().st_nlink == 2
    assert hub.read("lab/m", "main", "model.safetensors") == WEIGHTS


def test_info(hub: Hub, api: HfApi) -> None:
    sha = hub.put("lab/m", FILES)
    info = api.model_info("lab/m", files_metadata=True)
    assert (info.sha, info.private, info.gated, info.pipeline_tag) == (sha, False, False, "text-generation")
    assert info.tags == ["mlx", "conversational", "license:apache-2.0"]
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert set(siblings) == set(FILES)
    assert siblings["config.json"].size == 3
    lfs = siblings["model.safetensors"].lfs
    assert lfs is not None
    assert lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert api.model_info("lab/m", expand=["sha"], revision=sha).sha == sha


def test_tree(hub: Hub, api: HfApi) -> None:
    old = hub.put("lab/m", FILES)
    new = hub.put("lab/m", {"config.json": b"{ }"}, message="newer")
    listed = list(api.list_repo_tree("lab/m"))
    assert [(type(item), item.path) for item in listed] == [
        (RepoFile, "README.md"),
        (RepoFile, "config.json"),
        (RepoFile, "model.safetensors"),
        (RepoFolder, "sub"),
    ]
    assert len(asked(hub, "GET", "/tree/")) == 2  # pages of 3
    everything = list(api.list_repo_tree("lab/m", recursive=True, revision=old, expand=True))
    assert [item.path for item in everything] == [*(item.path for item in listed), "sub/notes.txt"]
    assert [item.path for item in api.list_repo_tree("lab/m", "sub")] == ["sub/notes.txt"]
    last = {item.path: item.last_commit.oid for item in api.list_repo_tree("lab/m", expand=True) if item.last_commit}
    assert (last["config.json"], last["README.md"]) == (new, old)
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("lab/m", "missing"))


def test_paths_info(hub: Hub, api: HfApi) -> None:
    hub.put("lab/m", FILES)
    items = api.get_paths_info("lab/m", ["config.json", "model.safetensors", "sub", "missing"])
    assert [finding.path for finding in items] == ["config.json", "model.safetensors", "sub"]
    config, weights = items[:2]
    assert isinstance(config, RepoFile)
    assert config.blob_id == "0967ef424bce6791893e9a57bb952f80fd536e93"  # what git hash-object says
    assert isinstance(weights, RepoFile)
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())


def test_history_and_tags(hub: Hub, api: HfApi) -> None:
    made = [hub.put("lab/m", {"n": str(n).encode()}, message=f"no. {n}") for n in range(5)]
    assert [commit.commit_id for commit in api.list_repo_commits("lab/m")] == made[::-1]
    api.create_tag("lab/m", tag="v1", revision=made[1])
    assert hub.tags("lab/m") == {"v1": made[1]}
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag("lab/m", tag="v1")
    assert caught.value.response.status_code == 409
    refs = api.list_repo_refs("lab/m")
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.tags] == [("v1", "refs/tags/v1", made[1])]
    assert refs.branches[0].target_commit == made[-1]
    assert api.model_info("lab/m", revision="v1").sha == made[1]
    api.delete_tag("lab/m", tag="v1")
    assert hub.tags("lab/m") == {}
    assert list(api.get_repo_discussions("lab/m")) == []


def test_download(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    commit = hub.put("lab/m", FILES)
    hub.put("lab/m", {"config.json": b"later"})
    folder = Path(api.snapshot_download("lab/m", revision=commit, cache_dir=tmp_path / "cache"))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert not api.verify_repo_checksums("lab/m", revision=commit, cache_dir=tmp_path / "cache").mismatches
    with pytest.raises(RevisionNotFoundError):
        api.snapshot_download("lab/m", revision="0" * 40, cache_dir=tmp_path / "cache")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("lab/m", "missing", cache_dir=tmp_path / "cache")


def test_safetensors_metadata_reads_a_range(hub: Hub, api: HfApi) -> None:
    hub.put("lab/m", FILES)
    assert api.get_safetensors_metadata("lab/m").parameter_count == {"U8": 300_000}
    assert [(request.status, request.sent) for request in asked(hub, "GET", "/resolve/")] == [(206, 100_001)]


@pytest.mark.parametrize(
    ("asks", "status", "gets"),
    [("bytes=2-3", 206, b"xt"), ("bytes=-2", 206, b"t\n"), ("bytes=3-", 206, b"t\n"), ("bytes=9-", 416, b"")],
)
def test_ranges(hub: Hub, asks: str, status: int, gets: bytes) -> None:
    hub.put("lab/m", FILES)
    answer = httpx2.get(f"{hub.endpoint}/lab/m/resolve/main/sub/notes.txt", headers={"Range": asks})
    assert (answer.status_code, answer.content) == (status, gets)
    assert answer.headers["Content-Range"].endswith("/5")


def test_auth_check(hub: Hub) -> None:
    hub.put("lab/m", FILES)
    client(hub, "write").auth_check("lab/m", write=True)
    for token, status in (("read", 403), ("stranger", 403), (None, 401)):
        client(hub, token).auth_check("lab/m")
        with pytest.raises(HfHubHTTPError) as caught:
            client(hub, token).auth_check("lab/m", write=True)
        assert caught.value.response.status_code == status


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("write", 404)])
def test_missing_repo(hub: Hub, token: str | None, status: int) -> None:
    with pytest.raises(RepositoryNotFoundError) as caught:
        client(hub, token).model_info("lab/none")
    assert caught.value.response.status_code == status


def test_private_repo(hub: Hub) -> None:
    hub.put("lab/m", FILES, private=True)
    assert client(hub, "read").model_info("lab/m").private
    for token in (None, "stranger"):
        with pytest.raises(RepositoryNotFoundError):
            client(hub, token).model_info("lab/m")


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("stranger", 403)])
def test_gated_repo(hub: Hub, tmp_path: Path, token: str | None, status: int) -> None:
    hub.put("lab/m", FILES, gated=True)
    assert client(hub, token).model_info("lab/m").gated == "manual"
    with pytest.raises(GatedRepoError) as caught:
        client(hub, token).hf_hub_download("lab/m", "config.json", cache_dir=tmp_path)
    assert caught.value.response.status_code == status
    assert client(hub, "read").file_exists("lab/m", "config.json")


def test_card_is_validated(hub: Hub, api: HfApi) -> None:
    hub.put("lab/m", FILES)
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        api.create_commit("lab/m", adds({"README.md": b"# no front matter\n"}), commit_message="a")
    with pytest.raises(ValueError, match="does not end"):
        api.create_commit("lab/m", adds({"README.md": b"---\nlicense: mit\n"}), commit_message="b")
    assert len(hub.commits("lab/m")) == 2


def test_fault_status_is_retried(hub: Hub, api: HfApi, patient: list[float]) -> None:
    hub.put("lab/m", FILES)
    hub.faults += [Fault("GET", "/tree/"), Fault("GET", "/tree/", status=429, retry_after=7)]
    assert len(list(api.list_repo_tree("lab/m"))) == 4
    assert [request.status for request in asked(hub, "GET", "/tree/")] == [503, 429, 200, 200]
    assert patient == [1, 8]
    hub.faults.append(Fault("*", "/api/models/lab/m", status=500))
    with pytest.raises(HfHubHTTPError, match="500"):
        api.model_info("lab/m")


def test_fault_cut_is_resumed(
    hub: Hub, api: HfApi, tmp_path: Path, patient: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("lab/m", FILES)
    # The client forgets what it got of an unfinished chunk; a chunk has 10 MB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.faults.append(Fault("GET", "/resolve/", kind="cut", after_bytes=120_000))
    got = api.hf_hub_download("lab/m", "model.safetensors", cache_dir=tmp_path)
    assert Path(got).read_bytes() == WEIGHTS
    sent = [(request.status, request.sent) for request in asked(hub, "GET", "/resolve/")]
    assert sent == [(200, 120_000), (206, len(WEIGHTS) - 120_000)]


def test_fault_reset_is_not(hub: Hub, api: HfApi, tmp_path: Path) -> None:
    hub.put("lab/m", FILES)
    hub.faults.append(Fault("GET", "/resolve/", kind="reset", after_bytes=120_000))
    with pytest.raises(httpx2.ReadError):
        api.hf_hub_download("lab/m", "model.safetensors", cache_dir=tmp_path)
    assert [request.sent for request in asked(hub, "GET", "/resolve/")] == [120_000]


def test_fault_lost_response(hub: Hub, api: HfApi) -> None:
    head = hub.put("lab/m", FILES)
    hub.faults.append(Fault("POST", "/commit/", kind="lost-response"))
    with pytest.raises(httpx2.RemoteProtocolError):
        api.create_commit("lab/m", adds({"a": b"1"}), commit_message="landed", parent_commit=head)
    assert hub.commits("lab/m")[0].title == "landed"
    assert asked(hub, "POST", "/commit/")[0].sent == 0


def test_upload_survives_a_lost_response(hub: Hub, api: HfApi, patient: list[float]) -> None:
    hub.put("lab/m", {"a": b"1"})
    hub.faults += [
        Fault("PUT", "/storage/", kind="lost-response"),
        Fault("POST", "/complete_multipart/", kind="lost-response"),
    ]
    api.create_commit("lab/m", adds({"model.safetensors": WEIGHTS}), commit_message="add")
    assert hub.read("lab/m", "main", "model.safetensors") == WEIGHTS


def test_log_on_disk(hub: Hub, api: HfApi) -> None:
    api.create_repo("lab/m")
    hub_log = hub.log
    text = (hub.root / "requests.jsonl").read_text()
    assert [Request(**json.loads(line)) for line in text.splitlines()] == hub_log
    assert hub.token("write") not in text


def test_environment(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert "HF_TOKEN" not in hub.environment(None, tmp_path)
    ask = "from huggingface_hub import whoami; print(whoami()['name'])"
    environment = hub.environment("read", tmp_path)
    answer = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "ada\n"
    assert hub.log[-1].token_name == "read"


def test_command(tmp_path: Path) -> None:
    (tmp_path / "seed/sub").mkdir(parents=True)
    (tmp_path / "seed/sub/a.txt").write_bytes(b"1")
    command = [sys.executable, str(Path(__file__).with_name("hub.py")), "--root", str(tmp_path / "hub")]
    with subprocess.Popen([*command, "--seed", f"lab/m={tmp_path}/seed"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        assert HfApi(endpoint, token=False).list_repo_files("lab/m") == ["sub/a.txt"]
        process.terminate()
