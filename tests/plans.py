"""Plans made by hand: of bits that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.recipes.plan import Others, Plan, PlannedModule, PlannedSource, digest_of_choice

MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj")


def a_plan() -> Plan:
    """A plan of a model that nobody has."""
    modules = {
        path: PlannedModule(bits=4, group_size=64, kld=0.01, kind="mlp", weights=4096, floor=3) for path in MODULES
    }
    return plan_of_modules(modules, {"model.layers.0.mlp.up_proj": "0123456789abcdef" * 4})


def plan_of_modules(modules: Mapping[str, PlannedModule], importance: Mapping[str, str]) -> Plan:
    """A plan with these modules."""
    return Plan(
        source=PlannedSource(name="Tiny", identity="0" * 40),
        target={"target_bpw": 4.5},
        target_words="4.5 bits per weight",
        bits_per_weight=4.5,
        predicted_kld=0.03,
        chosen=digest_of_choice(modules),
        others=Others(weights=1024, bytes=2048),
        modules=dict(modules),
        importance=dict(importance),
    )
