"""Mended tokenizers in transformers 4.57, in an environment of their own: they load there, with the source's ids.

Each fault is shown without the repair too, so that a repair that is missing, or needed no longer, is seen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from mlx_publish.children import private_folder
from mlx_publish.engine.tokenizing import probe_texts, tokenizer
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.portable import portable, transformers4_classes
from mlx_publish.model.select import is_tokenizer
from models import make_model
from tiny_tokenizer import CHATML, SPECIAL, write_json

pytestmark = pytest.mark.slow

# Without sentencepiece, as most who run a converted model have it.
PACKAGES = ("transformers==4.57.6", "tokenizers==0.22.2", "jinja2>=3.1", "protobuf>=5")
TEXTS = [*probe_texts().values(), *SPECIAL, *(f"a{token} b" for token in SPECIAL)]
Config = dict[str, Any]
Edit = Callable[[Config, Path], None]


def edit_fast(folder: Path, **keys: Any) -> None:
    path = folder / "tokenizer.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **keys})


def backend(config: Config, _: Path) -> None:
    config["tokenizer_class"] = "TokenizersBackend"


def extra_list(config: Config, _: Path) -> None:
    config["extra_special_tokens"] = config.pop("additional_special_tokens")


def extra_null(config: Config, _: Path) -> None:
    config["extra_special_tokens"] = None


def extra_list_of_the_map(config: Config, folder: Path) -> None:
    # The map is read only where the config has no decoder.
    del config["added_tokens_decoder"]
    names = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    write_json(folder / "special_tokens_map.json", {"extra_special_tokens": list(SPECIAL[1:]), **names})


def prefix_space(config: Config, _: Path) -> None:
    config.update(tokenizer_class="LlamaTokenizer", add_prefix_space=True)


def no_prefix_space(config: Config, _: Path) -> None:
    config.update(tokenizer_class="LlamaTokenizer", add_prefix_space=False)


def sentencepiece(config: Config, folder: Path, scheme: str) -> None:
    """A tokenizer as llama 2 has it: pieces with ▁ for a space, and bytes for what it does not know."""
    pieces = ["<unk>", *SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz", "▁t"]
    vocab = {piece: id_ for id_, piece in enumerate(pieces)}
    made = Tokenizer(BPE(vocab=vocab, merges=[("▁", "t")], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in ("<unk>", *SPECIAL)])
    made.save(str(folder / "tokenizer.json"))
    del config["added_tokens_decoder"]
    config.update(tokenizer_class="LlamaTokenizer", add_prefix_space=scheme == "first", unk_token="<unk>", legacy=False)


def llama_with_prefix(config: Config, folder: Path) -> None:
    sentencepiece(config, folder, "first")


def llama_without_prefix(config: Config, folder: Path) -> None:
    """From which the flag alone must not go: transformers 5 would add the space."""
    sentencepiece(config, folder, "never")


def prefix_space_of_the_config(config: Config, _: Path) -> None:
    config["add_prefix_space"] = True


def prefix_space_of_the_json(_: Config, folder: Path) -> None:
    edit_fast(folder, pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True})


def local_file(config: Config, _: Path) -> None:
    config["tokenizer_file"] = "/home/me/tokenizer.json"


def unknown_class(config: Config, _: Path) -> None:
    config["tokenizer_class"] = "OwnTokenizer"


def own_code(config: Config, _: Path) -> None:
    config.update(tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["own.OwnTokenizer", None]})


def as_transformers_5_writes_it(config: Config, folder: Path) -> None:
    """All that a conversion by mlx-lm leaves in the file."""
    backend(config, folder)
    extra_list(config, folder)
    del config["added_tokens_decoder"], config["chat_template"]
    config.update(is_local=True, local_files_only=False, backend="tokenizers", add_prefix_space=False)
    (folder / "special_tokens_map.json").unlink()
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")


FAULTS: tuple[Edit, ...] = (
    backend,
    extra_list,
    extra_null,
    extra_list_of_the_map,
    prefix_space,
    no_prefix_space,
    llama_with_prefix,
    llama_without_prefix,
    prefix_space_of_the_config,
    prefix_space_of_the_json,
    local_file,
    unknown_class,
    own_code,
    as_transformers_5_writes_it,
)


def named_tokens(config: Config, _: Path) -> None:
    config["extra_special_tokens"] = {"image_token": "<|im_start|>"}


def local_flags(config: Config, _: Path) -> None:
    config.update(is_local=True, local_files_only=True, backend="tokenizers", name_or_path="/x")


def harmless(_: Config, __: Path) -> None:
    pass


HARMLESS: tuple[Edit, ...] = (harmless, named_tokens, local_flags)


@pytest.fixture(scope="session")
def python4() -> Path:
    """The Python of an environment with transformers 4, made once in the cache."""
    cache = Path(os.environ.get("MLX_PUBLISH_CACHE") or Path(tempfile.gettempdir()) / "mlx-publish-tests")
    name = f"transformers-{PACKAGES[0].rpartition('=')[2]}-{sys.version_info.major}.{sys.version_info.minor}"
    private_folder.make(cache)
    with FileLock(cache / f"{name}.lock"):
        if not private_folder.is_ready(cache / name, deep=False):
            make_environment(cache / name)
    return cache / name / "bin" / "python"


def make_environment(folder: Path) -> None:
    private_folder.make_empty(folder)
    if uv := shutil.which("uv"):
        run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], UV_SYSTEM_CERTS="1")
        install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    else:
        run([sys.executable, "-m", "venv", str(folder)])
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*install, *PACKAGES], UV_SYSTEM_CERTS="1")
    (folder / ".complete").touch()


def run(command: list[str], **env: str) -> str:
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, Path]]:
    """For each case the folder as it is and the mended one."""
    base = make_model(tmp_path_factory.mktemp("tokenizers") / "base")
    (base / "model.safetensors").unlink()
    made = {}
    for edit in (*FAULTS, *HARMLESS):
        before = shutil.copytree(base, base.parent / edit.__name__)
        config = json.loads((before / "tokenizer_config.json").read_text(encoding="utf-8"))
        edit(config, before)
        write_json(before / "tokenizer_config.json", config)
        made[edit.__name__] = (before, mend(before, base.parent / f"{edit.__name__}-mended"))
    return made


def mend(source: Path, to: Path, *, plain: bool = False) -> Path:
    shutil.copytree(source, to)
    files = {path: (to / path).read_bytes() for path in FolderFiles(to).entries if is_tokenizer(path)}
    for path, data in portable(files, plain=plain).files.items():
        (to / path).write_bytes(data)
    return to


@pytest.fixture(scope="session")
def answers(
    python4: Path, folders: Mapping[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What transformers 4 says of all folders, asked once."""
    texts = tmp_path_factory.mktemp("texts") / "texts.json"
    write_json(texts, TEXTS)
    script = Path(__file__).with_name("load_with_transformers4.py")
    paths = [str(path) for pair in folders.values() for path in pair]
    environment = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "HF_HOME": str(texts.parent)}
    data: dict[str, Any] = json.loads(run([str(python4), str(script), str(texts), *paths], **environment))
    assert data["version"].startswith("4.57.")
    return data


def ids_of(source: Path) -> list[list[int]]:
    """By the tokenizers library alone, from the source's tokenizer.json."""
    raw = Tokenizer.from_file(str(source / "tokenizer.json"))
    return [list(raw.encode(text, add_special_tokens=False).ids) for text in TEXTS]


@pytest.mark.parametrize("name", [edit.__name__ for edit in FAULTS])
def test_without_the_repair_it_fails_or_differs(
    answers: dict[str, Any], folders: Mapping[str, tuple[Path, Path]], name: str
) -> None:
    before, _ = folders[name]
    answer = answers["folders"][str(before)]
    assert "error" in answer or answer["ids"] != ids_of(before)


@pytest.mark.parametrize("name", [edit.__name__ for edit in (*FAULTS, *HARMLESS)])
def test_mended_it_loads_in_4_with_the_ids_of_the_source(
    answers: dict[str, Any], folders: Mapping[str, tuple[Path, Path]], name: str
) -> None:
    before, after = folders[name]
    answer = answers["folders"][str(after)]
    assert "error" not in answer
    assert answer["ids"] == ids_of(before)
    assert answer["template"] == CHATML
    assert set(SPECIAL) <= set(answer["special"])


@pytest.mark.parametrize("name", [edit.__name__ for edit in (*FAULTS, *HARMLESS)])
def test_mended_it_loads_in_5_with_the_ids_of_the_source(folders: Mapping[str, tuple[Path, Path]], name: str) -> None:
    before, after = folders[name]
    made = tokenizer(str(after), None, str(before), 320, lambda _: None)
    assert (made.error, made.different, made.warnings) == (None, 0, [])


@pytest.mark.parametrize("name", [edit.__name__ for edit in HARMLESS])
def test_what_needs_no_repair_loads_without_one(
    answers: dict[str, Any], folders: Mapping[str, tuple[Path, Path]], name: str
) -> None:
    before, _ = folders[name]
    assert answers["folders"][str(before)]["ids"] == ids_of(before)


def test_the_list_of_classes_is_that_of_transformers_4(answers: dict[str, Any]) -> None:
    assert set(answers["classes"]) == transformers4_classes()


def test_the_flag_alone_would_change_ids_in_5(folders: Mapping[str, tuple[Path, Path]], tmp_path: Path) -> None:
    before, _ = folders["llama_without_prefix"]
    folder = shutil.copytree(before, tmp_path / "made")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["add_prefix_space"]
    write_json(folder / "tokenizer_config.json", config)
    plain = mend(folder, tmp_path / "plain", plain=True)
    # Ids differ, so the plain class takes its place.
    assert tokenizer(str(folder), str(plain), str(before), 320, lambda _: None).plain is True
