"""The environments that compute nothing have neither MLX nor numpy: every command loads there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline import ROOT

_BLOCKED = ("mlx", "mlx_lm", "mlx_vlm", "numpy", "tokenizers", "torch", "transformers")
_LOADED = """\
import importlib, pkgutil, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Finder())
import mlx_publish.{package}
names = [module.name for module in pkgutil.walk_packages(mlx_publish.{package}.__path__, "mlx_publish.{package}.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize("package", ["commands", "stages", "verify", "hooks", "converters", "checks"])
def test_every_module_loads_where_nothing_is_computed(package: str) -> None:
    """`verify`, `review` and the hooks run in an environment with few packages."""
    code = _LOADED.format(blocked=_BLOCKED, package=package)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(ROOT / "scripts"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 3
