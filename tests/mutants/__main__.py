"""`python -m tests.mutants`: how many single-line changes to the engine does exploration notice?"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.mutants.catalogue import LIST, Listing
from tests.mutants.proposals import propose
from tests.mutants.runner import run_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", help="run these mutants only (a name may end in *)")
    parser.add_argument("--seconds", type=float, default=600.0, help="end a mutant that takes longer (default: 600)")
    parser.add_argument("--at-once", type=int, default=2, help="how many to run side by side (default: 2)")
    parser.add_argument("--quick", action="store_true", help="try no other faults than those that each begins with")
    parser.add_argument("--sample", type=int, help="run so many of them, evenly spread over the list")
    parser.add_argument("--propose", type=Path, metavar="FILE", help="print candidates for the list from this file")
    given = parser.parse_args()
    if given.propose:
        print(propose(given.propose))
        return 0
    listing = Listing.read(LIST).chosen(given.ids, given.sample)
    # Whoever asks for some by their names has seen the baseline, or will.
    baseline = not given.ids and not given.quick
    return asyncio.run(
        run_all(listing, seconds=given.seconds, at_once=given.at_once, quick=given.quick, baseline=baseline)
    )


if __name__ == "__main__":
    sys.exit(main())
