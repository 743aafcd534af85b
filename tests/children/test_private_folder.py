"""Nobody else's programs run from a cache that others may write: what bootstrap.sh takes, and what it passes by."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bootstrapping import Machine
from mlx_publish.children import private_folder
from mlx_publish.children.private_folder import Unfit

OTHER = 54321
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another user")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.fake(machine.bin / "python3.12", "3.12.4")
    return machine


def own_place(machine: Machine) -> Path:
    return machine.home / ".cache" / "mlx-publish"


def give(path: Path, user: int = OTHER) -> None:
    os.chown(path, user, user, follow_symlinks=False)


def plant(machine: Machine, folder: Path, name: str = "") -> Path:
    """Put an environment there that would tell that it ran, under the name that the script will look for."""
    if not name:
        machine.run("-l", MLX_PUBLISH_CACHE=str(machine.base / "elsewhere"))
        [made] = (machine.base / "elsewhere").glob("nox-*[0-9]")
        name = made.name
    machine.program(folder / name / "bin" / "python", f"#!/bin/sh\n: >'{machine.base}/ran'\n")
    (folder / name / ".complete").touch()
    return folder / name


def ran(machine: Machine) -> bool:
    return (machine.base / "ran").exists()


@AS_ROOT
def test_an_environment_that_another_user_made_in_a_cache_open_to_all_never_runs(machine: Machine) -> None:
    tools = machine.base / "tools"
    tools.mkdir()
    tools.chmod(0o777)
    environment = plant(machine, tools / "mlx-publish")
    for path in (environment.parent, environment, *environment.rglob("*")):
        give(path)
    done = machine.run("-l", RUNNER_TOOL_CACHE=str(tools))
    assert (done.returncode, ran(machine)) == (0, False)
    assert f"bootstrap: the environments are not in '{tools}/mlx-publish': '{tools}' (owner root, mode 777) is" in (
        done.stderr
    )
    assert done.stdout.splitlines()[1] == str(own_place(machine))
    assert "is writable by everybody" in machine.run("-l", RUNNER_TOOL_CACHE=str(tools)).stderr


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o772])
def test_a_tool_cache_that_others_may_write_is_passed_by_even_if_what_lies_there_is_ours(
    machine: Machine, mode: int
) -> None:
    tools = machine.base / "tools"
    plant(machine, tools / "mlx-publish")
    tools.chmod(mode)
    if mode & 0o007 == 0 and os.geteuid() == 0:
        os.chown(tools, 0, OTHER)
    elif mode & 0o007 == 0:
        pytest.skip("no group here that is not one's own")
    done = machine.run("-l", RUNNER_TOOL_CACHE=str(tools))
    assert (done.returncode, ran(machine)) == (0, False)
    assert done.stdout.splitlines()[1] == str(own_place(machine))


def test_a_tool_cache_of_our_own_is_taken_without_a_word(machine: Machine) -> None:
    tools = machine.base / "tools"
    done = machine.run("-l", RUNNER_TOOL_CACHE=str(tools))
    assert done.stdout.splitlines()[1] == str(tools / "mlx-publish")
    assert machine.run("-l", RUNNER_TOOL_CACHE=str(tools)).stderr == ""


def test_what_is_made_is_for_its_owner_alone(machine: Machine) -> None:
    os.umask(before := os.umask(0o002))
    assert before is not None
    machine.run("-l", XDG_CACHE_HOME=str(machine.base / "a" / "b"))
    folder = machine.base / "a" / "b" / "mlx-publish"
    [environment] = folder.glob("nox-*")
    for made in (folder.parent.parent, folder.parent, folder, environment):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700, made


def test_a_place_that_the_user_names_is_refused_with_owner_mode_and_remedy(machine: Machine) -> None:
    cache = machine.base / "mine"
    plant(machine, cache)
    cache.chmod(0o757)
    done = machine.run("-l", MLX_PUBLISH_CACHE=str(cache))
    assert (done.returncode, done.stdout, ran(machine)) == (4, "", False)
    assert f"'{cache}' (owner " in done.stderr
    assert "mode 757) is writable by everybody" in done.stderr
    assert "Set MLX_PUBLISH_CACHE to a folder that" in done.stderr
    assert "chmod go-w" in done.stderr
    cache.chmod(0o755)
    assert machine.run("-l", MLX_PUBLISH_CACHE=str(cache)).returncode == 0
    assert ran(machine)


class Attack(NamedTuple):
    name: str
    do: Callable[[Machine, Path], None]


def owned_cache(machine: Machine, environment: Path) -> None:
    give(environment.parent)


def owned_environment(machine: Machine, environment: Path) -> None:
    give(environment)


def owned_parent(machine: Machine, environment: Path) -> None:
    give(environment.parent.parent)


def owned_file(machine: Machine, environment: Path) -> None:
    (environment / "lib" / "deep" / "down").mkdir(parents=True)
    (environment / "lib" / "deep" / "down" / "nox.py").touch()
    give(environment / "lib" / "deep" / "down" / "nox.py")


def owned_python(machine: Machine, environment: Path) -> None:
    give(environment / "bin" / "python")


def owned_marker(machine: Machine, environment: Path) -> None:
    give(environment / ".complete")


def link_for_the_marker(machine: Machine, environment: Path) -> None:
    (environment / ".complete").unlink()
    (environment / ".complete").symlink_to("/etc/passwd")


def link_for_the_environment(machine: Machine, environment: Path) -> None:
    environment.rename(machine.base / "moved")
    environment.symlink_to(machine.base / "moved")
    give(environment)


def file_open_to_all(machine: Machine, environment: Path) -> None:
    environment.chmod(0o755)
    (environment / "bin" / "python").chmod(0o777)


ATTACKS = [
    owned_cache,
    owned_environment,
    owned_parent,
    owned_file,
    owned_python,
    owned_marker,
    link_for_the_marker,
    link_for_the_environment,
    file_open_to_all,
]


@AS_ROOT
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack.__name__))
@pytest.mark.parametrize("named", [True, False], ids=["named", "implied"])
def test_the_planted_thing_never_runs(machine: Machine, attack: Callable[[Machine, Path], None], named: bool) -> None:
    cache = machine.base / "parent" / "mlx-publish"
    attack(machine, plant(machine, cache))
    variable = {"MLX_PUBLISH_CACHE": str(cache)} if named else {"XDG_CACHE_HOME": str(cache.parent)}
    done = machine.run("-l", **variable)
    assert not ran(machine)
    assert done.returncode == (4 if named and attack in (owned_cache, owned_parent) else 0)
    if done.returncode:
        assert f"belongs to the user {OTHER}" in done.stderr
    elif attack in (owned_cache, owned_parent):
        assert done.stdout.splitlines()[1] == str(machine.project / ".nox")


@AS_ROOT
def test_a_link_of_another_user_in_place_of_the_cache_is_not_followed(machine: Machine) -> None:
    tools, ours = machine.base / "tools", machine.base / "ours"
    tools.mkdir()
    ours.mkdir()
    (ours / "README").write_text("mine")
    tools.chmod(0o1777)
    (tools / "mlx-publish").symlink_to(ours)
    give(tools / "mlx-publish")
    done = machine.run("-l", RUNNER_TOOL_CACHE=str(tools))
    assert f"the link '{tools}/mlx-publish' belongs to the user {OTHER}" in done.stderr
    assert [path.name for path in ours.iterdir()] == ["README"]
    assert (ours / "README").read_text() == "mine"


def test_a_link_of_our_own_is_followed(machine: Machine) -> None:
    (machine.base / "disk").mkdir(mode=0o755)
    (machine.home / ".cache").symlink_to(machine.base / "disk")
    done = machine.run("-l")
    assert done.stdout.splitlines()[1] == str(machine.base / "disk" / "mlx-publish")


def test_links_in_a_circle_are_told(machine: Machine) -> None:
    (machine.base / "a").symlink_to(machine.base / "b")
    (machine.base / "b").symlink_to(machine.base / "a")
    done = machine.run("-l", MLX_PUBLISH_CACHE=str(machine.base / "a"))
    assert done.returncode == 4
    assert "is a circular link" in done.stderr


def test_a_planted_lock_in_an_open_cache_stops_nobody(machine: Machine) -> None:
    tools = machine.base / "tools"
    name = plant(machine, machine.base / "x").name
    (tools / "mlx-publish").mkdir(parents=True)
    tools.chmod(0o777)
    (tools / "mlx-publish" / f"{name}.lock").symlink_to("1")
    begun = time.monotonic()
    assert machine.run("-l", RUNNER_TOOL_CACHE=str(tools)).returncode == 0
    assert time.monotonic() - begun < 30


def test_below_a_sticky_folder_ours_is_taken_and_the_folder_itself_is_not(machine: Machine) -> None:
    shared = machine.base / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    done = machine.run("-l", MLX_PUBLISH_CACHE=str(shared / "mine"))
    assert done.stdout.splitlines()[1] == str(shared / "mine")
    assert "mode 1777" in machine.run("-l", MLX_PUBLISH_CACHE=str(shared)).stderr


@AS_ROOT
def test_a_home_of_somebody_else_is_not_used(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant(machine, own_place(machine))
    give(machine.home)
    done = machine.run("-l")
    assert (done.returncode, ran(machine)) == (0, False)
    assert f"not in '{own_place(machine)}': '{machine.home}' (mode 755) belongs to the user {OTHER}" in done.stderr
    monkeypatch.setenv("HOME", str(machine.home))
    monkeypatch.delenv("MLX_PUBLISH_CACHE", raising=False)
    monkeypatch.setattr(private_folder, "_home", lambda: str(tmp_path / "by-the-list"))
    last = private_folder.places(machine.project)[-1]
    assert last == f"{tmp_path}/by-the-list/mlx-publish"


@AS_ROOT
def test_an_image_may_bring_an_environment_made_by_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = plant(machine, machine.base / "image")
    environment.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.X_OK)
    cache = str(environment.parent)
    assert private_folder.choose([cache], environment.name) == (cache, True, [])
    with pytest.raises(Unfit, match="cannot write in"):
        private_folder.choose([cache], "nox-other")


class Account(NamedTuple):
    pw_name: str
    pw_uid: int
    pw_gid: int
    pw_dir: str = "/nowhere"


class Group(NamedTuple):
    gr_name: str
    gr_mem: list[str]


@pytest.mark.parametrize(
    ("group", "others", "alone"),
    [
        (Group("ada", []), [], True),
        (Group("ada", ["ada"]), [], True),
        (Group("ada", ["bob"]), [], False),
        (Group("ada", ["ada", "bob"]), [], False),
        (Group("ada", []), [Account("bob", 7, 5)], False),
        (Group("users", []), [], False),
        (Group("staff", ["root"]), [], False),
    ],
)
def test_a_group_may_write_only_where_it_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: Group, others: list[Account], alone: bool
) -> None:
    ada = Account("ada", os.geteuid(), tmp_path.stat().st_gid)
    others = [one._replace(pw_gid=ada.pw_gid) for one in others]
    monkeypatch.setattr("pwd.getpwuid", lambda number: ada)
    monkeypatch.setattr("pwd.getpwall", lambda: [ada, *others])
    monkeypatch.setattr("grp.getgrgid", lambda number: group)
    folder = tmp_path / ".cache"
    folder.mkdir()
    folder.chmod(0o775)
    if alone:
        assert private_folder.make(folder / "mlx-publish") == f"{folder}/mlx-publish"
    else:
        with pytest.raises(Unfit, match=f"is writable by the group {group.gr_name}"):
            private_folder.make(folder / "mlx-publish")


def test_with_an_access_list_the_groups_bit_is_not_the_groups_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Account("ada", os.geteuid(), tmp_path.stat().st_gid)
    monkeypatch.setattr("pwd.getpwuid", lambda number: ada)
    monkeypatch.setattr("pwd.getpwall", lambda: [ada])
    monkeypatch.setattr("grp.getgrgid", lambda number: Group("ada", []))
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    tmp_path.chmod(0o770)
    with pytest.raises(Unfit, match="is writable by the group ada"):
        private_folder.make(tmp_path / "x")


@AS_ROOT
def test_in_a_sandbox_that_does_not_know_root_his_folders_are_on_the_way_but_nothing_of_nobody_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path / "usr"
    above.mkdir(mode=0o755)
    give(above)
    with pytest.raises(Unfit, match="belongs to"):
        private_folder.check(above / "mine")
    monkeypatch.setattr(private_folder, "_root_from_outside", lambda: OTHER)
    assert private_folder.make(above / "mine") == f"{above}/mine"
    give(above / "mine")
    with pytest.raises(Unfit, match="belongs to"):
        private_folder.check(above / "mine")


def test_files_open_to_the_group_are_no_harm_where_only_we_can_enter(tmp_path: Path) -> None:
    environment = tmp_path / "nox"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch(mode=0o775)
    (environment / "bin" / "python").chmod(0o775)
    (environment / ".complete").touch()
    environment.chmod(0o700)
    assert private_folder.is_ready(environment)
    environment.chmod(0o755)
    assert not private_folder.is_ready(environment)
