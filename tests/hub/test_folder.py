"""Publishing into a folder: whole or not at all, and over nobody else's work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlx_publish.errors import Refused
from mlx_publish.evidence.evidence import SourceSpec
from mlx_publish.hub.folder import publish_folder
from mlx_publish.hub.manifest import Sent, manifest

SOURCE = SourceSpec(name="Tiny", repo=None, identity="a" * 64, base_model=None, pipeline_tag=None)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Sent, ...]:
    model = tmp_path / "model"
    (model / "additional_chat_templates").mkdir(parents=True)
    (model / "README.md").write_text("card")
    (model / "additional_chat_templates" / "x.jinja").write_text("T")
    (model / "mlx-publish.json").write_text(json.dumps({"source": {"name": "Tiny"}}))
    return manifest(model)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "published" / "Tiny-4bit"


def held(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_exactly_the_files_are_there(files: tuple[Sent, ...], out: Path) -> None:
    publish_folder(files, out, SOURCE, adopt=False)
    assert set(held(out)) == {"README.md", "additional_chat_templates/x.jinja", "mlx-publish.json"}
    assert held(out)["README.md"] == "card"
    assert out.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in out.parent.iterdir()] == ["Tiny-4bit"]


def test_ones_own_is_replaced_without_a_rest(files: tuple[Sent, ...], out: Path, tmp_path: Path) -> None:
    publish_folder(files, out, SOURCE, adopt=False)
    (out / "old.safetensors").write_text("old")
    (tmp_path / "model" / "README.md").write_text("another")
    publish_folder(manifest(tmp_path / "model"), out, SOURCE, adopt=False)
    assert held(out)["README.md"] == "another"
    assert "old.safetensors" not in held(out)
    assert [path.name for path in out.parent.iterdir()] == ["Tiny-4bit"]


def test_an_empty_folder_may_be_filled(files: tuple[Sent, ...], out: Path) -> None:
    out.mkdir(parents=True)
    publish_folder(files, out, SOURCE, adopt=False)
    assert "README.md" in held(out)


@pytest.mark.parametrize(
    "evidence", [None, "{", "[]", '["source"]', "5", '"source"', "{}", '{"name": "x"}', '{"source": {"name": "Other"}}']
)
def test_somebody_elses_folder_is_refused_and_adopted_on_demand(
    files: tuple[Sent, ...], out: Path, evidence: str | None
) -> None:
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("mine")
    if evidence is not None:
        (out / "mlx-publish.json").write_text(evidence)
    before = held(out)
    with pytest.raises(Refused, match=f"{out} contains files") as caught:
        publish_folder(files, out, SOURCE, adopt=False)
    assert (caught.value.check, "adopt: true" in caught.value.remedy) == ("destination-ours", True)
    assert held(out) == before
    publish_folder(files, out, SOURCE, adopt=True)
    assert "thesis.txt" not in held(out)


@pytest.mark.parametrize("adopt", [False, True])
def test_a_file_in_its_place_is_refused(files: tuple[Sent, ...], out: Path, adopt: bool) -> None:
    out.parent.mkdir()
    out.write_text("mine")
    with pytest.raises(Refused, match="contains files"):
        publish_folder(files, out, SOURCE, adopt=adopt)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [False, True])
def test_nothing_half_done_is_left_when_a_copy_fails(
    files: tuple[Sent, ...], out: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, before: bool
) -> None:
    if before:
        publish_folder(files, out, SOURCE, adopt=False)
        (out / "README.md").write_text("before")
    copy, copied = shutil.copyfile, list[object]()

    def failing(source: Path, target: Path) -> Path:
        if copied:
            raise error
        copied.append(source)
        return Path(copy(source, target))

    monkeypatch.setattr(shutil, "copyfile", failing)
    with pytest.raises(type(error)):
        publish_folder(files, out, SOURCE, adopt=False)
    assert copied
    assert [path.name for path in out.parent.iterdir()] == (["Tiny-4bit"] if before else [])
    if before:
        assert held(out)["README.md"] == "before"


def test_bytes_that_change_on_the_way_are_refused(files: tuple[Sent, ...], out: Path, tmp_path: Path) -> None:
    (tmp_path / "model" / "README.md").write_text("changed since it was digested")
    with pytest.raises(Refused, match=r"README\.md was copied, but its bytes differ") as caught:
        publish_folder(files, out, SOURCE, adopt=False)
    assert caught.value.check == "remote-equal"
    assert list(out.parent.iterdir()) == []
