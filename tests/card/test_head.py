"""The head of a card and its table: what a reader takes in at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_publish.card.render import badge, render_card
from mlx_publish.card.tables import siblings
from mlx_publish.card.wrapping import wrapped
from mlx_publish.evidence.evidence import Evidence, Rung
from mlx_publish.evidence.speed import CacheSize
from mlx_publish.machine.macs import smallest_mac
from mlx_publish.model.sampling import recommended_sampling
from mlx_publish.reviewed.assembling import memory_8k
from samples import make_evidence, record, rung

FULL = make_evidence()


def card(**changes: Any) -> str:
    return render_card("Tiny-4bit", "acme/Tiny-4bit", "", record(**changes))


@pytest.mark.parametrize(
    ("kld", "verdict"),
    [
        (0.001, "> **near-identical** (mean KLD 0.00100): no difference to expect in use, compared with the source.\n"),
        (
            0.2,
            "> ⚠ Warning: **lossy** (mean KLD 0.200): expect mistakes in hard tasks that the source does not make.\n",
        ),
        (1.3, "> ⚠ Warning: **heavily lossy** (mean KLD 1.30): many answers differ from the source; use"),
    ],
)
def test_the_verdict_has_the_word_of_the_scale_and_a_warning_from_lossy_on(kld: float, verdict: str) -> None:
    assert verdict in card(fidelity=FULL["fidelity"] | {"mean_kld": kld})


def test_where_fidelity_was_not_measured_the_verdict_says_so() -> None:
    assert "> Fidelity **was not measured**" in card(fidelity=None, missing={"fidelity": ""})


def test_one_line_runs_it_and_a_base_model_is_asked_to_continue() -> None:
    assert "\nuvx --from mlx-lm mlx_lm.chat --model acme/Tiny-4bit\n" in card()
    base = card(smoke=FULL["smoke"] | {"chat_template": False, "capabilities": None, "system": "none"})
    assert "\nuvx --from mlx-lm mlx_lm.generate --model acme/Tiny-4bit --prompt 'What is the Moon?'\n" in base
    assert "mlx_lm.chat" not in base


def test_the_way_to_check_it_names_the_kit_that_made_it_or_the_constant_of_older_evidence() -> None:
    assert "git+https://github.com/mlx-publish/mlx-publish@v0.2.0 mlx-publish verify acme/Tiny-4bit" in card()
    kit = {"address": "https://github.com/me/kit"}
    assert "git+https://github.com/me/kit@v0.2.0 mlx-publish verify acme/Tiny-4bit" in card(kit=kit)


@pytest.mark.parametrize("address", ["javascript:x", "https://a/b/c) [x](https://evil", "http://github.com/a/b", ""])
def test_an_address_that_is_no_repo_is_no_evidence(address: str) -> None:
    with pytest.raises(ValueError, match=r"kit\.address"):
        record(kit={"address": address})


def test_recommended_sampling_is_told_with_the_flags_that_mlx_lm_has() -> None:
    text = card(sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.1})
    assert "`temperature` 0.6, `top_p` 0.95, `top_k` 20, `repetition_penalty` 1.1." in text
    assert "`--temp 0.6 --top-p 0.95 --top-k 20`" in text
    assert "### Sampling" not in card()


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ('{"temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": 2}', {"temperature": 0.6, "top_p": 0.95, "top_k": 20}),
        ('{"do_sample": false, "temperature": 0.6}', {}),
        ('{"temperature": "0.6", "top_k": 2.5, "top_p": 7, "min_p": true}', {}),
        ("[]", {}),
        ("{", {}),
    ],
)  # fmt: skip
def test_only_settings_of_their_type_and_range_are_taken(text: str, settings: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(text, encoding="utf-8")
    assert recommended_sampling(tmp_path) == settings


def test_a_folder_without_generation_config_recommends_nothing(tmp_path: Path) -> None:
    assert recommended_sampling(tmp_path) == {}


def test_the_table_has_memory_at_two_lengths_and_the_smallest_mac() -> None:
    wide = rung("4bit", 4_500_000_000, 4.5, 0.08) | {"memory_bytes": 21_700_000_000, "memory_tokens": 131_072}
    lines = siblings([Rung.model_validate(wide | {"memory_8k_bytes": 5_600_000_000})], "4bit").splitlines()
    assert lines[0] == "| Variant | Closeness | Download | Memory at 8k | At 128k | Smallest Mac | Tokens/s |"
    assert lines[2] == "| **4bit** (recommended, you are here) | close | 4.5 GB | 5.6 GB | 21.7 GB | 16 GB | 96.2 |"
    older = siblings([Rung.model_validate(wide)], "4bit").splitlines()
    assert older[0] == "| Variant | Closeness | Download | Memory at 128k | Tokens/s |"


@pytest.mark.parametrize(
    ("needed", "mac"), [(1, 8), (4_900_000_000, 8), (5_100_000_000, 16), (40 << 30, 64), (10**12, None)]
)
def test_the_smallest_mac_leaves_room_for_the_system_and_for_activations(needed: int, mac: int | None) -> None:
    assert smallest_mac(needed) == mac


@pytest.mark.parametrize(
    ("cache", "taken"),
    [
        (CacheSize(100, 0, 0), 819_200),
        (CacheSize(100, 10, 1024), 829_440),
        (CacheSize(100, 0, 0, fixed_bytes=7), 819_207),
        (CacheSize(100, 0, 0, unknown_layers=1), None),
    ],
)
def test_memory_at_8k_counts_windows_and_states_and_is_left_out_where_a_layer_is_unknown(
    cache: CacheSize, taken: int | None
) -> None:
    model = Evidence.of(FULL).model
    benchmark = {"cache": vars(cache), "context": {"tokens": 131_072, "bytes": 1}}
    expected = None if taken is None else model.weight_bytes + taken
    assert memory_8k(model, benchmark, None) == expected
    assert memory_8k(model, benchmark | {"context": {"tokens": 8192, "bytes": 1}}, None) is None
    assert memory_8k(model, {}, None) is None


def test_the_cache_of_a_float32_variant_is_twice_as_large() -> None:
    assert CacheSize(100, 0, 0).bytes_at(10, dtype="float32") == 2 * 1000


def test_prose_is_wrapped_and_code_is_kept() -> None:
    prose, code = "word " * 40, "x = " + "1 + " * 40 + "1"
    text = wrapped(f"{prose.strip()}\n```python\n{code}\n```\n    {code}")
    assert code in text.splitlines()
    assert f"    {code}" in text.splitlines()
    assert max(len(line) for line in text.splitlines() if line.startswith("word")) <= 80
    assert text.split() == f"{prose}\n```python\n{code}\n```\n    {code}".split()


@pytest.mark.parametrize(
    ("label", "kld", "address"),
    [
        ("4bit", 0.08, "MLX-4bit%20%C2%B7%20close-blue"),
        ("mixed_3_6", 0.3, "MLX-mixed__3__6%20%C2%B7%20lossy-orange"),
        ("4bit", None, "MLX-4bit-lightgrey"),
    ],
)
def test_the_badge_says_variant_and_word(label: str, kld: float | None, address: str) -> None:
    fidelity = FULL["fidelity"] | {"mean_kld": kld} if kld is not None else None
    found = badge(record(fidelity=fidelity, variant=FULL["variant"] | {"label": label}))
    assert f"(https://img.shields.io/badge/{address})](https://huggingface.co/acme/Tiny-4bit)" in found
