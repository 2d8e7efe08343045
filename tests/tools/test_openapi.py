"""The HTTP service keeps to its own description, whatever is asked that fits it or does not (schemathesis)."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import untrained

from gedanken.tools.guard import Guard
from gedanken.tools.runs import Runs
from gedanken.tools.service import service

TOKEN = {"Authorization": "Bearer a-token-that-is-long-enough"}
RUNS = Runs(untrained, waiting=1000, limit=2.0)
APP = Guard(service(RUNS), TOKEN["Authorization"].split()[1])

schema = schemathesis.openapi.from_asgi("/openapi.json", APP, headers=TOKEN).exclude(path="/runs/{id}/events")
schema.config.generation.update(allow_extra_parameters=False, with_security_parameters=False)


@pytest.fixture(scope="module", autouse=True)
def awake() -> Iterator[None]:
    with RUNS:
        RUNS.wake()
        yield


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@schema.parametrize()
@settings(max_examples=15)
def test_it_answers_as_it_is_described(case: schemathesis.Case) -> None:
    meaning = positive_data_acceptance  # words and plans may fit the description and yet mean nothing here
    case.call_and_validate(headers=TOKEN, excluded_checks=[meaning])
