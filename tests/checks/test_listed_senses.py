"""Evidence of a model that sees cannot leave out the checks of what it sees by leaving out what they are about."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish import __version__
from mlx_publish.checks.ids import BY_STAGE, JUDGED
from mlx_publish.checks.listed import wrong_list
from mlx_publish.evidence.evidence import Evidence
from samples_that_see import make_hearing, make_seeing

OF_SENSES = {
    "towers": ("twin-pictures", "towers-kept", "claims-kept", "pixels-equal", "processor-files"),
    "smoke": ("picture-slots", "picture-answers", "picture-seen"),
    "fidelity": ("pictures-compared", "pictures-finite", "pictures-kld", "pictures-first-choice", "pictures-effect"),
}


def listing(found: dict[str, Any], *without: str) -> dict[str, Any]:
    """Let evidence list all checks of this version but some."""
    found["generator"] = __version__
    found["checks"] = [
        {"stage": stage, "id": name, "status": "pass", "message": "", "accepted": None}
        for stage in JUDGED
        for name in (*BY_STAGE[stage], *(["room"] if stage == "inspect" else []))
        if name not in without
    ]
    return found


def faults(found: dict[str, Any]) -> str:
    return "; ".join(map(str, wrong_list(Evidence.of(found))))


def test_evidence_of_a_model_that_sees_is_whole_with_its_checks() -> None:
    assert not faults(listing(make_seeing()))


@pytest.mark.parametrize("what", OF_SENSES)
def test_without_the_keys_that_they_are_about_its_checks_are_missed(what: str) -> None:
    found = make_seeing()
    forgotten: dict[str, Any] = {
        "towers": lambda: found["model"].pop("towers"),
        "smoke": lambda: found["smoke"].pop("pictures"),
        "fidelity": lambda: found["fidelity"].pop("pictures"),
    }
    forgotten[what]()
    for name in OF_SENSES[what]:
        assert f": {name}" in faults(listing(found, name))


def test_media_without_an_answer_spare_no_check_of_pictures() -> None:
    found = make_seeing()
    found["smoke"]["pictures"] |= {"answers": [], "moved": {}, "untested": {"images": "no time"}}
    assert "picture-answers, picture-seen" in faults(listing(found, "picture-answers", "picture-seen"))


def test_a_model_that_hears_alone_has_no_checks_of_pictures() -> None:
    found = make_hearing()
    found["model"]["towers"] = [tower for tower in found["model"]["towers"] if tower["sense"] == "audio"]
    found["smoke"]["pictures"]["answers"] = [
        answer for answer in found["smoke"]["pictures"]["answers"] if answer["file"].endswith(".wav")
    ]
    del found["fidelity"]["pictures"], found["benchmark"]["picture"]
    none = ("pixels-equal", "picture-answers", "picture-seen", "picture-speed", *OF_SENSES["fidelity"])
    assert not faults(listing(found, *none))
