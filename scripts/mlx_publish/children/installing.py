"""Install mlx-vlm once a source turns out to need it: by the session of nox that started us, which has the lock.

Nobody else is offered that: in an environment of the user's own, packages are the user's business.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mlx_publish.children import process
from mlx_publish.children.environment import of_an_installer
from mlx_publish.children.vision import VARIABLE
from mlx_publish.text.temporary import TemporaryFolder

INSTALLER = "MLX_PUBLISH_VISION_INSTALLER"
"""The Python of nox, by which the sessions let `scripts/vision_environment.py` be run."""
_MODULE = "vision_environment"
_SECONDS = 3600


def install(tell: Callable[[str], object]) -> str:
    """Make the environment with mlx-vlm, or wait for the process that does, and use it from now on.

    Returns why that is not possible; empty if it is done, or if no session of nox started us.
    """
    by = os.environ.get(INSTALLER)
    if not by or os.environ.get(VARIABLE):
        return ""
    tell("installing mlx-vlm (once)")
    try:
        with TemporaryFolder() as folder:
            command = process.python(_MODULE, executable=Path(by))
            said = process.ask(command, of_an_installer(os.environ), folder, seconds=_SECONDS)
    except process.FAILED as error:
        return f"{type(error).__name__}: {error}"
    if said.code:
        return said.err.strip().rpartition("\n")[2] or f"exit {said.code}"
    os.environ[VARIABLE] = said.out.strip().rpartition("\n")[2]
    return ""
