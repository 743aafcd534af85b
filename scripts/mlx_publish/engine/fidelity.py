"""How much the converted model still is its source: KL divergence and first choices on one text.

Definitions as in llama.cpp's `--kl-divergence`: for each position the divergence of the converted model's
distribution of the next token from the source's, in nats; the mean over positions; the share of
positions where both prefer the same token.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from tokenizers import Tokenizer

from mlx_publish.engine.loading import fast_blas_in_front, load_model
from mlx_publish.errors import Refused

CHUNK = 256  # positions of one pass; bounds the memory for a vocabulary of 150,000


def reference(source: str, text: str, tokens: int, store: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Write the source's log-probabilities of `text` to `store`, a safetensors file.

    It holds `ids` (positions,) and `logprobs` (positions, vocabulary) in float32.
    """
    progress("loading the source")
    model, tokenizer, computed_in = load_model(source, dequantize=True)
    ids = ids_of(Path(source), tokenizer, text, tokens)
    return {**reference_of(model, ids, store, progress), "computed_in": computed_in}


def reference_of(model: Any, ids: list[int], store: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Do the same with a model that is in memory already."""
    progress(f"reading {len(ids)} tokens with the source")
    logprobs = _logprobs(model, ids)
    aside = Path(store).with_suffix(".new.safetensors")
    aside.parent.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(aside), {"ids": mx.array(ids), "logprobs": logprobs})
    aside.replace(store)
    return {"positions": len(ids), "tokens_sha256": tokens_sha256(ids)}


def compare(folder: str, label: str, store: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Compare a converted model with the log-probabilities in `store`, on the very ids that lie beside them.

    Whether the converted tokenizer gives these ids is a check of its own, in convert.
    """
    progress(f"loading {label}")
    # The CPU's quantized kernels are slower than a good BLAS, and no slower than a bad one.
    model, _tokenizer, computed_in = load_model(folder, dequantize=fast_blas_in_front())
    known: Any = mx.load(store)
    ids = [int(item) for item in np.array(known["ids"])]
    progress(f"reading {len(ids)} tokens with {label}")
    measured = _measure(known["logprobs"], _logprobs(model, ids), ids)
    return {**measured, "tokens_sha256": tokens_sha256(ids), "computed_in": computed_in}


def tokens_sha256(ids: list[int]) -> str:
    """SHA-256 of token ids, written in decimal with commas."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def ids_of(folder: Path, tokenizer: Any, text: str, tokens: int) -> list[int]:
    """Ids by the source's own tokenizer.json where there is one: classes of transformers may read it differently."""
    if (file := folder / "tokenizer.json").exists():
        return [int(item) for item in Tokenizer.from_file(str(file)).encode(text).ids[:tokens]]
    return [int(item) for item in tokenizer.encode(text)[:tokens]]


def _logprobs(model: Any, ids: list[int]) -> mx.array:
    """Log-probabilities of every position, (positions, vocabulary), float32."""
    from mlx_lm.models.cache import make_prompt_cache  # noqa: PLC0415

    cache, parts = make_prompt_cache(model), []
    for start in range(0, len(ids), CHUNK):
        logits = model(mx.array([ids[start : start + CHUNK]]), cache=cache)[0].astype(mx.float32)
        parts.append(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
        mx.eval(parts[-1])
    return mx.concatenate(parts, axis=0)


def _measure(source: mx.array, model: mx.array, ids: list[int]) -> dict[str, Any]:
    if source.shape != model.shape:
        raise Refused(f"logits of shape {model.shape} where the source has {source.shape}", check="same-shape")
    divergence = np.array(mx.sum(mx.exp(source) * (source - model), axis=-1), dtype=np.float64)
    same = np.array(mx.argmax(source, axis=-1) == mx.argmax(model, axis=-1))
    return {
        "positions": len(divergence),
        "mean_kld": float(divergence.mean()),
        "mean_kld_error": float(divergence.std(ddof=1) / math.sqrt(len(divergence))),
        "max_kld": float(divergence.max()),
        "same_first_choice": float(same.mean()),
        "perplexity_source": _perplexity(source, ids),
        "perplexity": _perplexity(model, ids),
    }


def _perplexity(logprobs: mx.array, ids: list[int]) -> float:
    """Perplexity of each token but the first, given those before it."""
    of_next = mx.take_along_axis(logprobs[:-1], mx.array(ids[1:])[:, None], axis=-1)
    return math.exp(-np.array(of_next, dtype=np.float64).mean())
