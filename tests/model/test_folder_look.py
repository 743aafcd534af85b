"""What is taken of a folder of somebody else's: plain files of its own, and no link out of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mlx_publish.errors import Refused
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.folder import look_at

COMMIT = "2439f60ef33a0d46d85da5001d52aeda5b00ce9f"


def fill(folder: Path, **files: str) -> Path:
    for name, text in {"config.json": "{}", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def link(folder: Path, name: str, target: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(str(target))


def strays(folder: Path) -> dict[str, str]:
    return {stray.path: stray.why for stray in look_at(folder).strays}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    fill(tmp_path, **{"secret/id_rsa": "a private key"})
    return fill(tmp_path / "m")


@pytest.mark.parametrize(
    "target",
    [
        "../secret/id_rsa",
        "../secret",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "/",
        "..",
        "x/../../secret/id_rsa",
        "/proc/self/cwd",
        "/proc/self/root/etc/passwd",
    ],
)
@pytest.mark.parametrize("name", ["LICENSE", "additional_chat_templates/x.jinja"])
def test_a_link_out_of_the_folder_is_a_stray_with_its_target(model: Path, name: str, target: str) -> None:
    fill(model, **{"x/y": ""})
    link(model, name, "../" * name.count("/") + target if target.startswith((".", "x")) else target)
    assert list(strays(model)) == [name]
    assert "which is outside the folder" in strays(model)[name]
    assert "LICENSE" not in FolderFiles(model).entries


def test_a_chain_of_links_is_followed_to_its_end(model: Path) -> None:
    link(model, "NOTICE", "a")
    link(model, "a", "sub/b")
    link(model, "sub/b", "../../secret/id_rsa")
    assert sorted(strays(model)) == ["NOTICE", "a", "sub/b"]


def test_a_link_through_a_folder_that_is_a_link_is_a_stray(model: Path) -> None:
    link(model, "docs", "../secret")
    link(model, "LICENSE", "docs/id_rsa")
    assert sorted(strays(model)) == ["LICENSE", "docs"]
    assert list(FolderFiles(model).entries) == ["config.json"]


def test_links_within_the_folder_are_files_of_it(model: Path) -> None:
    fill(model, **{"texts/LICENSE.txt": "mine", "templates/x.jinja": "x"})
    link(model, "LICENSE", "texts/LICENSE.txt")
    link(model, "NOTICE", model / "texts/LICENSE.txt")
    link(model, "COPYING", "../m/texts/LICENSE.txt")
    link(model, "additional_chat_templates", "templates")
    files = FolderFiles(model)
    assert strays(model) == {}
    assert {files.read(name) for name in ("LICENSE", "NOTICE", "COPYING")} == {b"mine"}
    assert files.read("additional_chat_templates/x.jinja") == b"x"


def test_links_to_folders_in_a_circle_end(model: Path) -> None:
    for name, target in (
        ("a/up", ".."),
        ("a/self", "."),
        ("here", "."),
        ("b", "a"),
        ("a/c", "../b"),
        ("round", "round"),
    ):
        link(model, name, target)
    look = look_at(model)
    assert (look.strays, look.dead) == ((), ("round",))
    assert "config.json" in look.places


def test_a_folder_that_is_a_link_itself_is_looked_at(model: Path) -> None:
    link(model.parent, "alias", model)
    fill(model, LICENSE="mine")
    link(model, "NOTICE", "LICENSE")
    link(model, "COPYING", model.parent / "alias/LICENSE")
    assert list(FolderFiles(model.parent / "alias").entries) == ["COPYING", "LICENSE", "NOTICE", "config.json"]


@pytest.mark.parametrize("target", [".git/config", ".env", ".cache/token"])
def test_a_link_to_a_hidden_file_does_not_make_it_a_file_of_the_model(model: Path, target: str) -> None:
    fill(model, **{target: "url = https://me:secret@host/"})
    link(model, "NOTICE", target)
    assert "hidden" in strays(model)["NOTICE"]


def test_stores_of_large_files_are_no_secret(model: Path) -> None:
    fill(model, **{".git/annex/objects/a/b": "weights"})
    link(model, "model.safetensors", ".git/annex/objects/a/b")
    assert strays(model) == {}
    assert FolderFiles(model).read("model.safetensors") == b"weights"


def test_pipes_sockets_and_links_to_them_are_named_and_not_opened(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(model / "LICENSE")
    link(model, "NOTICE", "LICENSE")
    monkeypatch.chdir(model)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("x.sock")
        reasons = strays(model)
    assert reasons == {
        "LICENSE": "is a pipe, not a file",
        "NOTICE": "is a link to LICENSE, a pipe, not a file",
        "x.sock": "is a socket, not a file",
    }


def test_what_a_work_tree_holds_beside_a_model_is_no_stray(model: Path) -> None:
    """A clone of git, and a folder that the Hub client downloaded into."""
    link(fill(model, **{".gitattributes": "x", "assets/a.png": "x"}), ".git/link", "/etc/passwd")
    fill(model, **{".cache/huggingface/download/config.json.metadata": "x", ".DS_Store": "x"})
    for environment in (".venv", "venv"):
        link(fill(model, **{f"{environment}/pyvenv.cfg": "x"}), f"{environment}/bin/python", "/usr/bin/python3")
    assert strays(model) == {}
    assert list(FolderFiles(model).entries) == ["assets/a.png", "config.json"]


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model as the Hub's client keeps it."""
    repo = tmp_path / "hub/models--acme--Tiny"
    fill(repo / "blobs", aa="{}", bb="a template")
    folder = repo / "snapshots" / COMMIT
    link(folder, "config.json", "../../blobs/aa")
    link(folder, "additional_chat_templates/x.jinja", "../../../blobs/bb")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    return folder


def test_a_snapshot_of_the_hubs_client_is_read_through_its_links(snapshot: Path) -> None:
    files = FolderFiles(snapshot)
    assert files.look.strays == ()
    assert {path: files.read(path) for path in files.entries} == {
        "config.json": b"{}",
        "additional_chat_templates/x.jinja": b"a template",
    }


def test_a_cache_on_another_disk_and_a_part_of_a_snapshot_are_read_too(snapshot: Path, tmp_path: Path) -> None:
    link(tmp_path, "cache", tmp_path / "hub")
    there = tmp_path / "cache" / snapshot.relative_to(tmp_path / "hub")
    assert look_at(there).strays == ()
    assert list(FolderFiles(there / "additional_chat_templates").entries) == ["x.jinja"]


@pytest.mark.parametrize(
    "target",
    [
        "../../refs/main",
        "../../../models--acme--Other/blobs/aa",
        "../../blobs",
        "../../blobs/out",
        "../../blobs/pipe",
        "../../blobs/sub/x",
        "../../../../secret",
    ],
)
def test_in_a_snapshot_only_links_to_plain_files_of_its_own_blobs_are_followed(snapshot: Path, target: str) -> None:
    repo = snapshot.parents[1]
    fill(repo.parent / "models--acme--Other/blobs", aa="x")
    fill(repo, **{"blobs/sub/x": "x", "../../secret": "x"})
    link(repo, "blobs/out", "../../../secret")
    os.mkfifo(repo / "blobs/pipe")
    link(snapshot, "LICENSE", target)
    assert list(strays(snapshot)) == ["LICENSE"]


@pytest.mark.parametrize(
    "place",
    [
        f"models--a--b/snapshots/{COMMIT[:-1]}",
        f"datasets--a--b/snapshots/{COMMIT}",
        f"models--a--b/snapshot/{COMMIT}",
        "models--a--b/snapshots/main",
    ],
)
def test_what_only_resembles_a_cache_is_none(tmp_path: Path, place: str) -> None:
    fill(tmp_path / "models--a--b/blobs", aa="x")
    fill(tmp_path / "datasets--a--b/blobs", aa="x")
    link(fill(tmp_path / place), "LICENSE", "../../blobs/aa")
    assert list(strays(tmp_path / place)) == ["LICENSE"]


def test_blobs_that_are_a_link_are_no_cache(snapshot: Path, tmp_path: Path) -> None:
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert sorted(strays(snapshot)) == ["additional_chat_templates/x.jinja", "config.json"]


def replaced(path: Path, how: str) -> None:
    path.unlink()
    if how == "a link":
        path.symlink_to("/etc/passwd")
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "another file":
        path.write_text("another")


@pytest.mark.parametrize("how", ["a link", "a pipe", "another file", "nothing"])
def test_what_is_put_in_the_place_of_a_file_after_the_look_is_not_read(model: Path, how: str) -> None:
    files = FolderFiles(fill(model, LICENSE="mine"))
    assert "LICENSE" in files.entries
    replaced(model / "LICENSE", how)
    with pytest.raises(Refused, match="LICENSE: changed while it was being read"):
        files.read("LICENSE")
    with pytest.raises(Refused, match="changed while"):
        files.copy("LICENSE", model.parent / "copy")
    assert not (model.parent / "copy").exists()


def test_a_folder_that_becomes_a_link_after_the_look_is_not_read_through(model: Path) -> None:
    files = FolderFiles(fill(model, **{"sub/LICENSE": "mine"}))
    assert "sub/LICENSE" in files.entries
    (model / "sub").rename(model / "old")
    fill(model.parent / "else", LICENSE="theirs")
    link(model, "sub", "../else")
    with pytest.raises(Refused, match="changed while"):
        files.read("sub/LICENSE")


def test_a_file_of_holes_is_told_from_a_whole_one(model: Path) -> None:
    with (model / "hollow").open("wb") as file:
        file.write(bytes(range(1, 200)))
        file.truncate(1 << 34)
    (model / "whole").write_bytes(b"x" * (1 << 20))
    look = look_at(model)
    assert (look.hollow("hollow"), look.hollow("whole"), look.hollow("config.json")) == (True, False, False)


def test_targets_are_shown_cut_and_without_what_commands_a_terminal(model: Path) -> None:
    link(model, "LICENSE", "nowhere/" + "\x1b[2J\u202e" + "x" * 200)
    link(model, "NOTICE", "/etc/passwd")
    assert look_at(model).dead == ("LICENSE",)
    (model.parent / ("\x1b[2J\u202e" + "y" * 200)).write_text("x")
    link(model, "COPYING", "../\x1b[2J\u202e" + "y" * 200)
    reason = strays(model)["COPYING"]
    assert reason.isprintable()
    assert "\\x1b[2J\\u202e" in reason
    assert len(reason) < 150
