"""The drafter on a card: how it is used, and what was measured of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from mlx_publish.evidence.drafters import DrafterProofSpec
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.text.numbers import size


def drafter(evidence: Evidence) -> Mapping[str, str] | None:
    """Return the command line and the words of a drafter; None where the source's heads were left out.

    mlx-vlm takes a folder of the disk for a drafter, so a model of the Hub is downloaded first.
    """
    made, repo = evidence.drafter, evidence.destination.repo
    if made is None:
        return None
    folder = evidence.destination.name
    lines = ["pip install 'mlx-vlm>=0.7.10,<0.8'"]
    lines += [f"hf download {shlex.quote(repo)} --local-dir {shlex.quote(folder)}"] if repo else []
    snippet = "" if _takes_parts(evidence) else _snippet(folder, made.folder)
    if not snippet:
        lines.append(f"mlx_vlm.generate --model {shlex.quote(folder)} \\")
        lines.append(f"  --draft-model {shlex.quote(f'{folder}/{made.folder}')} \\")
        lines.append("  --prompt 'What causes a solar eclipse?' --max-tokens 256 --temperature 0")
    how = f"{made.bits} bits, groups of {made.group_size}" if made.bits else "the source's own numbers"
    what = (
        f"The drafter has {how} ({size(made.weight_bytes)}) and drafts at most {made.block_size - 1} tokens per round."
    )
    return {"command": "\n".join(lines), "snippet": snippet, "words": f"{what} {_proof(made.proof)}"}


def _takes_parts(evidence: Evidence) -> bool:
    """Return whether the chat template takes content as a list of parts, which mlx-vlm's command line gives it."""
    known = evidence.smoke.capabilities if evidence.smoke else None
    return known is not None and known.plain.get("parts") == "shown"


def _snippet(model: str, drafter: str) -> str:
    """Return Python for mlx-vlm that renders the chat template itself."""
    return "\n".join(
        (
            "from mlx_vlm import generate, load",
            "from mlx_vlm.speculative.drafters import load_drafter",
            "",
            f"model, processor = load({json.dumps(model)})",
            f"drafter, kind = load_drafter({json.dumps(f'{model}/{drafter}')})",
            'messages = [{"role": "user", "content": "What causes a solar eclipse?"}]',
            'tokenizer = getattr(processor, "tokenizer", processor)',
            "prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)",
            "answer = generate(",
            "    model, processor, prompt, max_tokens=256, temperature=0.0, draft_model=drafter, draft_kind=kind",
            ")",
            "print(answer.text)",
        )
    )


def _proof(proof: DrafterProofSpec | None) -> str:
    if proof is None:
        return "It was not tested."
    share = proof.accepted / proof.drafted if proof.drafted else 0.0
    same = "the same with it and without it"
    if proof.differences:
        same += f", but for {len(proof.differences)} that part where two tokens are equally likely"
    rounds = proof.tokens / proof.rounds if proof.rounds else 0.0
    return (
        f"Tested with mlx-vlm {proof.versions.get('mlx-vlm', '')} on {proof.prompts} prompts, {proof.tokens} tokens, "
        f"computed in {proof.computed_in}: the greedy answers are {same}. It accepted {proof.accepted:,} of "
        f"{proof.drafted:,} drafted tokens ({share:.0%}); a round gave {rounds:.2f} tokens.{_speed(proof)}"
    )


def _speed(proof: DrafterProofSpec) -> str:
    """Return how the answers took longer without the drafter; on a CPU that says nothing of a Mac."""
    if proof.device != "gpu" or not proof.seconds:
        return " How much faster that is on a Mac was not measured."
    return f" Without it, the same answers took {proof.plain_seconds / proof.seconds:.2f} times as long."
