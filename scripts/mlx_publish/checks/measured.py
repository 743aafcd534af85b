"""Judgements about an answer, a comparison and a speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned

Result = Mapping[str, Any]

# Defaults that refuse a broken model and not a lossy one; FACTS: 4 bits of a 135M model lose 0.45 nats.
MAX_MEAN_KLD = 1.0
MIN_SAME_FIRST_CHOICE = 0.25
# The lowest trial may be a quarter below the highest one before the card calls the numbers unsteady.
STEADY = 0.75
BETTER = "Take more bits, a smaller group or a mixed recipe."


def _loads(result: Result) -> Says:
    said = result["warnings"]
    if said:
        return warned(f"loading said {len(said)} thing(s), first: {said[0]}", warnings=list(said))
    return passed("it loads without a warning")


def _renders(result: Result) -> Says:
    if not result["chat_template"]:
        return warned("there is no chat template; the answer is a plain completion")
    broken = {name: probe["error"] for name, probe in result["probes"].items() if "error" in probe}
    if "user" in broken:
        return failed(f"the chat template cannot render one user turn: {broken['user']}", "Mend the source's template.")
    told = [f"{name} ({error})" for name, error in broken.items() if name != "system+user"]
    return warned(f"the template refuses: {', '.join(told)}") if told else passed("the chat template renders")


def _system(result: Result) -> Says:
    role = result["system_role"]
    if role == "folded":
        reason = result["probes"]["system+user"].get("error", "the system text does not arrive")
        return warned(
            f"no system role ({reason}); the system text goes in front of the first user turn, and so the card shows it"
        )
    return passed("the system role is native" if role == "native" else "there is no template that could have one")


def _answers(result: Result) -> Says:
    exchange = result["exchange"]
    tokens = exchange["tokens"][: -1 if exchange["stop"] == "stop" else None]
    outside = [token for token in tokens if not 0 <= token < result["vocabulary"]]
    if outside:
        return failed(
            f"it generated the id {outside[0]}, outside the vocabulary",
            "Compare the tokenizer with the source's.",
        )
    if not exchange["answer"].strip():
        return failed("the answer is empty", "Look at the rendered prompt in smoke.json.")
    if len(tokens) > 8 and len(set(tokens)) == 1:
        return failed("the answer is one token for ever", "Take more bits or another source.")
    return passed(f"{len(tokens)} tokens in answer to {exchange['prompt_tokens']}")


def _stops(result: Result) -> Says:
    if not result["stop_ids"]:
        return failed("the tokenizer knows no id that ends an answer", "Add eos_token_id to the source's config.")
    if result["exchange"]["stop"] == "stop":
        return passed(f"it stopped at the id {result['exchange']['stop_id']}")
    return passed(f"it was cut at the limit of {len(result['exchange']['tokens'])} tokens")


def _finite(result: Result) -> Says:
    broken = sorted(key for key, value in result.items() if value is None)
    if broken:
        return failed(f"not a number: {', '.join(broken)}", "The weights are broken; look at the source.")
    return passed(f"all numbers are finite over {result['positions']} positions")


def _kld(result: Result) -> Says:
    mean = result["mean_kld"]
    if mean is None:
        return skipped("there is no number")
    text = f"mean KLD {mean:.4f} ± {result['mean_kld_error'] or 0:.4f} nats"
    if mean <= MAX_MEAN_KLD:
        return passed(text)
    return failed(f"{text}, above the limit of {MAX_MEAN_KLD}", BETTER)


def _first_choice(result: Result) -> Says:
    share = result["same_first_choice"]
    if share is None:
        return skipped("there is no number")
    text = f"same first choice as the source at {share:.1%} of positions"
    return passed(text) if share >= MIN_SAME_FIRST_CHOICE else failed(f"{text}, too few", BETTER)


def _steady(result: Result) -> Says:
    low, high = result["generation_tps"]["lowest"], result["generation_tps"]["highest"]
    if low < STEADY * high:
        return warned(f"unsteady: {low:.1f} to {high:.1f} generation tokens/s", "Run it on a quiet machine.")
    return passed(f"{low:.1f} to {high:.1f} generation tokens/s in {len(result['trials'])} trials")


SMOKE: tuple[Check[Result], ...] = (
    Check("loads", "It loads quietly", "a warning nobody read", _loads),
    Check("template-renders", "The chat template renders", "a chat that fails at the first word", _renders),
    Check("system-role", "The way of the system text", "instructions that vanish", _system),
    Check("answers", "It answers", "a model that is silent or stuck", _answers),
    Check("stops", "It can stop", "an answer without end", _stops),
)
FIDELITY: tuple[Check[Result], ...] = (
    Check("finite", "The numbers are numbers", "broken weights", _finite, safety=True),
    Check("mean-kld", "It still is its source", "a broken model under a good name", _kld),
    Check("same-first-choice", "It prefers the same words", "a broken model under a good name", _first_choice),
)
BENCHMARK: tuple[Check[Result], ...] = (
    Check("steady", "The speed is steady", "numbers that nobody can repeat", _steady),
)
