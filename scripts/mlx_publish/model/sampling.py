"""The sampling that a source recommends in its generation_config.json."""

from __future__ import annotations

from pathlib import Path

from mlx_publish.text import bounds
from mlx_publish.text.json_text import read

GENERATION = "generation_config.json"
# Upper limits: what lies above is no setting that a sampler takes.
_MOST = {"temperature": 100.0, "top_p": 1.0, "top_k": 1e6, "min_p": 1.0, "repetition_penalty": 100.0}


def recommended_sampling(folder: Path) -> dict[str, float | int]:
    """Return the settings that generation_config.json of a model folder names; empty where it asks for no sampling.

    A value of another type, or out of range, is left out.
    """
    try:
        config = read(folder / GENERATION, bounds.CONFIG)
    except (OSError, ValueError):
        return {}
    if not isinstance(config, dict) or config.get("do_sample") is False:
        return {}
    return {key: config[key] for key, most in _MOST.items() if _is_setting(config.get(key), most, whole=key == "top_k")}


def _is_setting(value: object, most: float, *, whole: bool) -> bool:
    """Tell whether a value is a finite number, or a whole one, between 0 and the most."""
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return 0 <= value <= most
