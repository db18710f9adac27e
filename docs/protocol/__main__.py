"""`make model`: checks every environment with all rules, then takes the rules away one by one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from multiprocessing import Pool
from typing import NamedTuple

from docs.protocol import catalogue, story
from docs.protocol.checker import Outcome, Search
from docs.protocol.rules import ALL, RULES, Rule, rule

MOST_WITHOUT = 80_000
"""States after which the search for a counterexample is given up: the declared ones are found well before."""


class Job(NamedTuple):
    """One search, in a process of its own."""

    environment: str
    without: str = ""


class Answer(NamedTuple):
    """What it came to."""

    job: Job
    outcome: Outcome
    seconds: float


def check(job: Job) -> Answer:
    began = time.monotonic()
    machine = catalogue.machine(job.environment, ALL - {job.without})
    most = MOST_WITHOUT if job.without else 1 << 31
    outcome = Search(machine, most=most).run()
    return Answer(job, outcome, time.monotonic() - began)


def told(answer: Answer) -> str:
    """The story of what was found."""
    found = answer.outcome.found
    return (
        "\n".join("      " + line for line in story.lines(found, catalogue.steps(answer.job.environment)))
        if found
        else ""
    )


def environments_hold(answers: Iterable[Answer]) -> bool:
    """Prints the table of the environments; whether every promise holds in each."""
    print(f"{'Environment':<24}{'States':>10}{'Seconds':>9}  Verdict")
    holds = True
    for answer in answers:
        found, name = answer.outcome.found, answer.job.environment
        verdict = f"BROKEN: {found.promise}" if found else f"holds: {catalogue.about(name)}"
        print(f"{name:<24}{answer.outcome.states:>10,}{answer.seconds:>9.1f}  {verdict}", flush=True)
        if found:
            holds = False
            print(told(answer))
    return holds


def rules_matter(answers: Iterable[Answer]) -> bool:
    """Prints the story of each rule that was taken away; whether each that is declared necessary has one."""
    matter = True
    for answer in answers:
        each, found = rule(answer.job.without), answer.outcome.found
        print(f"\nWithout {each.name} ({each.says}), in {answer.job.environment}:")
        if found:
            print(told(answer))
        elif each.second_line:
            print(f"      Every promise still holds. A second line of defence: {each.second_line}.")
        else:
            print("      NO COUNTEREXAMPLE, though the rule is declared necessary")
        matter = matter and bool(found or each.second_line)
        sys.stdout.flush()
    return matter


def _without(each: Rule, only: str | None) -> Job:
    return Job(only or each.shown_in, each.name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make model", description=__doc__)
    parser.add_argument("--only", choices=catalogue.NAMES, metavar="ENVIRONMENT", help="check this environment only")
    parser.add_argument("--rule", choices=sorted(ALL), metavar="RULE", help="take this rule away, and nothing else")
    parser.add_argument("--list", action="store_true", help="name the environments and the rules")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:<24}{catalogue.about(name)}" for name in catalogue.NAMES))
        print("\n".join(f"{each.name:<24}{each.says}" for each in RULES))
        return 0
    names = [options.only] if options.only else catalogue.NAMES
    rules = [rule(options.rule)] if options.rule else [] if options.only else RULES
    with Pool(2) as pool:
        holds = bool(options.rule) or environments_hold(pool.imap(check, [Job(name) for name in names]))
        matter = rules_matter(pool.imap(check, [_without(each, options.only) for each in rules]))
    return 0 if holds and matter else 1


if __name__ == "__main__":
    sys.exit(main())
