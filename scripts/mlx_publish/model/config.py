"""config.json: what kind of model it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DTYPES: Mapping[str, str] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True)
class ModelConfig:
    """The parts of config.json that decide how a model is handled."""

    raw: Mapping[str, Any]

    @property
    def text(self) -> Mapping[str, Any]:
        """Return the part that describes the language model: multimodal configs nest it."""
        nested = self.raw.get("text_config")
        return nested if isinstance(nested, Mapping) else self.raw

    @property
    def window(self) -> int | None:
        """Return the positions that attention looks back at in layers with a sliding window; None without one."""
        size = self.text.get("sliding_window")
        return size if type(size) is int and self.text.get("use_sliding_window", True) else None

    @property
    def model_type(self) -> str | None:
        """Return the type by which mlx-lm chooses the architecture."""
        value = self.raw.get("model_type")
        return value if isinstance(value, str) and value else None

    @property
    def architectures(self) -> tuple[str, ...]:
        """Return class names of transformers, as `LlamaForCausalLM`."""
        value = self.raw.get("architectures")
        items = value if isinstance(value, list) else [value]
        return tuple(item for item in items if isinstance(item, str))

    @property
    def dtype(self) -> str | None:
        """Return the declared type; transformers 5 writes `dtype`, older ones `torch_dtype`."""
        for part in (self.raw, self.text):
            for key in ("torch_dtype", "dtype"):
                if isinstance(value := part.get(key), str):
                    return value.removeprefix("torch.")
        return None

    @property
    def context(self) -> int | None:
        """Return the longest context, in tokens, that the config names."""
        value = self.text.get("max_position_embeddings")
        return value if type(value) is int else None

    @property
    def quantization(self) -> Mapping[str, object] | None:
        """Return MLX's or another quantizer's block, where the weights are quantized already."""
        for part in (self.raw, self.text):
            for key in ("quantization", "quantization_config"):
                if isinstance(value := part.get(key), Mapping) and value:
                    return value
        return None

    def summary(self) -> dict[str, object]:
        """Return what a reader of the report wants to know at a glance."""
        keys = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "intermediate_size",
            "vocab_size",
            "tie_word_embeddings",
            "sliding_window",
        )
        sizes = {key: self.text[key] for key in keys if self.text.get(key) is not None}
        return {
            "model_type": self.model_type,
            "architectures": list(self.architectures),
            "dtype": self.dtype,
            "context": self.context,
            **sizes,
        }
