"""The source's logits by MLX on a few short texts, for the comparison with another implementation.

On the CPU and in float32, also where there is Metal: what is to be proved is the mapping of the architecture, and
the rounding of half precision would hide a wrong constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
from mlx import nn

from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import fit
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.tokenizing import own_tokenizer
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.proof import LogitsRead
from mlx_publish.text.progress import Tell


def logits(source: str, texts: Sequence[tuple[str, int]], store: str, progress: Tell) -> LogitsRead:
    """Write to `store`, a safetensors file, the logits of texts, of each so many of its first tokens.

    Text N has `ids.N` (positions,) and `logits.N` (positions, vocabulary) in float32. `source` is a folder with a
    config that mlx-lm reads.
    """
    mx.set_default_device(mx.cpu)
    progress("loading the source")
    # Wide from the start: a norm that is folded as 1 + w in bfloat16 is another norm.
    loaded = load_source(Path(source), wide=True)
    loaded.release()
    fit(loaded.model)
    own = own_tokenizer(Path(source))
    encode = backend().load_tokenizer(Path(source)).encode if own is None else lambda text: own.encode(text).ids
    sequences = [ids for text, tokens in texts if (ids := [int(id_) for id_ in encode(text)[:tokens]])]
    arrays: dict[str, mx.array] = {}
    for number, ids in enumerate(sequences):
        progress(f"text {number + 1} of {len(sequences)} with MLX")
        arrays |= {f"ids.{number}": mx.array(ids), f"logits.{number}": _logits(loaded.model, ids)}
    mx.save_safetensors(store, arrays)
    return LogitsRead(len(sequences), sum(len(ids) for ids in sequences), digest_of(sequences))


def _logits(model: nn.Module, ids: list[int]) -> mx.array:
    """Return the logits of every position, (positions, vocabulary).

    Read in two parts, as a generation does, the second at an offset.
    """
    cache, half = backend().make_cache(model), -(-len(ids) // 2)
    parts = [model(mx.array([part]), cache=cache)[0] for part in (ids[:half], ids[half:]) if part]
    joined = mx.concatenate(parts).astype(mx.float32)
    mx.eval(joined)
    return joined
