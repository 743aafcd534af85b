"""Findings that are raised on the way stand in the registry, so that docs and recipes know of them."""

from __future__ import annotations

import re
from pathlib import Path

from mlx_publish.checks.registry import BY_COMMAND, BY_STAGE, RAISED

PACKAGE = Path(__file__).parents[2] / "scripts" / "mlx_publish"


def test_every_id_that_is_raised_is_known() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    raised = set(re.findall(r'check="([a-z-]+)"', text)) | {"room", "hub-limits"}
    known = {check.id for checks in (*BY_STAGE.values(), *BY_COMMAND.values()) for check in checks}
    assert raised <= known | set(RAISED)
    assert set(RAISED) <= raised
    assert not known & set(RAISED)
