"""The drafter of a source: written once, and put into the folder of each variant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.drafter import WRITTEN, DrafterFacts
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.errors import Refused
from mlx_publish.evidence.drafter import Drafter, DrafterMade
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.report import Finding
from mlx_publish.model import drafters
from mlx_publish.model.drafter_config import drafter_config, for_mlx_vlm
from mlx_publish.model.files import FolderFiles, read_json_file
from mlx_publish.model.spellings import class_type
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.source.bounds import bounds
from mlx_publish.source.layout import Prepared
from mlx_publish.text.bounds import CONFIG
from mlx_publish.text.files import json_text
from mlx_publish.text.json_text import parse


@dataclass(frozen=True)
class Drafting:
    """A drafter that was written aside."""

    folder: Path
    made: DrafterMade
    facts: DrafterFacts
    told: Drafter

    def place(self, model: Path) -> None:
        """Put it into the folder of a model, whose config says what mlx-vlm asks for."""
        shutil.copytree(self.folder, model / drafters.FOLDER)
        path = model / "config.json"
        config = parse(path.read_bytes(), CONFIG)
        mended, added = for_mlx_vlm(config)
        if added:  # in the order and with the indent that mlx-lm writes
            path.write_text(json.dumps(dict(sorted(mended.items())), indent=4))

    def checks(self, recipe: Recipe) -> tuple[Finding, ...]:
        """Return the findings of the comparison with the source."""
        return run_checks(WRITTEN, self.facts, recipe.accepted)


def drafting(context: Context, prepared: Prepared, aside: Path) -> Drafting | None:
    """Write the drafter to a folder in `aside`, where the recipe wants it. Raises what `run_job` raises."""
    asked = context.recipe.spec.mtp
    if asked is None:
        return None
    config = read_json_file(FolderFiles(prepared.links), "config.json") or {}
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else config
    kinds = (class_type(config), class_type(prepared.config))
    try:
        drafter = drafters.drafter_of(kinds, text, prepared.tensors)
    except drafters.Unfit as unfit:  # inspect said so, but of the same headers it cannot
        raise Refused(str(unfit), check="mtp-heads", remedy="Run inspect with --force.") from unfit
    folder = aside / drafters.FOLDER
    arguments = {
        "source": str(prepared.links),
        "parts": [asdict(part) for part in drafter.parts],
        "folder": str(folder),
        "bits": asked.bits,
        "group_size": asked.group,
    }
    job = Job("drafter", arguments, context.work.source / "drafter.log", bounds(context), context.children)
    made = from_json(DrafterMade, run_job(job, context.console.progress))
    (folder / "config.json").write_text(
        json_text(drafter_config(drafter, config, asked.bits, asked.group)), encoding="utf-8"
    )
    _, added = for_mlx_vlm(config)
    facts = DrafterFacts(
        made,
        asked.bits,
        len(drafters.heads_of(prepared.tensors, text)),
        f"; config.json has {added} for mlx-vlm, which changes nothing of text" if added else "",
    )
    told = Drafter(
        drafters.FOLDER,
        drafter.model_type,
        drafter.block_size,
        asked.bits,
        asked.group if asked.bits else None,
        made.tensors,
        made.weight_bytes,
        made.parameters,
    )
    return Drafting(folder, made, facts, told)
