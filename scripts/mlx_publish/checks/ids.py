"""The ids of all checks by stage, without the checks: hooks know the names and load nothing that judges a model.

checks.json is made from the registry by scripts/generate.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "data" / "checks.json"
_LISTS = json.loads(FILE.read_text(encoding="utf-8"))
BY_STAGE: Mapping[str, Mapping[str, bool]] = _LISTS["checks"]
"""All checks that a recipe may name, each with whether it is for safety."""
JUDGED: tuple[str, ...] = tuple(_LISTS["judged"])
"""The stages whose checks evidence lists."""
RAISED = frozenset(_LISTS["raised"])
"""Failures raised during the work; they always count."""
