"""The exit codes of the contract, by python and by nox: each with words that help, none with half-done work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import in_process
from hub import Fault, Hub
from models import make_model
from pipeline import NOWHERE, User, leftovers, read_json

BOTH = pytest.mark.parametrize("through", ["python", "nox"])
# How nox passes an exit code on does not depend on what led to it: one of each code is enough by day.
BOTH_BY_NIGHT = pytest.mark.parametrize("through", ["python", pytest.param("nox", marks=pytest.mark.nightly)])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def ada(hub: Hub, tmp_path: Path) -> User:
    return User(tmp_path / "home", hub, "read")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk, and only on Linux")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this machine does not let root mount a disk")
    yield folder
    in_process.end()  # a child that waits prints to a log on this disk
    subprocess.run(["umount", str(folder)], check=True)


def no_model(work: Path) -> bool:
    """Whether nothing was put in place and nothing half-done was left."""
    return not list(work.rglob("model")) and not leftovers(work)


@BOTH
def test_0_done(user: User, tmp_path: Path, through: str) -> None:
    make_model(tmp_path / "m")
    ended = user.run("inspect", "--source", tmp_path / "m", "--work", "work", through=through)
    assert re.search(r"inspect m · 4bit ok 4bit: \d+ checks passed", ended.text)
    assert re.search(r"4bit passed Next: (mlx-publish run|sh \S+bootstrap.sh -s run --) --source", ended.text)
    # nox starts elsewhere; the work folder is where the user stands.
    assert (user.home / "work/m/4bit/inspect.json").exists()


@BOTH
def test_1_refused(user: User, tmp_path: Path, through: str) -> None:
    make_model(tmp_path / "m", config={"model_type": "lama"})
    ended = user.run("inspect", "--source", tmp_path / "m", "--work", tmp_path / "work", code=1, through=through)
    assert "cannot load the model type lama" in ended.text
    assert "Nearest supported: llama" in ended.text


@BOTH_BY_NIGHT
def test_2_a_repo_that_is_not_there(ada: User, hub: Hub, tmp_path: Path, through: str) -> None:
    flags = ["--source", "missing/repo", "--work", tmp_path / "work"]
    ended = ada.run("inspect", *flags, code=2, through=through)
    assert f"missing/repo does not exist on {hub.endpoint}, or this token may not see it" in ended.text
    assert "Check the spelling; for a private repo set HF_TOKEN." in ended.text


@BOTH
def test_2_a_broken_recipe(user: User, tmp_path: Path, through: str) -> None:
    recipe = tmp_path / "m.yaml"
    recipe.write_text("source: acme/x\nvariants:\n  - 4bit\n  - {bits: 4\nto: acme/y\n")
    ended = user.run("inspect", "--recipe", recipe, "--work", tmp_path / "work", code=2, through=through)
    assert f"{recipe}:5" in ended.text
    recipe.write_text("source: acme/x\nvariants:\n  - 4bit\n  - bits: 7\nto: acme/y-{variant}\n")
    ended = user.run("inspect", "--recipe", recipe, "--work", tmp_path / "work", code=2, through=through)
    assert f"{recipe}:4: variants[1].bits: " in ended.text
    assert "(given: 7)" in ended.text


@BOTH_BY_NIGHT
def test_2_an_unknown_variant(user: User, tmp_path: Path, through: str) -> None:
    make_model(tmp_path / "m")
    flags = ["--source", tmp_path / "m", "--variants", "4bit,8bit", "--work", tmp_path / "work"]
    ended = user.run("convert", *flags, "--variant", "5bit", code=2, through=through)
    assert "--variant: there is no variant 5bit" in ended.text
    assert "These flags describe: 4bit, 8bit. To make others: --variants 5bit." in ended.text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--bits", "4", "--mode", "mxfp8"], "--bits: mxfp8 has 8 bits, not 4"),
        (["--bits", "seven"], "--bits"),
        (["--mixed", "mixed_3_6", "--mode", "mxfp4"], "--mode: the mixed recipes of mlx-lm are affine, not mxfp4"),
        (["--group-size", "64", "--dtype", "float16"], "--group-size: dtype alone leaves the model unquantized"),
        (["--variants", "4bit,9bits"], "no variant is called '9bits'"),
        (
            ["--to", "no/such/place"],
            "--to: 'no/such/place' is neither namespace/name nor folder:PATH",
        ),
        (["--variants", "4bit,8bit", "--to", "folder:out"], "several variants have the same destination"),
        (["--license", "other"], "license_name and license_link"),
        (["--private", "perhaps"], "--private"),
        (["--frobnicate"], "mlx-publish inspect has no --frobnicate"),
    ],
)
def test_2_flags_that_do_not_fit(user: User, tmp_path: Path, flags: list[str], words: str) -> None:
    make_model(tmp_path / "m")
    ended = user.run("inspect", "--source", tmp_path / "m", "--work", tmp_path / "work", *flags, code=2)
    assert words in ended.text
    assert not (tmp_path / "work").exists()


@BOTH_BY_NIGHT
def test_4_a_disk_that_inspect_sees_is_too_small(user: User, tmp_path: Path, disk: Path, through: str) -> None:
    make_model(tmp_path / "m", hidden=1024, layers=4)
    ended = user.run("convert", "--source", tmp_path / "m", "--work", disk / "work", code=4, through=through)
    assert f"{disk}/work" in ended.text
    assert "2.1 MB free" in ended.text
    assert "Free space, or set --work to a folder on a larger disk." in ended.text
    assert no_model(disk)


@BOTH_BY_NIGHT
def test_4_a_disk_that_fills_up_while_it_is_written(user: User, tmp_path: Path, disk: Path, through: str) -> None:
    make_model(tmp_path / "m", hidden=256)
    flags = ["--source", tmp_path / "m", "--variants", "8bit,4bit", "--work", disk / "work"]
    user.run("inspect", *flags)
    room = shutil.disk_usage(disk).free
    # Enough for the first variant, not for both.
    (disk / "filler").write_bytes(b"x" * (room - 640_000))
    ended = user.run("convert", *flags, code=4, through=through)
    assert "the disk is full" in ended.text or "No space left on device" in ended.text
    assert "next: Free" in ended.text
    assert no_model(disk)
    (disk / "filler").unlink()
    user.run("convert", *flags)
    assert len(list(disk.rglob("model/model.safetensors"))) == 2
    assert not leftovers(disk)


@BOTH_BY_NIGHT
def test_4_a_connection_that_breaks_during_the_download(ada: User, hub: Hub, tmp_path: Path, through: str) -> None:
    model = make_model(tmp_path / "m")
    commit = hub.put("acme/m", {path.name: path for path in model.iterdir()})
    flags = ["--source", "acme/m", "--revision", commit, "--work", tmp_path / "work"]
    ada.run("inspect", *flags)
    broken = Fault("GET", r"/resolve/.*/model\.safetensors", times=100, kind="reset", after_bytes=50_000)
    hub.faults.append(broken)
    ended = ada.run("convert", *flags, code=4, through=through)
    assert broken.times < 100
    assert f"no answer from {hub.endpoint}" in ended.text
    assert "Check the network, then run the same command again; completed downloads are kept." in ended.text
    assert no_model(tmp_path / "work")
    assert read_json(tmp_path / "work/m/4bit/convert.json")["verdict"] == "error"
    hub.faults.clear()
    ada.run("convert", *flags)
    assert (tmp_path / "work/m/4bit/model/model.safetensors").exists()


@BOTH
def test_4_a_hub_that_is_not_there(user: User, tmp_path: Path, through: str) -> None:
    start = time.monotonic()
    ended = user.run("convert", "--source", "acme/m", "--work", tmp_path / "work", code=4, through=through)
    assert time.monotonic() - start < 10
    assert f"acme/m: no answer from {NOWHERE}" in ended.text
    assert "Check the network" in ended.text


@BOTH_BY_NIGHT
def test_4_a_hub_that_fails(ada: User, hub: Hub, tmp_path: Path, through: str) -> None:
    hub.faults.append(Fault("GET", "/api/models/acme/m", times=100, status=500))
    ended = ada.run("inspect", "--source", "acme/m", "--work", tmp_path / "work", code=4, through=through)
    assert "acme/m: the Hub answered 500" in ended.text
    assert "run the same command again later" in ended.text.lower()


def test_4_a_work_folder_that_cannot_be_written(user: User, tmp_path: Path) -> None:
    make_model(tmp_path / "m")
    (tmp_path / "work").write_text("a file")
    ended = user.run("inspect", "--source", tmp_path / "m", "--work", tmp_path / "work", code=4)
    assert str(tmp_path / "work") in ended.text


def test_nothing_is_explained_by_a_crash(user: User) -> None:
    assert "neither --recipe nor --source is given" in user.run("inspect", code=2).text
    assert "does not exist" in user.run("inspect", "--source", "./nowhere", code=2).text
    assert "no-such.yaml" in user.run("inspect", "--recipe", "no-such.yaml", code=2).text
    assert "there is no stage polish" in user.run("run", "--source", ".", "--until", "polish", code=2).text


@pytest.mark.parametrize("words", [("list",), ("init", "--yes", "--namespace", "ada"), ("status", "--json")])
def test_a_current_folder_that_was_removed_is_no_crash(tmp_path: Path, words: tuple[str, ...]) -> None:
    user, gone = User(tmp_path / "home"), tmp_path / "gone"
    gone.mkdir()
    within = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *user.command(*words)]
    done = subprocess.run(within, env=user.environment, capture_output=True, text=True, check=False)
    assert "error: the current folder does not exist any more" in done.stderr
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
