"""From a folder to a folder, as a user does it: what is published, and what happens the second time."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import mlx_lm  # noqa: TID251 -- what the published folder is for
from ruamel.yaml import YAML

from conftest import Published
from models import ANSWER
from pipeline import STAGES, User, checks, digests, leftovers, read_json, reports, run_snippet

SCHEMA = Path(__file__).parents[1] / "scripts" / "mlx_publish" / "schemas" / "report.schema.json"
WEIGHTS = "model.safetensors"


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and which one it is."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


def unchanged(text: str) -> list[str]:
    return [stage for stage in STAGES if re.search(rf"\b{stage} Scripted · 4bit: unchanged", text)]


def flip(path: Path) -> None:
    """Change one bit of a file's last byte, and put its time back."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def hide(path: Path, cache: Path) -> None:
    """Make a changed file look as a bad disk leaves it: length, times and inode are those of its known digest."""
    known, stat = read_json(cache), path.stat()
    known[str(path)]["mark"] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    cache.write_text(json.dumps(known), encoding="utf-8")


def test_every_stage_passes_and_its_report_has_the_form_of_the_schema(published: Published) -> None:
    found = dict(reports(published.variant))
    assert list(found) == list(STAGES)
    schema = read_json(SCHEMA)
    for stage, report in found.items():
        jsonschema.validate(report, schema)
        assert (report["stage"], report["verdict"]) == (stage, "pass")
        assert not {check["id"] for check in report["checks"] if check["status"] == "fail"}


def test_the_published_folder_is_a_model(published: Published) -> None:
    model, tokenizer = mlx_lm.load(str(published.out))[:2]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    assert mlx_lm.generate(model, tokenizer, prompt, max_tokens=16) == ANSWER
    assert read_json(published.out / "config.json")["quantization"] == {"group_size": 64, "bits": 4, "mode": "affine"}


def test_nothing_but_the_model_is_published_and_its_side_files_are_the_sources(published: Published) -> None:
    out, source = digests(published.out), digests(published.source)
    assert out == digests(published.variant / "model")
    carried = {
        "LICENSE",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert set(out) == carried | {"README.md", "mlx-publish.json", "config.json", WEIGHTS, f"{WEIGHTS}.index.json"}
    assert {path: out[path] for path in carried} == {path: source[path] for path in carried}
    assert not leftovers(published.root)


def test_the_evidence_travels_and_names_the_bytes_beside_it(published: Published) -> None:
    text = (published.variant / "evidence.json").read_bytes()
    assert text == (published.out / "mlx-publish.json").read_bytes()
    evidence = read_json(published.out / "mlx-publish.json")
    named = {file["path"]: file["sha256"] for file in evidence["model"]["files"]}
    beside = digests(published.out)
    assert named == {path: beside[path] for path in beside.keys() - {"README.md", "mlx-publish.json"}}
    assert (evidence["smoke"]["exchange"]["answer"], evidence["smoke"]["exchange"]["stop"]) == (ANSWER, "stop")
    assert evidence["fidelity"]["same_first_choice"] == 1
    # Nobody knows beforehand whether the machine is quiet enough for a speed to be printed.
    assert evidence["missing"].keys() <= {"benchmark"}


def test_the_card_has_front_matter_numbers_and_the_answer(published: Published) -> None:
    _, matter, body = (published.out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert YAML(typ="safe").load(matter) == {
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "mlx",
        "pipeline_tag": "text-generation",
        "base_model": "acme/base",
        "base_model_relation": "quantized",
        "tags": ["mlx", "conversational", "4-bit"],
    }
    assert "| Bits per weight | 4.52 (affine, group size 64) |" in body
    assert re.search(r"^\|.*\b100\.0 (± 0\.0 )?%", body, re.MULTILINE), "the same first choice at all positions"
    assert ANSWER in body
    assert str(published.root) not in body
    assert not re.search(r"\d\.[^\d\n]*\|", body), "a number ends in its point"


def test_the_cards_code_runs(published: Published, user: User) -> None:
    assert ANSWER in run_snippet(published.out / "README.md", user)


def test_the_card_is_rendered_again_byte_for_byte(mine: Published, user: User) -> None:
    user.run("card", *mine.again())
    card = mine.variant / "model" / "README.md"
    before = card.read_bytes()
    card.unlink()
    user.run("card", *mine.again(), "--force")
    assert card.read_bytes() == before


def test_a_second_run_changes_nothing(mine: Published, user: User) -> None:
    user.run("publish", *mine.again())
    model, variant, out = marks(mine.variant / "model"), digests(mine.variant), digests(mine.out)
    ended = user.run("publish", *mine.again())
    # upload always looks again.
    assert unchanged(ended.text) == list(STAGES[:-1])
    assert marks(mine.variant / "model") == model
    assert digests(mine.variant) == variant
    assert digests(mine.out) == out


def test_other_notes_change_the_card_alone(mine: Published, user: User) -> None:
    user.run("publish", *mine.again())
    before, card = digests(mine.out), (mine.out / "README.md").read_text(encoding="utf-8")
    ended = user.run("publish", *mine.again(notes="Made on a *rainy* day."))
    assert unchanged(ended.text) == list(STAGES[:5])
    now = digests(mine.out)
    assert {path for path in now if now[path] != before.get(path)} <= {"README.md", "mlx-publish.json"}
    rendered = (mine.out / "README.md").read_text(encoding="utf-8")
    assert "## Notes\n\nMade on a *rainy* day.\n\n" in rendered
    assert rendered.replace("## Notes\n\nMade on a *rainy* day.\n\n", "") == card


def test_a_lost_model_is_converted_again_to_the_same_bytes(mine: Published, user: User) -> None:
    before = digests(mine.variant / "model")
    shutil.rmtree(mine.variant / "model")
    ended = user.run("upload", *mine.again())
    assert "convert" not in unchanged(ended.text)
    assert digests(mine.out).items() >= {path: before[path] for path in before.keys() - {"README.md"}}.items()


def test_a_changed_byte_is_noticed_and_mended(mine: Published, user: User) -> None:
    right = digests(mine.variant / "model")[WEIGHTS]
    flip(mine.variant / "model" / WEIGHTS)
    ended = user.run("upload", *mine.again())
    assert "convert" not in unchanged(ended.text)
    assert digests(mine.out)[WEIGHTS] == right


def test_a_changed_byte_that_hides_is_refused(mine: Published, user: User) -> None:
    user.run("card", *mine.again())  # the digests of this copy are known now
    flip(mine.variant / "model" / WEIGHTS)
    hide(mine.variant / "model" / WEIGHTS, mine.variant.parent / ".digests.json")
    ended = user.run("upload", *mine.again(), code=1)
    assert f"differ from the evidence: {WEIGHTS}" in ended.text
    assert not mine.out.exists()
    assert checks(mine.variant, "upload")["bytes-unchanged"] == "fail"
    user.run("convert", *mine.again(), "--force")
    user.run("upload", *mine.again())
    assert digests(mine.out)[WEIGHTS] == read_json(mine.variant / "evidence.json")["model"]["files"][3]["sha256"]


def test_an_edited_card_is_rendered_again_before_it_is_published(mine: Published, user: User) -> None:
    user.run("publish", *mine.again())
    before = digests(mine.out)
    with (mine.variant / "model" / "README.md").open("a") as card:
        card.write("The best model of all.\n")
    user.run("upload", *mine.again())
    assert digests(mine.out) == before


def test_a_stray_file_is_not_published(mine: Published, user: User) -> None:
    (mine.variant / "model" / ".env").write_text("SECRET=1")
    user.run("publish", *mine.again())
    assert ".env" not in digests(mine.out)


def test_a_folder_of_somebody_else_is_left_alone(mine: Published, user: User) -> None:
    mine.out.mkdir(parents=True)
    (mine.out / "thesis.txt").write_text("years of work")
    ended = user.run("upload", *mine.again(), code=1)
    assert "holds something that was not published from this source" in ended.text
    assert digests(mine.out).keys() == {"thesis.txt"}
    user.run("upload", *mine.again(adopt="true"))
    assert "README.md" in digests(mine.out)


def test_upload_needs_smoke_and_fidelity(mine: Published, user: User) -> None:
    for name in ("fidelity.json", "card.json"):
        (mine.variant / name).unlink()
    ended = user.run("upload", *mine.again(), code=1)
    assert "4bit has not passed fidelity" in ended.text
    assert not mine.out.exists()
