"""Runs in an environment with transformers 4: load folders and say which ids their tokenizers give.

`python load_with_transformers4.py TEXTS.json FOLDER...` prints an object: for each folder its `ids` and chat template,
or the `error`; for `classes` the names of tokenizer classes that this transformers finds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import transformers  # noqa: TID251  it runs on its own
from transformers.models.auto import tokenization_auto as auto  # noqa: TID251


def load(folder: str, texts: list[str]) -> dict[str, Any]:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "class": type(tokenizer).__name__,
        "ids": [tokenizer.encode(text, add_special_tokens=False) for text in texts],
        "template": tokenizer.chat_template,
        "special": tokenizer.all_special_tokens,
    }


def classes() -> list[str]:
    names = {name for pair in auto.TOKENIZER_MAPPING_NAMES.values() for name in pair if name}
    names |= {name for name in dir(transformers) if "Tokenizer" in name} - {"AutoTokenizer", "PreTrainedTokenizerBase"}
    return sorted(name for name in names if auto.tokenizer_class_from_name(name) is not None)


if __name__ == "__main__":
    probes = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {folder: load(folder, probes) for folder in sys.argv[2:]}
    sys.stdout.write(json.dumps({"version": transformers.__version__, "classes": classes(), "folders": found}))
