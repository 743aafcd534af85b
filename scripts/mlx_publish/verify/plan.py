"""The plan that published weights were made by: compared with their config, and copied to be followed again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.planned import plan_of
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.model.files import read_json_file
from mlx_publish.model.names import shown
from mlx_publish.model.planned import plan_differences
from mlx_publish.recipes import plan as plans
from mlx_publish.text.bounds import PLAN_BYTES
from mlx_publish.verify.published import Published

_MOST = 5  # modules that are named


def misplanned(published: Published) -> Iterator[str]:
    """Yield why the published plan is none, and where config.json quantizes otherwise; nothing without a plan."""
    if PLAN_FILE not in published.entries:
        return
    if published.entries[PLAN_FILE].size > PLAN_BYTES:
        yield f"{PLAN_FILE} is larger than {PLAN_BYTES:,} bytes, which no plan needs"
        return
    try:
        plan = plans.plan_of(published.files.read(PLAN_FILE).decode("utf-8", "replace"), PLAN_FILE)
    except BadInput as error:
        yield shown(str(error), 300)
        return
    found = plan_differences(plan, read_json_file(published.files, "config.json") or {})
    yield from (shown(f"config.json: {key} {words}", 300) for key, words in islice(found, _MOST))


def published_plan(published: Published, folder: Path) -> Path | None:
    """Copy the plan that the published weights were made by into a folder, byte for byte; None if there is none.

    Raises `Refused` for one that the evidence does not name, or that is no text of a plan's size.
    """
    if PLAN_FILE not in published.entries:
        return None
    plan, size = plan_of(published.evidence), published.entries[PLAN_FILE].size
    if plan is None or published.sha256[PLAN_FILE] != plan.sha256 or size > PLAN_BYTES:
        raise Refused(
            f"{PLAN_FILE} is not the plan that the evidence names",
            check="made-again",
            remedy="Do not use this model: its files were changed.",
        )
    copy = folder / f"plan-{plan.sha256[:12]}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(published.files.read(PLAN_FILE))
    return copy
