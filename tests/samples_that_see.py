"""Evidence of models that see and hear, made by mlx-vlm: all measured on a Mac, with invented numbers."""

from __future__ import annotations

import copy
from typing import Any

from mlx_publish.chat.media import MOST_TOKENS, asked_in
from mlx_publish.chat.pictures import PICTURES, SIZE
from mlx_publish.chat.sounds import SOUNDS
from samples import length, make_evidence

_WRONG = {"words-other": "CANDLE HORSE"}


def answer(medium: Any, tokens: int) -> dict[str, Any]:
    """An answer that names what is asked, but for one that lacks a word."""
    words = ", ".join(medium.right).capitalize()
    said = _WRONG.get(medium.name, words)
    return {
        "name": medium.name,
        "file": medium.file_name,
        "shows": medium.shows,
        "question": medium.question,
        "answer": said,
        "right": medium.answered(said),
        "prompt_tokens": tokens + 31,
        "places": tokens,
        "source_answer": words,
        "source_right": True,
    }


def tower(name: str, sense: str, role: str, tensors: int, parameters: int) -> dict[str, Any]:
    """A part that is kept as the source has it."""
    sizes = {"tensors": tensors, "parameters": parameters, "bytes": 2 * parameters}
    return {"name": name, "sense": sense, "role": role, **sizes, "dtypes": ["bfloat16"], "bits": None}


def make_seeing(**changes: Any) -> dict[str, Any]:
    """What the card of a model that sees is made of; `changes` replace top keys."""
    found = copy.deepcopy(make_evidence())
    found["source"]["pipeline_tag"] = "image-text-to-text"
    found["tools"] = {"mlx": "0.32.4", "mlx-vlm": "0.7.10", "transformers": "5.24.0"}
    found["smoke"]["pictures"] = {
        "computed_in": "as stored",
        "answers": [answer(medium, 256) for medium in asked_in(PICTURES)],
        "moved": {
            contrast.name: {"made": 2.0 + number / 4, "source": 2.1 + number / 4, "alike": 0.99 - number / 50}
            for number, contrast in enumerate(PICTURES)
        },
        "picture_size": SIZE,
        "most_tokens": MOST_TOKENS,
    }
    found["fidelity"]["pictures"] = {
        "pictures": 6, "image_tokens": 1536, "positions": 384, "mean_kld": 0.0612, "mean_kld_error": 0.0041,
        "median_kld": 0.0231, "p99_kld": 0.51, "max_kld": 0.93, "same_first_choice": 0.927, "errors_by": "passage",
        "error_factor": 2.57, "image_positions": {"positions": 1024, "mean_kld": 0.07, "same_first_choice": 0.91},
        "effect": {"source": 0.412, "model": 0.398, "share": 0.964, "correlation": 0.981}, "inputs_sha256": "b" * 64,
    }  # fmt: skip
    found["benchmark"]["picture"] = {
        "width": SIZE, "height": SIZE, "image_tokens": 256, "with_picture": length(287, 0.8),
        "encode_s": {"median": 0.112, "lowest": 0.11, "highest": 0.115}, "text_alone": length(287, 1.0),
    }  # fmt: skip
    found["model"]["towers"] = [
        tower("vision_tower", "images", "encoder", 437, 93_161_216),
        tower("multi_modal_projector", "images", "projector", 2, 2_359_296),
    ]
    texts = [{"nmse": error, "mean_kld": 1e-12, "same_first_choice": 1.0} for error in (2e-13, 3.4e-12)]
    found["proof"] = {
        "against": "transformers",
        "class": "TinyForConditionalGeneration",
        "versions": {"torch": "2.13.0", "transformers": "5.24.0"},
        "mlx_lm": {"mlx": "0.32.4", "mlx-vlm": "0.7.10"},
        "texts": texts,
        "pictures": {"problem": "", "not_proven": "", "texts": [text | {"pictures": 1, "part": ""} for text in texts]},
    }
    found["sampling"] = {"temperature": 0.7, "repetition_penalty": 1.05}
    return found | changes


def make_hearing() -> dict[str, Any]:
    """A model that sees and hears, and takes video; it was shown and played what can be made, and thinks."""
    found = make_seeing()
    found["source"]["pipeline_tag"] = "any-to-any"
    media = found["smoke"]["pictures"]
    media["answers"] += [answer(medium, 75) for medium in asked_in(SOUNDS)]
    media["moved"] |= {contrast.name: {"made": 0.8, "source": 0.9, "alike": 0.97} for contrast in SOUNDS}
    media["untested"] = {"video": "videos are not drawn"}
    found["smoke"]["options"] = {"enable_thinking": True}
    found["model"]["towers"].append(tower("audio_tower", "audio", "encoder", 512, 304_000_000) | {"bits": 8})
    found["model"]["towers"][-1]["dtypes"] = ["uint32", "bfloat16"]
    return found


def make_blind() -> dict[str, Any]:
    """A model whose parts were kept, and that nothing was shown to, in a folder."""
    found = make_seeing(smoke=None, destination={"name": "Seer", "repo": None}, benchmark=None)
    found["missing"] = {"smoke": "", "benchmark": ""}
    del found["fidelity"]["pictures"]
    found["fidelity"]["pictures_not_measured"] = "its processor needs a package that is not there"
    found["proof"]["pictures"] = {
        "problem": "",
        "not_proven": "its processor takes no picture of 64 pixels",
        "texts": [],
    }
    return found
