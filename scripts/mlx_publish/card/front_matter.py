"""The card's front matter, by allow-list: what the source says of licence and language, the rest ours.

Keys: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from mlx_publish.card.licence import link_that_leads
from mlx_publish.card.senses import senses
from mlx_publish.converters import converter_of
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.patterns import LANGUAGE, LICENCE
from mlx_publish.text.markdown import is_repo, numbered

_PLAIN = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
# YAML 1.1, which some readers of the Hub's cards still speak, takes these for something else than text.
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
Value = str | list[str] | None
_TEXT_TASKS = frozenset({
    None, "text-generation", "text2text-generation", "conversational", "translation", "summarization",
    "question-answering", "image-text-to-text", "video-text-to-text", "audio-text-to-text", "any-to-any",
})  # fmt: skip
"""Tasks of a source whose conversion generates text; an embedding model, say, is converted for something else."""
_SEEING = "image-text-to-text"
_TASKS_OF_SENSES: Mapping[str, frozenset[str]] = {
    _SEEING: frozenset({"images"}),
    "video-text-to-text": frozenset({"video"}),
    "audio-text-to-text": frozenset({"audio"}),
    "any-to-any": frozenset({"images", "audio"}),
}
"""The Hub's tasks of models that take more than text, and what such a model has to keep of it; of several, the two that
`any-to-any` says.

With the library `mlx`, the Hub's own snippet is that of mlx-vlm for `image-text-to-text` alone; there is no library
`mlx-vlm` (huggingface/tasks 0.21.54, model-libraries.ts, model-libraries-snippets.ts). Its buttons for LM Studio and
others want the tag `mlx` (local-apps.ts). Repos of mlx-community that hear, too, say `image-text-to-text`, as Gemma 3n.
"""
_ASK_PICTURES = frozenset({"image-to-text", "visual-question-answering", "document-question-answering"})


def front_matter(evidence: Evidence) -> dict[str, Value]:
    """Return the metadata of one published variant."""
    quantized, repo = evidence.variant.quantized, evidence.destination.repo
    bits = evidence.variant.bits
    tags = ["mlx", *(["conversational"] if _is_chat(evidence) else []), *([f"{bits}-bit"] if bits else [])]
    data: dict[str, Value] = {
        **_licence(evidence),
        "language": _unique(code for code in evidence.language if re.fullmatch(LANGUAGE, code)),
        "library_name": "mlx",
        "pipeline_tag": _task(evidence),
        "base_model": _bases(evidence),
        "base_model_relation": _relation(evidence),
        "quantized_by": repo.partition("/")[0] if quantized and repo else None,
        "tags": _unique(tags),
    }
    return {key: value for key, value in data.items() if value not in (None, [], "")}


def _task(evidence: Evidence) -> str | None:
    """Return the task: the source's own of those that take more than text, where what it needs was kept."""
    own = evidence.source.pipeline_tag
    if not converter_of(evidence.tools).senses:
        return "text-generation" if own in _TEXT_TASKS or evidence.source.modality == "text" else None
    kept = senses(evidence)
    if own is not None and own in _TASKS_OF_SENSES and (_TASKS_OF_SENSES[own] <= set(kept) or not kept):
        return own
    if own not in _TEXT_TASKS | _ASK_PICTURES:
        return None
    return "audio-text-to-text" if kept == ("audio",) else _SEEING


def _bases(evidence: Evidence) -> Value:
    """Return the model that this is a form of; of a fused adapter base and adapter, as the Hub has it for merges."""
    base, adapter = evidence.source.base_model, evidence.adapter.repo if evidence.adapter else None
    named = [name for name in (base, adapter) if name is not None and is_repo(name)]
    return named if len(named) > 1 else next(iter(named), None)


def _relation(evidence: Evidence) -> str | None:
    """Return how it comes from `_bases`: a merge of two, or the quantized or fine-tuned form of one."""
    bases = _bases(evidence)
    if isinstance(bases, list):
        return "merge"
    if evidence.adapter is not None:
        return "finetune" if bases else None
    return "quantized" if evidence.variant.quantized and bases else None


def front_matter_text(data: Mapping[str, Value]) -> str:
    """Return YAML between its two fences; every text stays the same text for readers of YAML 1.1 and 1.2."""
    lines = []
    for key, value in data.items():
        items = [f"- {_scalar(item)}" for item in value] if isinstance(value, list) else None
        lines += [f"{key}: {_scalar(value)}"] if items is None else [f"{key}:", *items]
    return "\n".join(("---", *lines, "---", ""))


def _licence(evidence: Evidence) -> dict[str, Value]:
    """Return the licence as the Hub spells it, in lower case; name and link belong to `other` alone."""
    licence = (evidence.licence.id or "").lower()
    if licence != "other":
        return {"license": licence if re.fullmatch(LICENCE, licence) else None}
    return {"license": licence, "license_name": evidence.licence.name, "license_link": link_that_leads(evidence)}


def _is_chat(evidence: Evidence) -> bool:
    """Tell whether a chat template was proven: it is there, and no judgement of it had to be let through."""
    about = [check for check in evidence.checks if check.id in ("template-renders", "template-same")]
    there = evidence.smoke is not None and evidence.smoke.chat_template
    return there and all(check.status == "pass" for check in about)


def _unique(words: Iterable[str]) -> list[str]:
    """Return each once, whatever its case; the first way of writing it stays."""
    spellings: dict[str, str] = {}
    for word in words:
        spellings.setdefault(word.lower(), word)
    return list(spellings.values())


def _scalar(value: object) -> str:
    """Return a plain word, or a text in double quotes with all that is not plain text by its number."""
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return "".join(char if char.isprintable() else numbered(char) for char in json.dumps(text, ensure_ascii=False))
