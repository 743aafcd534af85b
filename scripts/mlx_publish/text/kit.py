"""Name and address of the kit: of the repo on GitHub that runs, where one does; else the constants below."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import mlx_publish

NAME = "mlx-publish"
SERVER = "https://github.com"
REPO = "mlx-publish/mlx-publish"
"""Where the kit is kept. A fork that publishes under its own name changes this line and the URLs in pyproject.toml."""
SCRIPT = "MLX_PUBLISH_SCRIPT"
"""Where bootstrap.sh lies from here, as a shell takes it, if nox runs us; in an environment with us, it is not set."""
_GIVEN = "MLX_PUBLISH_KIT"
"""`owner/name@ref` of the running Action, which action.yml and the workflows set."""
_KIT = re.compile(r"(?P<repo>[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+)(?:@(?P<ref>[A-Za-z0-9._/-]+))?")


def repo(environment: Mapping[str, str] | None = None) -> str:
    """Return `owner/name` of the kit."""
    return _given(environment)[0] or REPO


def ref(environment: Mapping[str, str] | None = None) -> str:
    """Return the commit or tag of the running kit, else the tag of this version."""
    return _given(environment)[1] or f"v{mlx_publish.__version__}"


def address(environment: Mapping[str, str] | None = None) -> str:
    """Return the kit's web address, without a slash at the end."""
    given = os.environ if environment is None else environment
    server = given.get("GITHUB_SERVER_URL", "") if _given(given)[0] else ""
    return f"{server or SERVER}/{repo(given)}"


def page(path: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the web address of a file of the kit, as `docs/card.md#sections`, at the running version."""
    return f"{address(environment)}/blob/{ref(environment)}/{path}"


def install(extra: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Return the command that installs the kit with an extra: from its checkout where it runs in one."""
    bracket = f"[{extra}]" if extra else ""
    root = Path(__file__).resolve().parents[3]
    if (root / "pyproject.toml").is_file() and (root / "scripts" / "bootstrap.sh").is_file():
        return f"pip install '{root}{bracket}'"
    return f"pip install '{NAME}{bracket} @ git+{address(environment)}@{ref(environment)}'"


def typed(command: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a command line `mlx-publish NAME ...` as it is typed here: by bootstrap.sh, where that started us."""
    script = (os.environ if environment is None else environment).get(SCRIPT, "")
    program, _, rest = command.partition(" ")
    name, _, arguments = rest.partition(" ")
    return f"sh {script} -s {name} -- {arguments}" if script and program == NAME and arguments else command


def _given(environment: Mapping[str, str] | None) -> tuple[str, str]:
    given = os.environ if environment is None else environment
    match = _KIT.fullmatch(given.get(_GIVEN, "").strip())
    return (match["repo"], match["ref"] or "") if match else ("", "")
