"""What the README tells a reader to do, and where it sends them, exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domain.checkout import CheckoutRequest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_example_input_is_a_valid_checkout() -> None:
    CheckoutRequest.model_validate_json((ROOT / "docs" / "checkout.json").read_bytes())


def test_the_steps_shown_are_those_of_the_checkout() -> None:
    shown = re.findall(r"saga\.execute\((\w+)\(\.\.\.\)\)", README)
    saga = (ROOT / "workflows" / "checkout.py").read_text(encoding="utf-8")

    assert shown
    assert [saga.index(f"{step}(") for step in shown] == sorted(saga.index(f"{step}(") for step in shown)
