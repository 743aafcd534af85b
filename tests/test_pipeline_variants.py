"""All variants, several architectures, and chat templates that are not like the others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from models import ANSWER, ARCHITECTURES, answer_table, make_model, make_scripted
from pipeline import User, checks, digests, read_json, run_snippet, write_recipe
from tiny_tokenizer import CHATML

# Bits per weight with scales and biases: affine has two halves a group of 64, the others one byte a group.
VARIANTS: dict[str, tuple[float, dict[str, Any] | None]] = {
    **{f"{bits}bit": (bits + 0.5, {"bits": bits, "group_size": 64, "mode": "affine"}) for bits in (2, 3, 4, 5, 6, 8)},
    "mxfp4": (4.25, {"bits": 4, "group_size": 32, "mode": "mxfp4"}),
    "mxfp8": (8.25, {"bits": 8, "group_size": 32, "mode": "mxfp8"}),
    "nvfp4": (4.5, {"bits": 4, "group_size": 16, "mode": "nvfp4"}),
    "bf16": (16, None),
    "fp16": (16, None),
}
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
SYSTEM_VANISHES = CHATML.replace("{{ '<|im_start|>'", "{{ '' if message['role'] == 'system' else '<|im_start|>'", 1)


def test_one_child_makes_all_variants_and_each_has_the_width_of_its_name(tmp_path: Path, user: User) -> None:
    # Large enough that what is not quantized, the norms, does not show in the second decimal.
    make_model(tmp_path / "m", hidden=256)
    work = tmp_path / "work"
    names = [*VARIANTS, "mixed_3_6"]
    ended = user.run("convert", "--source", tmp_path / "m", "--variants", ",".join(names), "--work", work)
    # One child, and the source is gone through once; a quick one has ended before it is asked what it does.
    assert [path.parent.name for path in work.rglob("convert.log")] == ["source"]
    assert ended.text.count("building the model") <= 1
    for name, (bits, quantization) in VARIANTS.items():
        variant = work / "m" / name
        assert read_json(variant / "convert.json")["result"]["bits_per_weight"] == pytest.approx(bits, abs=0.06)
        assert read_json(variant / "model/config.json").get("quantization") == quantization
        assert set(checks(variant, "convert").values()) == {"pass"}
    mixed = read_json(work / "m/mixed_3_6/convert.json")["result"]["bits_per_weight"]
    assert 3.5 < mixed < 6.5
    stored = [read_json(work / "m" / name / "convert.json")["result"]["dtypes"] for name in ("bf16", "fp16")]
    assert stored == [["BF16"], ["F16"]]


@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if arch != "llama"])
def test_each_architecture_is_converted(tmp_path: Path, user: User, arch: str) -> None:
    make_model(tmp_path / "m", arch, shards=2 if arch == "qwen3" else 1, tie=arch not in ("mistral", "phi3"))
    user.run("convert", "--source", tmp_path / "m", "--work", tmp_path / "work")
    variant = tmp_path / "work/m/4bit"
    assert read_json(variant / "convert.json")["result"]["bits_per_weight"] == pytest.approx(4.5, abs=0.1)
    assert read_json(variant / "model/config.json")["model_type"] == arch
    assert set(checks(variant, "convert").values()) == {"pass"}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (NO_SYSTEM + CHATML, "System role not supported"),
        (SYSTEM_VANISHES, "the system prompt is lost"),
    ],
)
def test_a_template_without_system_role_is_told_and_the_card_shows_the_fold(
    tmp_path: Path, user: User, template: str, why: str
) -> None:
    make_scripted(tmp_path / "m", answer_table(), chat_template=template)
    recipe = write_recipe(
        tmp_path / "m.yaml", source="./m", to="folder:out/m-{variant}", smoke={"system": "Be brief.", "max_tokens": 16}
    )
    user.run("smoke", "--recipe", recipe, "--work", tmp_path / "work")
    variant = tmp_path / "work/m/4bit"
    ended = user.run("card", "--recipe", recipe, "--work", tmp_path / "work")
    assert checks(variant, "smoke")["system-role"] == "warn"
    found = read_json(variant / "smoke.json")["result"]
    assert found["system"] == "first-user"
    [message] = found["exchange"]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("Be brief.\n\nThere's a total solar eclipse")
    assert message["content"] in found["exchange"]["rendered"]
    card = (variant / "model/README.md").read_text(encoding="utf-8")
    assert 'f"{system}\\n\\n{question}"' in card
    assert why in card
    assert "warn measured" in ended.text
    shutil.copytree(variant / "model", tmp_path / "out/m-4bit")
    printed = run_snippet(tmp_path / "out/m-4bit/README.md", user)
    assert ANSWER in printed


def test_a_model_without_chat_template_is_shown_as_plain_completion(tmp_path: Path, user: User) -> None:
    make_scripted(tmp_path / "m", answer_table(prompt_end="?"), chat_template=None)
    recipe = write_recipe(tmp_path / "m.yaml", source="./m", to="folder:out/m", smoke={"prompt": "What?"})
    user.run("smoke", "--recipe", recipe, "--work", tmp_path / "work")
    user.run("card", "--recipe", recipe, "--work", tmp_path / "work")
    variant = tmp_path / "work/m/4bit"
    assert checks(variant, "inspect")["chat-template"] == "warn"
    assert checks(variant, "smoke")["template-renders"] == "warn"
    assert read_json(variant / "smoke.json")["result"]["exchange"]["answer"] == ANSWER
    card = (variant / "model/README.md").read_text(encoding="utf-8")
    assert 'prompt = "What?"' in card
    assert "apply_chat_template" not in card
    assert "conversational" not in card


def test_an_answer_that_looks_like_markup_stays_text(tmp_path: Path, user: User) -> None:
    hostile = "::set-output name=x::[red]<b>```{{"
    words = ["::", "set", "output", " name", "::[", "red", "]<", ">```{{"]
    make_scripted(tmp_path / "m", answer_table(hostile, words=words), words=words)
    recipe = write_recipe(tmp_path / "m.yaml", source="./m", to="folder:out/m")
    ended = user.run("smoke", "--recipe", recipe, "--work", tmp_path / "work")
    assert not re.search(r"^::", ended.out, re.MULTILINE)
    assert hostile in ended.out
    user.run("card", "--recipe", recipe, "--work", tmp_path / "work")
    card = (tmp_path / "work/m/4bit/model/README.md").read_text(encoding="utf-8")
    assert f"````text\n{hostile}\n````" in card


def test_a_refused_variant_keeps_the_others_from_being_published(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m", hidden=96, heads=2)
    variants = [{"bits": 4, "group_size": 32}, {"bits": 4, "group_size": 64}]
    recipe = write_recipe(tmp_path / "m.yaml", source="./m", to="folder:out/{variant}", variants=variants)
    (tmp_path / "out/4bit").mkdir(parents=True)
    ended = user.run("publish", "--recipe", recipe, "--work", tmp_path / "work", code=1)
    assert "nothing is published, because of 4bit" in ended.text
    assert checks(tmp_path / "work/m/4bit", "inspect")["groups-fit"] == "fail"
    assert read_json(tmp_path / "work/m/4bit-gs32/card.json")["verdict"] == "pass"
    assert not (tmp_path / "work/m/4bit/model").exists()
    assert not digests(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["4bit"]
