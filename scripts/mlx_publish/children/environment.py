"""What a child sees: variables by an allow-list, and folders of its own for HOME and TMPDIR."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mlx_publish.children.private_folder import Unfit, make
from mlx_publish.text.temporary import TemporaryFolder

# Where programs and libraries are, the language, the time, and what says how many threads or which GPU.
# No name here ever holds a secret.
KEPT = (
    "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH",
)  # fmt: skip
_WAYS = frozenset(
    {"CURL_CA_BUNDLE"}
    | {name for way in ("http", "https", "no", "all") for name in (f"{way}_proxy", f"{way}_proxy".upper())}
)
"""What says how a server is reached."""
# gh and git are what hold a token for GitHub; their own settings, the ways to a server, and the languages.
_OF_GITHUB = ("GH_", "GIT_", "SSH_", "SSL_", "XDG_", "LC_", "DBUS_")
_OF_GITHUB_TOO = _WAYS | {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "TERM", "DISPLAY",
    "GITHUB_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL",
    "GITHUB_API_URL", "GITHUB_GRAPHQL_URL",
}  # fmt: skip


def of_a_child(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a child that has `folder`, of mode 700, to itself; `more` comes on top.

    HOME and TMPDIR are folders in it: no token file is found there, and nothing that somebody else has put.
    """
    own = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    for path in own.values():
        path.mkdir(mode=0o700, exist_ok=True)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {name: str(path) for name, path in own.items()} | more


def of_github(given: Mapping[str, str]) -> dict[str, str]:
    """Return what `git` and `gh` are shown: no token of a Hub, and none of the files that command the runner."""
    return {key: value for key, value in given.items() if key.startswith(_OF_GITHUB) or key in _OF_GITHUB_TOO}


# Where packages come from and go to, for pip and uv, and the ways there: what may hold a password for an index, but no
# token of a Hub or of GitHub.
_OF_PACKAGES = ("PIP_", "UV_", "XDG_", "SSL_", "MLX_PUBLISH_CACHE", "MLX_PUBLISH_BACKEND", "RUNNER_TOOL_CACHE")
_OF_PACKAGES_TOO = frozenset({*_WAYS, *KEPT, "HOME", "USER", "LOGNAME", "TMPDIR", "REQUESTS_CA_BUNDLE", "NETRC"})


def of_an_installer(given: Mapping[str, str]) -> dict[str, str]:
    """Return what pip and uv are shown: their settings and the ways to an index, and no token of a Hub or of GitHub."""
    return {key: value for key, value in given.items() if key.startswith(_OF_PACKAGES) or key in _OF_PACKAGES_TOO}


_BLAS = ("openblas-pthread/libopenblas.so.0", "openblas-openmp/libopenblas.so.0", "libopenblas.so.0")


def fast_blas() -> Path | None:
    """Return OpenBLAS where Linux has it: a hundred times as fast as what MLX's wheel brings along.

    `MLX_PUBLISH_BLAS` names another library, or none where it is empty.
    """
    if platform.system() != "Linux" or os.environ.get("LD_PRELOAD"):
        return None
    if (chosen := os.environ.get("MLX_PUBLISH_BLAS")) is not None:
        return Path(chosen) if chosen and Path(chosen).exists() else None
    places = (Path("/usr/lib") / f"{platform.machine()}-linux-gnu", Path("/usr/lib64"), Path("/usr/lib"))
    return next((place / name for place in places for name in _BLAS if (place / name).exists()), None)


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
