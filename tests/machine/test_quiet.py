"""When a machine is quiet enough to measure on it."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.machine.quiet import is_quiet, stays_slow
from mlx_publish.machine.snapshot import State


@pytest.mark.parametrize(
    ("state", "quiet"),
    [
        ({}, True),
        ({"other_cores": 0.5, "thermal": "nominal", "cpu_speed_limit": 100}, True),
        ({"other_cores": 0.6}, False),
        ({"thermal": "fair"}, False),
        ({"cpu_speed_limit": 80}, False),
    ],
)
def test_a_machine_is_quiet_unless_something_is_known_to_disturb_it(state: dict[str, Any], quiet: bool) -> None:
    assert is_quiet(State(**state)) is quiet


def test_only_a_setting_that_a_person_has_to_change_stays() -> None:
    assert stays_slow(State(low_power_mode=True))
    assert not stays_slow(State(thermal="serious", cpu_speed_limit=50, other_cores=8.0))
