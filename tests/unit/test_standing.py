"""Where a step's sender stands, as a service is told."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.testing import ActivityEnvironment

from counteract.messages import Standing
from counteract.saga.converter import data_converter
from counteract.saga.interceptor import standing_in

to_payload = data_converter.payload_converter.to_payload


def told(header: Payload) -> Standing:
    environment = ActivityEnvironment()
    environment.payload_converter = data_converter.payload_converter
    said: Standing = environment.run(standing_in, header)
    return said


def test_a_sender_that_does_not_say_which_run_it_is_is_the_run_of_its_activity() -> None:
    info = ActivityEnvironment.default_info()

    said = told(to_payload({"epoch": 2}))

    assert said == Standing(namespace=str(info.workflow_namespace), epoch=2, who=str(info.workflow_run_id))


def test_a_sender_that_says_which_run_it_is_is_believed() -> None:
    other = Standing(namespace="elsewhere", epoch=2, who="another run")

    assert told(to_payload(other)) == other
