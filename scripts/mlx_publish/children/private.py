"""Where MLX keeps kernels that it has compiled."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from mlx_publish.children.private_folder import Unfit, make
from mlx_publish.text.temporary import TemporaryFolder


@cache
def kernels() -> Path:
    """Return the folder of kernels that MLX has compiled: in the user's cache, else for this process alone.

    MLX loads what lies in TMPDIR under the right name. In a folder that others write to, that is their code.
    """
    given = os.environ.get("MLX_PUBLISH_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") or "/nonexistent") + "/.cache"
    place = Path(given) if given else Path(home) / "mlx-publish"
    try:
        if place.is_absolute():
            return Path(make(place / "kernels"))
    except Unfit:
        pass
    return _for_this_process().path


@cache
def _for_this_process() -> TemporaryFolder:
    return TemporaryFolder()
