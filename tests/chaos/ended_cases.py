"""Cases of the storm, ended in one way or another, without a storm."""

from __future__ import annotations

from typing import cast

from temporalio.client import Client

from marketplace.catalogue import catalogue
from marketplace.chaos.cases import Case
from marketplace.scenarios import Ending, scenarios


def a_case(how: str) -> Case:
    scenario = next(each for each in scenarios(catalogue()) if each.kind == "plain")
    case = Case(scenario, cast("Client", None), scenario.workflow_id, run_id="first", how=how)
    if how == Ending.COMPLETED:
        case.products = tuple(line.product_id for line in scenario.request.lines)
    return case
