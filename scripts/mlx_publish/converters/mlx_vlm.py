"""mlx-vlm: what the one in its own Python can load, and how its users use what it made."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.children.installing import install
from mlx_publish.children.other_python import Python
from mlx_publish.children.vision import NoVision, find_vision, package_folder
from mlx_publish.converters._assigned import assigned
from mlx_publish.converters._converter import Commands, Converter, Support
from mlx_publish.converters._mlx_vlm_use import commands, sampling_flags, snippet

if TYPE_CHECKING:
    from mlx_publish.evidence.evidence import Sampling
    from mlx_publish.evidence.measurements import SmokeSpec

# What a module of a family defines: without settings for them it has no tower.
_CONFIG = "ModelConfig"


class MlxVlm(Converter):
    """mlx-vlm, which makes and runs models that see and hear."""

    order = 1
    module = "mlx_vlm"
    distribution = "mlx-vlm"
    packages = ("mlx", "mlx-vlm", "transformers")
    senses = True

    def python(self) -> Python | None:
        """Return the Python that has mlx-vlm; None where there is none."""
        try:
            return find_vision()
        except NoVision:
            return None

    def lacking(self) -> str:
        """Return why there is no mlx-vlm; empty where there is one."""
        try:
            find_vision()
        except NoVision as reason:
            return str(reason)
        return ""

    def install(self, tell: Callable[[str], object]) -> str:
        """Let the session of nox that started us make the environment with mlx-vlm."""
        return install(tell)

    def support(self) -> Support | None:
        """Return the model types that mlx-vlm has a package for or maps to one; None where it is not installed.

        Source: `get_model_and_args` and `MODEL_REMAPPING` in mlx_vlm/utils.py.
        """
        python = self.python()
        folder = package_folder(python, self.module) if python else None
        if python is None or folder is None:
            return None
        return Support(python.versions[self.distribution], _types(folder))

    def versions(self) -> dict[str, str]:
        """Return the versions in the Python that has mlx-vlm."""
        python = self.python()
        return {name: python.versions[name] for name in self.packages} if python else {}

    def snippet(self, load_as: str, smoke: SmokeSpec | None) -> str:
        """Return Python with `mlx_vlm.load` and `generate`."""
        return snippet(load_as, smoke)

    def tools_snippet(self, _smoke: SmokeSpec | None) -> str:
        """Return nothing: tools are offered by mlx-vlm's server alone."""
        return ""

    def commands(self, load_as: str, smoke: SmokeSpec | None) -> Commands:
        """Return lines for `mlx_vlm.generate`, `mlx_vlm.chat` and `mlx_vlm.server`."""
        return commands(load_as, smoke)

    def sampling_flags(self, sampling: Sampling) -> str:
        """Return options of `mlx_vlm.generate`."""
        return sampling_flags(sampling)


@functools.cache
def _types(folder: Path) -> frozenset[str]:
    """Return the model types of an installed mlx-vlm: some hundred files are parsed, and each variant asks for it."""
    families = {path.parent.name for path in (folder / "models").glob("*/__init__.py") if _is_model(path)}
    remapped = assigned(folder / "utils.py", "MODEL_REMAPPING")
    return frozenset(families | {kind for kind, family in remapped.items() if family in families})


def _is_model(path: Path) -> bool:
    """Return whether a package of mlx_vlm.models gives what `load_model` looks for in it."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
    return _CONFIG in names and "Model" in names


CONVERTER = MlxVlm()
