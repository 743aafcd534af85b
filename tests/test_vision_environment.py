"""mlx-vlm beside the stages: it comes with the first source that needs it, by the session of nox, and with no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vision_environment
from conftest import Published
from hub import Hub
from mlx_publish.children import installing
from mlx_publish.children.installing import INSTALLER, install
from mlx_publish.children.vision import VARIABLE, NoVision, find_vision
from models import answer_table, make_model, make_scripted
from pipeline import ROOT, User, read_json, write_recipe
from test_gate_modality import VISION, nested

SAYS = f'#!/bin/sh\necho "$7, installer ${{{INSTALLER}-none}}, mlx-vlm in ${{{VARIABLE}-nothing}}"\n'


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Of this process, which a test changes: `install` sets one, too."""
    for name in (VARIABLE, INSTALLER):
        monkeypatch.setenv(name, "before")  # so that it is restored, whatever becomes of it
        monkeypatch.delenv(name)
    return monkeypatch


def test_what_the_installer_makes_is_used_from_then_on(variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "vision" / "bin" / "python"
    variables.setenv(INSTALLER, str(program(tmp_path / "nox", f"echo not the last line\necho {python}")))
    told = list[str]()
    assert install(told.append) == ""
    assert (told, os.environ[VARIABLE]) == (["installing mlx-vlm (once)"], str(python))


def test_the_installer_is_shown_the_settings_of_pip_and_uv_and_no_token(
    variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables.setenv(INSTALLER, str(program(tmp_path / "nox", f"env >'{tmp_path}/shown'\necho x")))
    secret = ("HF_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "MLX_PUBLISH_SIGNING_KEY")
    asked = (
        "PIP_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "HTTPS_PROXY",
        "MLX_PUBLISH_CACHE",
        "RUNNER_TOOL_CACHE",
        "SSL_CERT_FILE",
    )
    for name in (*secret, *asked):
        variables.setenv(name, f"value-of-{name}")
    assert install(lambda _words: None) == ""
    shown = (tmp_path / "shown").read_text()
    assert [name for name in asked if f"{name}=value-of-{name}\n" not in shown] == []
    assert [name for name in secret if f"value-of-{name}" in shown] == []


def test_why_it_cannot_be_installed_is_its_last_line(variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables.setenv(INSTALLER, str(program(tmp_path / "nox", "echo much >&2; echo no space left >&2; exit 4")))
    assert install(lambda _words: None) == "no space left"
    variables.setenv(INSTALLER, str(program(tmp_path / "silent", "exit 9")))
    assert install(lambda _words: None) == "exit 9"
    variables.setenv(INSTALLER, str(tmp_path / "missing"))
    assert "FileNotFoundError" in install(lambda _words: None)
    assert VARIABLE not in os.environ


def test_an_installer_that_does_not_end_is_a_reason(variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables.setattr(installing, "_SECONDS", 0.1)
    variables.setenv(INSTALLER, str(program(tmp_path / "nox", "exec sleep 60")))
    assert "TimeoutExpired" in install(lambda _words: None)


@pytest.mark.parametrize("named", [{}, {VARIABLE: "/mine"}], ids=["no session of nox", "the user's own"])
def test_nothing_is_installed_for_those_who_did_not_ask(
    variables: pytest.MonkeyPatch, tmp_path: Path, named: dict[str, str]
) -> None:
    if named:
        variables.setenv(INSTALLER, str(program(tmp_path / "nox", f": >'{tmp_path}/ran'")))
    for name, value in named.items():
        variables.setenv(name, value)
    assert install(lambda _words: None) == ""
    assert not (tmp_path / "ran").exists()


def test_a_python_that_lacks_what_the_engine_imports_is_none(variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = 'case "$3" in *find_spec*) echo jinja2, PIL;; *) echo \'{"mlx-vlm": "0.7.10", "mlx": "1", "transformers": "5"}\';; esac'
    python = program(tmp_path / "python", answer)
    variables.setenv(VARIABLE, str(python))
    with pytest.raises(NoVision, match="does not have jinja2, PIL"):
        find_vision()


def test_another_python_that_is_named_later_is_asked_anew(variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("first", "second"):
        said = f'{{"mlx-vlm": "0.7.10", "mlx": "{name}", "transformers": "5"}}'
        variables.setenv(VARIABLE, str(program(tmp_path / name, f"case \"$3\" in *json*) echo '{said}';; esac")))
        assert find_vision().versions["mlx"] == name


def test_a_source_that_sees_lets_it_be_installed(user: User, tmp_path: Path, vision_python: Path) -> None:
    user.more[INSTALLER] = str(program(tmp_path / "nox", f"echo {vision_python}"))
    source = nested(tmp_path / "Seer-it", **VISION)
    said = user.run("inspect", "--source", source, "--bits", 4, "--license", "apache-2.0", "--verbose", code=1).text
    assert "installing mlx-vlm (once)" in said
    assert "mlx-vlm 0.7.10 keeps the source's parts for images" in said


@pytest.mark.parametrize(("stage", "more"), [("inspect", []), ("run", []), ("convert", ["--force"])])
def test_where_it_cannot_be_installed_that_is_the_surroundings_fault(
    user: User, tmp_path: Path, stage: str, more: list[str]
) -> None:
    user.more[INSTALLER] = str(program(tmp_path / "nox", "echo no route to host >&2; exit 4"))
    source = nested(tmp_path / "Seer-it", **VISION)
    said = user.run(stage, "--source", source, "--bits", 4, "--license", "apache-2.0", *more, code=4).text
    assert "which mlx-vlm keeps, but it cannot be installed: no route to host" in said
    assert "Run it again with network access, or set MLX_PUBLISH_VISION_PYTHON to a Python with mlx-vlm." in said
    assert "'modality: text'" in said


def test_text_never_lets_it_be_installed(user: User, tmp_path: Path) -> None:
    user.more[INSTALLER] = str(program(tmp_path / "nox", f": >'{tmp_path}/ran'"))
    make_model(tmp_path / "Plain")
    user.run("inspect", "--source", tmp_path / "Plain", "--bits", 4, "--license", "apache-2.0")
    source = nested(tmp_path / "Seer-text", **VISION)
    user.run("inspect", "--source", source, "--bits", 4, "--license", "apache-2.0", "--modality", "text")
    assert not (tmp_path / "ran").exists()


def run_nox(session: str, home: Path, *words: str, **more: str) -> str:
    """Run a session whose Python only says what it was told."""
    python = home / "stages" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(SAYS)
    python.chmod(0o755)
    own = {"PATH": os.environ["PATH"], "HOME": str(home), "MLX_PUBLISH_CACHE": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-I", "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", session, "--", *words],
        env=own | {"MLX_PUBLISH_ENVIRONMENT": str(home / "stages")} | more,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_the_sessions_that_convert_offer_an_installer_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = f"installer {sys.executable}, mlx-vlm in nothing\n"
    assert run_nox("run", tmp_path) == f"run, {offered}"
    assert run_nox("verify", tmp_path, "acme/m", "--rebuild") == f"verify, {offered}"
    assert run_nox("verify", tmp_path, "acme/m") == "verify, installer none, mlx-vlm in nothing\n"
    assert run_nox("doctor", tmp_path) == "doctor, installer none, mlx-vlm in nothing\n"
    assert run_nox("run", tmp_path, **{VARIABLE: "/mine"}) == "run, installer none, mlx-vlm in /mine\n"
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    folder = vision_environment.folder()
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / ".complete").touch()
    assert run_nox("run", tmp_path) == f"run, installer none, mlx-vlm in {folder}/bin/python\n"


def test_the_module_that_the_stages_run_prints_the_python_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vision_environment, "_make", lambda _there: "no index answers")
    assert vision_environment.main() == 4
    assert capsys.readouterr() == ("", "no index answers\n")

    def make(there: Path) -> str:
        (there / "bin").mkdir(parents=True)
        (there / "bin" / "python").touch()
        return ""

    monkeypatch.setattr(vision_environment, "_make", make)
    assert vision_environment.main() == 0
    assert capsys.readouterr() == (f"{vision_environment.folder()}/bin/python\n", "")


def test_for_a_gpu_of_nvidia_it_has_mlx_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = vision_environment.requirements()
    monkeypatch.setenv("MLX_PUBLISH_BACKEND", "cuda")
    cuda = vision_environment.requirements()
    assert ("mlx-cpu==" in usual, "mlx-cuda-13==" in usual) == (True, False)
    assert ("mlx-cpu==" in cuda, "mlx-cuda-13==" in cuda) == (False, True)


def test_no_environment_of_text_has_a_package_of_it() -> None:
    alone = {line.split("==")[0] for line in vision_environment.ALONE.read_text().splitlines() if "==" in line}
    locked = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert alone == {"mlx-vlm", "pillow"}
    assert alone & locked == set()


def test_a_text_model_is_published_as_before(published: Published) -> None:
    """No key of models that see, no package of theirs, and no look at where those would be."""
    evidence, inspected = read_json(published.out / "mlx-publish.json"), read_json(published.variant / "inspect.json")
    assert set(evidence["tools"]) == {"mlx", "mlx-lm", "transformers"}
    assert "mlx_vlm" not in inspected["inputs"]
    text = (published.out / "mlx-publish.json").read_text() + (published.out / "README.md").read_text()
    assert [word for word in ("mlx-vlm", "mlx_vlm", "towers", "pictures", "Pillow") if word in text] == []
    assert sorted(path.name for path in published.out.iterdir() if path.suffix in (".png", ".wav")) == []


def test_a_second_run_of_a_pinned_text_model_asks_its_hub_for_nothing(tmp_path: Path) -> None:
    source = make_scripted(tmp_path / "Scripted", answer_table())
    with Hub(tmp_path / "hub") as hub:
        commit = hub.put("acme/Tiny", {path.name: path for path in source.iterdir()})
        keys = {"source": "acme/Tiny", "revision": commit, "to": "lab/{source}-MLX-{variant}"}
        flags = ["--recipe", write_recipe(tmp_path / "Tiny.yaml", **keys), "--work", tmp_path / "work"]
        user = User(tmp_path / "home", hub, "write")
        user.run("publish", *flags)
        before = len(hub.log)
        for words in (("publish",), ("card", "--force"), ("upload", "--force"), ("fidelity", "--force")):
            user.run(words[0], *flags, *words[1:])
        assert [one.path for one in hub.log[before:] if "acme/Tiny" in one.path] == []
