"""A model that was published into a folder, to be changed and verified by converting its source again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import other_device
from mlx_publish.evidence.digests import FileDigest, folder_digest, sha256_of
from models import answer_table, make_scripted
from other_device import Tensors, half_away
from pipeline import QUICK, User

WEIGHTS, EVIDENCE = "model.safetensors", "mlx-publish.json"
Change = Callable[[Tensors], Tensors]


def publish(root: Path) -> None:
    source = make_scripted(root / "Own", answer_table())
    recipe = {"source": str(source), "base_model": "acme/base", "to": f"folder:{root / 'out'}", **QUICK}
    (root / "home").mkdir()
    (root / "home/r.json").write_text(json.dumps(recipe))
    User(root / "home").run("publish", "--recipe", "r.json", "--work", root / "work")


@dataclass(frozen=True)
class Published:
    """A copy of what was published, and its source."""

    folder: Path
    source: Path
    user: User

    @property
    def evidence(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / EVIDENCE).read_text())
        return data

    def put_evidence(self, data: dict[str, Any]) -> None:
        (self.folder / EVIDENCE).write_text(json.dumps(data, indent=2))

    def change(self, change: Change, *, made_on: dict[str, str] | None = None, **options: Any) -> None:
        """Change the weights and the digests of the evidence; it names `made_on`, or as in older versions nothing."""
        path = self.folder / WEIGHTS
        other_device.write(path, change(other_device.read(path)), **options)
        data = self.evidence
        for file in data["model"]["files"]:
            if file["path"] == WEIGHTS:
                file.update(sha256=sha256_of(path), size=path.stat().st_size)
        data["model"]["model"] = folder_digest(FileDigest(**file) for file in data["model"]["files"])
        data["model"].pop("made_on")
        if made_on:
            data["model"]["made_on"] = made_on
        self.put_evidence(data)

    def rebuild(self, place: object = None, code: int = 1) -> dict[str, Any]:
        """Convert again; return the finding about it."""
        words = ("verify", place or self.folder, "--rebuild", "--source", self.source, "--json")
        checks = json.loads(self.user.run(*words, code=code).out)["checks"]
        found: dict[str, Any] = next(check for check in checks if check["id"] == "made-again")
        return found


def gpu(published: Published) -> Change:
    """The weights as another device rounds them."""
    weights = other_device.weights_of(published.source / WEIGHTS)
    block = json.loads((published.folder / "config.json").read_text())["quantization"]
    return lambda tensors: other_device.elsewhere(tensors, weights, block, half_away)
