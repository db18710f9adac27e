"""The list of mutants keeps up with the engine that it changes."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import LIST, ROOT, Listing, Mutant, Stale
from tests.mutants.copies import PACKAGE

MUTANTS = Listing.read(LIST).mutants


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_mutant_changes_a_line_that_is_there_into_one_that_compiles(mutant: Mutant) -> None:
    changed = mutant.applied(ROOT / PACKAGE)

    if mutant.file.endswith(".py"):
        compile(changed, mutant.file, "exec")


def test_a_mutant_whose_line_is_gone_is_stale() -> None:
    gone = Mutant(id="gone", file="saga/flights.py", before="nothing like it", after="pass")

    with pytest.raises(Stale, match="has 0 lines"):
        gone.applied(ROOT / PACKAGE)
