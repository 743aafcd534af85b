"""All tiny vision-language models by name."""

from __future__ import annotations

import vision_gemma  # noqa: F401
import vision_gemma4  # noqa: F401
import vision_idefics  # noqa: F401
import vision_later  # noqa: F401
import vision_llama4  # noqa: F401
import vision_llava  # noqa: F401
import vision_others  # noqa: F401
import vision_qwen  # noqa: F401
import vision_qwen2  # noqa: F401
from vision_family import FAMILIES, Family

__all__ = ["FAMILIES", "Family"]
