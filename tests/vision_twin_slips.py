"""Slips of mlx-vlm's classes as a twin meets them: parts of a tower, of a projector, places of image tokens.

    python vision_twin_slips.py NAME LAUNCH WORDS...

runs an engine's child, in the Python with mlx-vlm, in which the slip NAME happens.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

QWEN, QWEN_TOWER = "mlx_vlm.models.qwen3_vl.qwen3_vl", "mlx_vlm.models.qwen3_vl.vision"
LLAVA, LLAVA_TOWER = "mlx_vlm.models.llava.llava", "mlx_vlm.models.llava.vision"
SLIPS: dict[str, tuple[str, Callable[[Any], None]]] = {}
"""Module and patch, by name."""


def slip(module: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Enter a patch of a module."""

    def enter(patch: Callable[[Any], None]) -> Callable[[Any], None]:
        SLIPS[getattr(patch, "__name__", "")] = (module, patch)
        return patch

    return enter


def program_with(name: str, vision: Path, place: Path) -> Path:
    """Return a program that is the Python with mlx-vlm, and lets the slip happen in an engine's child."""
    program = place / f"python-{name}"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *mlx_publish.engine*) shift 3; exec {vision} -I -X utf8 {Path(__file__).resolve()} {name} "$@";; '
        f'*) exec {vision} "$@";; esac\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program


@slip(QWEN_TOWER)
def grid_swapped(module: Any) -> None:
    """Height and width of the grid change places within the tower."""
    before = module.VisionModel.__call__

    def swapped(self: Any, states: Any, grid_thw: Any, **more: Any) -> Any:
        return before(self, states, grid_thw[:, [0, 2, 1]], **more)

    module.VisionModel.__call__ = swapped


@slip(QWEN_TOWER)
def patches_reversed(module: Any) -> None:
    """Patches of a picture come in another order."""
    before = module.PatchEmbed.__call__
    module.PatchEmbed.__call__ = lambda self, states: before(self, states[::-1])


@slip(QWEN_TOWER)
def tower_turns_otherwise(module: Any) -> None:
    """The tower's rotary embedding has another base."""
    before = module.VisionRotaryEmbedding.__init__
    module.VisionRotaryEmbedding.__init__ = lambda self, dim, theta=10_000.0: before(self, dim, theta * 10)


@slip(QWEN)
def features_reversed(module: Any) -> None:
    """The features of all pictures are put into their places in the reverse order."""
    before = module.masked_scatter
    module.masked_scatter = lambda embedded, mask, features: before(embedded, mask, features[::-1])


@slip(LLAVA_TOWER)
def gelu_exact(module: Any) -> None:
    """The tower's GELU is the exact one, in the place of the quick one of CLIP."""
    before = module.MLP.__init__

    def begin(self: Any, config: Any) -> None:
        before(self, config)
        self.activation_fn = module.nn.GELU()

    module.MLP.__init__ = begin


@slip(LLAVA)
def bias_dropped(module: Any) -> None:
    """The projector forgets its bias."""

    def without(self: Any, x: Any) -> Any:
        return self.gelu(x @ self.linear_1.weight.T) @ self.linear_2.weight.T

    module.LlavaMultiModalProjector.__call__ = without


@slip(LLAVA)
def features_halved(module: Any) -> None:
    """What the projector gives is scaled."""
    before = module.LlavaMultiModalProjector.__call__
    module.LlavaMultiModalProjector.__call__ = lambda self, x: before(self, x) * 0.5


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from vision_slips import _Following

    _, given, launch, *words = sys.argv
    sys.meta_path.insert(0, _Following(*SLIPS[given]))
    sys.argv = [launch, *words]
    runpy.run_path(launch, run_name="__main__")
