"""Whether weights came out of a conversion of this job: then none has to be made once more before they are published.

One job is one process, or, on a runner of GitHub, the steps of a job: RUNNER_TEMP is empty when a job begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.errors import Bug
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.results import Converted
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.recipe import Variant
from mlx_publish.text.files import json_text, read_json, write_atomically

_KEY = "converted"


def note_converted(context: Context, variant: Variant, model: str) -> None:
    """Remember that these bytes were just made."""
    context.once(_KEY, dict[str, str])[variant.label] = model
    if note := _note(context, variant):
        write_atomically(note, json_text({"model": model}))


def converted_now(context: Context, variant: Variant) -> bool:
    """Return whether the bytes that `convert` reports were made in this job."""
    report = context.work.report(variant.label, "convert")
    converted = report.read(Converted) if report else None
    if converted is None:
        return False
    if context.once(_KEY, dict[str, str]).get(variant.label) == converted.model:
        return True
    note = _note(context, variant)
    return note is not None and read_json(note) == {"model": converted.model}


def rebuilt(context: Context, variants: Sequence[Variant]) -> Mapping[str, Mapping[str, str]]:
    """Convert once more what this job did not convert, where that is asked for; return digests by path, by label."""
    if context.rebuild is None:
        return {}
    old = [variant for variant in variants if not converted_now(context, variant)]
    digests = context.rebuild(context, old) if old else {}
    if lost := [variant.label for variant in old if variant.label not in digests]:
        raise Bug(f"{', '.join(lost)} was not converted again")
    return digests


def _note(context: Context, variant: Variant) -> Path | None:
    folder = Runner.from_env().job_folder
    if folder is None:
        return None
    name = digest_of([str(context.work.folder), variant.label])
    return folder / "mlx-publish-converted" / f"{name}.json"
