"""Numbers as readers of cards expect them."""

from __future__ import annotations

import pytest

from mlx_publish.text.numbers import count, memory, percent, significant, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 kB"),
        (512, "0.5 kB"),
        (999_900, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (75_700_000, "75.7 MB"),
        (100_000_000, "100 MB"),
        (4_560_000_000, "4.6 GB"),
        (123_400_000_000, "123 GB"),
        (1.5e12, "1.5 TB"),
    ],
)
def test_size(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(("value", "text"), [(16 << 30, "16 GiB"), ((64 << 30) - 9999, "64 GiB")])
def test_memory(value: float, text: str) -> None:
    assert memory(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_100_000_000, "1.1B"), (134_515_008, "135M"), (1_000_000, "1M"), (4_500, "4k"), (70.6e9, "70.6B")],
)
def test_count(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(("share", "text"), [(1, "100.0 %"), (0.91024, "91.0 %"), (0, "0.0 %")])
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.04512, 3, "0.0451"),
        (0.0031, 1, "0.003"),
        (12.345, 4, "12.35"),
        (101.25, 3, "101"),
        (99.95, 3, "100.0"),
        (2000.0, 3, "2,000"),
        (123456.7, 3, "123,457"),
        (0, 3, "0"),
        (0.0, 1, "0"),
        (1e-7, 3, "0"),
        (-1e-9, 1, "0"),
        (0.00001234, 3, "0.0000123"),
        (1.0, 3, "1.00"),
        (-0.5, 2, "-0.50"),
        (0.2561, 3, "0.256"),
    ],
)
def test_significant_digits_and_never_powers_of_ten(value: float, digits: int, text: str) -> None:
    assert significant(value, digits) == text
    assert "e" not in significant(value, digits)
