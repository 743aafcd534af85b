"""Publishing into a folder: the files that an upload would send, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.evidence import SourceSpec
from mlx_publish.hub.manifest import Sent
from mlx_publish.text.files import read_json, replace_folder
from mlx_publish.text.temporary import TemporaryFolder


def publish_folder(files: tuple[Sent, ...], folder: Path, source: SourceSpec, *, adopt: bool) -> None:
    """Write the files aside, compare them, then put them in the place of `folder`.

    Raises `Refused` where the folder exists and holds something that we did not publish from this `source`.
    """
    if (
        folder.exists()
        and not (folder.is_dir() and (adopt or not any(folder.iterdir())))
        and not source.is_of(read_json(folder / "mlx-publish.json"))
    ):
        raise Refused(
            f"{folder} holds something that was not published from this source",
            check="destination-ours",
            remedy="Take another folder, or write 'adopt: true' into the recipe to replace it.",
        )
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
