"""mlx-lm: what the installed one can load, and how its users use what it made."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.converters._assigned import assigned
from mlx_publish.converters._converter import Commands, Converter, Support
from mlx_publish.converters._mlx_lm_commands import commands, sampling_flags
from mlx_publish.converters._mlx_lm_python import snippet, tools_snippet

if TYPE_CHECKING:
    from mlx_publish.evidence.evidence import Sampling
    from mlx_publish.evidence.measurements import SmokeSpec

# Modules of mlx_lm.models that are parts of architectures, not architectures.
_PARTS = {"base", "cache", "rope_utils", "switch_layers", "ssm", "mla", "activations", "pipeline"}


class MlxLm(Converter):
    """mlx-lm, which makes and runs language models."""

    module = "mlx_lm"
    distribution = "mlx-lm"
    packages = ("mlx", "mlx-lm", "transformers")

    def support(self) -> Support | None:
        """Return the model types that mlx-lm has a module for or maps to one; None where it is not installed.

        Source: `_get_classes` and `MODEL_REMAPPING` in mlx_lm/utils.py, `AWQ_MODEL_CONFIGS` in mlx_lm/quant/awq.py.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(next(iter(spec.submodule_search_locations)))
        files = [path for path in (folder / "models").glob("*.py") if path.stem not in _PARTS]
        modules = {path.stem for path in files if "class ModelArgs" in path.read_text(encoding="utf-8")}
        types = frozenset(modules | set(assigned(folder / "utils.py", "MODEL_REMAPPING")))
        return Support(version(self.distribution), types, {"awq": _awq_types(folder / "quant" / "awq.py")})

    def snippet(self, load_as: str, smoke: SmokeSpec | None) -> str:
        """Return Python with `mlx_lm.load` and `generate`."""
        return snippet(load_as, smoke)

    def tools_snippet(self, smoke: SmokeSpec | None) -> str:
        """Return Python that offers a tool."""
        return tools_snippet(smoke)

    def commands(self, load_as: str, smoke: SmokeSpec | None) -> Commands:
        """Return lines for `mlx_lm.generate`, `mlx_lm.chat` and `mlx_lm.server`."""
        return commands(load_as, smoke)

    def sampling_flags(self, sampling: Sampling) -> str:
        """Return options of `mlx_lm.generate`."""
        return sampling_flags(sampling)


def _awq_types(path: Path) -> frozenset[str]:
    """Return the model types that AWQ has settings for; none where mlx-lm has no AWQ."""
    return frozenset(assigned(path, "AWQ_MODEL_CONFIGS")) if path.is_file() else frozenset()


CONVERTER = MlxLm()
