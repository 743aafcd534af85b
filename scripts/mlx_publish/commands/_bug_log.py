"""The log of a bug, fit to be pasted into an issue: versions and trace, no secrets."""

from __future__ import annotations

import os
import platform
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from mlx_publish.machine.packages import versions
from mlx_publish.text.masking import without_secrets


def write_log(error: BaseException, arguments: Sequence[str]) -> Path:
    """Write the log into the temporary folder and return its path."""
    lines = [
        "# mlx-publish: an unexpected error",
        f"command: mlx-publish {' '.join(arguments)}",
        f"system: {platform.platform()}, Python {platform.python_version()}",
        *(f"{name}: {version}" for name, version in versions().items()),
        "",
        *traceback.format_exception(error),
    ]
    handle, name = tempfile.mkstemp(prefix="mlx-publish-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(without_secrets("\n".join(lines)))
    return Path(name)
