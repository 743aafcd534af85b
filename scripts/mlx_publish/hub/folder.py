"""Publishing into a folder: the files that an upload would send, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.evidence import SourceSpec
from mlx_publish.hub.manifest import Foreseen, Sent, manifest
from mlx_publish.text.files import read_json, replace_folder
from mlx_publish.text.temporary import TemporaryFolder


def publish_folder(files: tuple[Sent, ...], folder: Path, source: SourceSpec, *, adopt: bool) -> None:
    """Write the files aside, compare them, then put them in the place of `folder`.

    Raises `Refused` where the folder exists and holds something that we did not publish from this `source`.
    """
    judge_folder(folder, source, adopt=adopt)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFolder(f".{folder.name}.new-", beside=folder.parent) as aside:
        for file in files:
            target = aside / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.local, target)
            if sha256_of(target) != file.sha256:
                raise Refused(f"{file.path} arrived with other bytes in {folder}", check="remote-equal")
        aside.chmod(0o755)
        replace_folder(aside, folder)


def judge_folder(folder: Path, source: SourceSpec, *, adopt: bool) -> None:
    """Raise `Refused` where a folder exists and may not be replaced by what is made of `source`."""
    free = not folder.exists() or (folder.is_dir() and (adopt or not any(folder.iterdir())))
    if not (free or source.is_of(read_json(folder / "mlx-publish.json"))):
        raise Refused(
            f"{folder} holds something that was not published from this source",
            check="destination-ours",
            remedy="Choose another folder, or add 'adopt: true' to the recipe to replace it.",
        )


def foresee_folder(files: tuple[Sent, ...], folder: Path, source: SourceSpec) -> Foreseen:
    """Return what `publish_folder` would do now; a folder that may not be replaced was refused before."""
    if not folder.exists():
        return Foreseen(True, False, files, (), False)
    there = {file.path: file.sha256 for file in manifest(folder)}
    sent = tuple(file for file in files if there.get(file.path) != file.sha256)
    removed = tuple(sorted(there.keys() - {file.path for file in files}))
    ours = not there or source.is_of(read_json(folder / "mlx-publish.json"))
    return Foreseen(False, not ours, sent, removed, False)
