"""Before a conversion: what is measured once, what is solved for each target, and what a pinned plan saves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_publish.children.jobs import Job
from mlx_publish.context import Context
from mlx_publish.conversion import sensitive
from mlx_publish.conversion.planning import FILE, LIMITS, Followed, plan_inputs, plans_of
from mlx_publish.errors import BadInput
from mlx_publish.evidence.closeness import CLOSE, NEAR_IDENTICAL, closeness
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.sensitivities import Sensitivities
from mlx_publish.machine.macs import need, usable
from mlx_publish.model.cache import cache_of
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.plan import read_plan
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.source import reach
from mlx_publish.source.layout import prepare
from mlx_publish.source.resolve import source_of
from mlx_publish.stages import STAGES
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import make_model
from pipeline import write_recipe
from sensitivities import made_up


@dataclass
class Engine:
    """Answers for the engine's measurement, and counts how often it was asked."""

    answer: Sensitivities = field(default_factory=made_up)
    jobs: list[Job] = field(default_factory=list)

    def run(self, job: Job, _progress: object) -> dict[str, Any]:
        self.jobs.append(job)
        answer: dict[str, Any] = json.loads(json.dumps(to_json(self.answer)))
        return answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    own = Engine()
    monkeypatch.delenv("MLX_PUBLISH_REFERENCE_PYTHON", raising=False)  # to compare a twin takes seconds
    monkeypatch.setattr(sensitive, "run_job", own.run)
    return own


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made") / "tiny", vocab=512)


Made = Mapping[str, Followed]
Plan = Callable[..., Made]


@pytest.fixture
def plan(tmp_path: Path, model: Path, engine: Engine) -> Iterator[Plan]:
    """Inspect a recipe and make the plans of its variants."""
    assert engine.jobs == []
    with ExitStack() as stack:

        def make(*variants: object, auto: bool = False, **more: Any) -> Made:
            keys = {"variants": "auto" if auto else list(variants), "source": str(model)}
            path = write_recipe(tmp_path / "r.yaml", **keys)
            recipe = recipe_from_file(path)
            context = Context(recipe, recipe.variants, Work(tmp_path / "work", recipe.name), Console(io.StringIO()))
            make.context = replace_plans(context, more)  # type: ignore[attr-defined]
            assert not run_stages(context, chain(STAGES, "inspect"))
            aside = stack.enter_context(context.work.aside("source"))
            paths = context.inspected(recipe.variants[0]).source.files
            return plans_of(context, recipe.variants, prepare(source_of(context), paths, aside))

        yield make


def replace_plans(context: Context, more: Mapping[str, Any]) -> Context:
    for key, value in more.items():
        setattr(context, key, value)
    return context


def test_one_measurement_serves_all_variants_and_later_runs(plan: Plan, engine: Engine) -> None:
    first = plan("4.6bpw", "5.2bpw", "balanced")
    assert [job.op for job in engine.jobs] == ["sensitivity"]
    assert {len(own.plan.modules) for own in first.values()} == {15}
    again = plan("6bpw")
    assert len(engine.jobs) == 1
    assert again["6bpw"].plan.bits_now > first["5.2bpw"].plan.bits_now > first["4.6bpw"].plan.bits_now
    arguments = engine.jobs[0].arguments
    assert set(arguments) == {"source", "tokenizer", "calibration", "rungs", "dtype", "proxy"}


def test_what_is_stored_in_another_dtype_is_measured_for_itself(plan: Plan, engine: Engine) -> None:
    plan("4.6bpw", {"target_bpw": 4.6, "dtype": "float16"})
    assert [job.arguments["dtype"] for job in engine.jobs] == [None, "float16"]


def test_a_plan_lies_in_the_work_folder_as_it_is_handed_on(plan: Plan, tmp_path: Path) -> None:
    (made,) = plan("4.6bpw").values()
    assert made.path == tmp_path / "work/r/4.6bpw" / FILE
    read = read_plan(made.path)
    assert read.modules == made.plan.modules
    assert read.target == {"target_bpw": 4.6}
    assert not read.edited
    assert read.bits_now <= 4.6
    assert read.bits_now == pytest.approx(read.bits_per_weight, abs=1e-3)
    text = made.path.read_text()
    assert plan("4.6bpw")["4.6bpw"].path.read_text() == text


def test_floors_are_kept(plan: Plan) -> None:
    (made,) = plan("4.2bpw").values()
    assert made.plan.modules["model.embed_tokens"].bits >= 4


def test_a_target_that_floors_forbid_names_the_least_that_can_be(plan: Plan) -> None:
    with pytest.raises(BadInput, match=r"2\.7 bits per weight cannot be reached.* this model has 2\.905") as error:
        plan({"target_bpw": 2.7})
    assert error.value.key == "variants[0].target_bpw"
    assert error.value.place.line
    least = float(error.value.remedy.split("target_bpw: ")[1].split(" ")[0])
    assert plan({"target_bpw": least})


def test_the_three_aims_are_ordered_and_within_their_words(plan: Plan) -> None:
    made = plan(auto=True)
    assert list(made) == ["near-identical", "balanced", "smallest"]
    sizes = [own.plan.weight_bytes for own in made.values()]
    assert sizes == sorted(sizes, reverse=True)
    klds = [own.plan.predicted_kld for own in made.values()]
    assert klds == sorted(klds)
    assert klds[0] <= NEAR_IDENTICAL < klds[1] <= LIMITS["balanced"] < klds[2] < CLOSE
    assert [closeness(kld).word for kld in klds] == ["near-identical", "very close", "close"]


def test_a_pinned_plan_is_followed_byte_for_byte_and_nothing_is_measured(
    plan: Plan, engine: Engine, tmp_path: Path
) -> None:
    made = plan("4.6bpw")["4.6bpw"]
    pinned = tmp_path / "plans/small.yaml"
    pinned.parent.mkdir()
    pinned.write_bytes(made.path.read_bytes())
    engine.jobs.clear()
    followed = plan({"plan": "plans/small.yaml"})["small"]
    assert engine.jobs == []
    assert followed.path.read_bytes() == pinned.read_bytes()
    assert followed.sha256 == made.sha256
    assert followed.calibration is None


def test_the_plan_that_was_reviewed_takes_the_place_of_a_measurement(
    plan: Plan, engine: Engine, tmp_path: Path
) -> None:
    made = plan("4.6bpw")["4.6bpw"]
    reviewed = tmp_path / "quantization-plan.yaml"
    reviewed.write_text(made.path.read_text() + "# reviewed\n")
    engine.jobs.clear()
    followed = plan("4.6bpw", plans={"4.6bpw": reviewed})["4.6bpw"]
    assert engine.jobs == []
    assert followed.path.read_text().endswith("# reviewed\n")
    assert followed.plan.modules == made.plan.modules


def edited(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "p.yaml").write_text(text)
    return {"plan": "p.yaml"}


def test_a_plan_of_another_model_is_refused_at_its_first_difference(plan: Plan, tmp_path: Path) -> None:
    text = plan("4.6bpw")["4.6bpw"].path.read_text()
    line = next(line for line in text.splitlines() if "layers.1.mlp.up_proj: {" in line)
    wrong = line.replace("weights: 8192", "weights: 16384")
    assert wrong != line
    with pytest.raises(BadInput, match="module has 8,192 weights, not 16,384") as error:
        plan(edited(tmp_path, text.replace(line, wrong)))
    number = text.splitlines().index(line) + 1
    assert (error.value.place.line, error.value.key) == (number, "modules.model.layers.1.mlp.up_proj.weights")
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.up_proj of the source is missing"):
        plan(edited(tmp_path, text.replace(f"{line}\n", "")))
    more = line.replace("layers.1", "layers.7")
    with pytest.raises(BadInput, match="the source has no such module"):
        plan(edited(tmp_path, text.replace(line, f"{line}\n{more}")))


def test_a_plan_edited_by_hand_keeps_its_importance_and_predicts_nothing(plan: Plan, tmp_path: Path) -> None:
    made = plan("4.6bpw")["4.6bpw"]
    line = next(line for line in made.path.read_text().splitlines() if "layers.1.mlp.up_proj: {" in line)
    bits = line.split("bits: ")[1].split(",")[0]
    wider = line.replace(f"bits: {bits}", "bits: 8").replace("group_size: 128", "group_size: 64")
    followed = plan(edited(tmp_path, made.path.read_text().replace(line, wider)))["p"]
    assert followed.plan.edited
    assert followed.plan.importance == made.plan.importance
    assert followed.plan.bits_now > made.plan.bits_now
    assert followed.facts("x", 1.0, 1).plan.edited


def test_evidence_sums_the_plan_up_by_kind(plan: Plan) -> None:
    made = plan("4.6bpw")["4.6bpw"]
    said = made.quantization()
    assert (said.method, said.deterministic) == ("plan", True)
    assert said.calibration is not None
    assert said.plan is not None
    assert (said.plan.target, said.plan.file) == ("4.6 bits per weight", "quantization-plan.yaml")
    assert [group.kind for group in said.plan.groups] == ["embedding", "attention", "mlp"]
    assert [group.modules for group in said.plan.groups] == [1, 8, 6]
    whole = sum(group.weights for group in said.plan.groups)
    assert whole == sum(module.weights for module in made.plan.modules.values())
    assert sum(group.predicted_kld for group in said.plan.groups) == pytest.approx(made.plan.predicted_kld, rel=1e-4)


def test_a_change_of_the_plan_or_of_the_text_is_an_input_of_the_conversion(plan: Plan, tmp_path: Path) -> None:
    text = plan("4.6bpw")["4.6bpw"].path.read_text()
    context: Context = plan.context  # type: ignore[attr-defined]
    assert set(plan_inputs(context, context.variants[0])) == {"calibration"}
    plan(edited(tmp_path, text), "4bit")
    context = plan.context  # type: ignore[attr-defined]
    before = plan_inputs(context, context.variants[0])
    assert set(before) == {"plan"}
    assert plan_inputs(context, context.variants[1]) == {}
    (tmp_path / "p.yaml").write_text(f"{text}# another\n")
    assert plan_inputs(context, context.variants[0]) != before


LLAMA_3B = {
    "model_type": "llama", "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 8192, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(("fits", "context"), [("8GB", 8192), ("8GB", 2048), ("16GB", 65536)])
def test_what_fits_a_mac_of_8_gb_needs_hardly_less(
    plan: Plan, engine: Engine, monkeypatch: pytest.MonkeyPatch, fits: str, context: int
) -> None:
    engine.answer = made_up(layers=28, hidden=3072, wide=8192, vocab=128256, kv=1024)
    config = ModelConfig(LLAMA_3B)
    monkeypatch.setattr(reach, "metadata_of", lambda _: SimpleNamespace(config=config, language_tensors=()))
    made = next(iter(plan({"fits": fits, "context": context}).values()))
    cache = cache_of(config)
    assert cache is not None
    cached = cache.bytes_at(context)
    assert cached == 28 * 2 * 8 * 128 * 2 * context
    needed, limit = need(made.plan.weight_bytes, cached), usable(int(fits[:-2]) << 30)
    assert 0.97 * limit <= needed <= limit
    assert made.plan.need_bytes == needed
    assert all(module.bits >= module.floor for module in made.plan.modules.values())
    assert f"{fits[:-2]} GB at {context:,} tokens" == made.plan.target_words


def test_what_never_fits_is_told_with_what_it_needs(plan: Plan, engine: Engine) -> None:
    engine.answer = made_up(layers=80, hidden=8192, wide=28672, vocab=128256, kv=1024)
    with pytest.raises(BadInput, match=r"16 GB at 8,192 tokens cannot be reached: this model needs at least") as error:
        plan({"fits": "16GB"})
    assert error.value.key == "variants[0].fits"
    assert "fits: 32GB" in error.value.remedy


def test_a_mac_that_no_plan_fits_is_told_before_anything_is_measured(
    plan: Plan, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = [TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (1 << 18, 1 << 18), 1 << 37)]
    known = SimpleNamespace(config=ModelConfig(LLAMA_3B), language_tensors=tensors)
    monkeypatch.setattr(reach, "metadata_of", lambda _: known)
    with pytest.raises(
        BadInput, match=r"this model needs at least 23\.3 GB, and a Mac with 16 GB lets its GPU use 11\.5"
    ):
        plan({"fits": "16GB"})
    monkeypatch.setattr(known, "config", ModelConfig({"model_type": "mamba2", "num_hidden_layers": 2}))
    with pytest.raises(BadInput, match="the size of this model's cache is not known") as error:
        plan({"fits": "16GB"})
    assert error.value.key == "variants[0].fits"
    assert engine.jobs == []
