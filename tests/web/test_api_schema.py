"""Every route with made-up requests, fitting the description and not: the answer is one that is described."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from servers import TOKEN, client_of, new_object, write_images

schemathesis = pytest.importorskip("schemathesis")
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
)  # fmt: skip
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
QUICK = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],
    "derandomize": True,
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory):
    """The description, with ids in it that are there: otherwise nothing but 404 would be met."""
    folder = write_images(tmp_path_factory.mktemp("described") / "photos")
    with client_of(folder) as client:
        made = new_object(client, label="a")
        known = {"image_id": made["image"], "object_id": made["id"]}
        described = client.app.openapi()
        for methods in described["paths"].values():
            for operation in methods.values():
                for each in operation.get("parameters", []):
                    if each["name"] in known:
                        each["schema"] = {"type": "string", "enum": [known[each["name"]], "nothing"]}
                    if each["name"] == "wait":
                        each["schema"]["maximum"] = 0.01
        client.app.openapi_schema = described
        yield schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=HEADERS)


def run_all(described, examples: int) -> None:
    chosen = [each for each in schemathesis.checks.CHECKS.get_all() if each.__name__ in CHECKS]
    assert len(chosen) == len(CHECKS)
    met = 0
    for found in described.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:

            @settings(max_examples=examples, **QUICK)
            @given(case=operation.as_strategy(generation_mode=mode))
            def answers_as_described(case) -> None:
                case.call_and_validate(headers=HEADERS, checks=chosen)

            try:
                answers_as_described()
            except Unsatisfiable:
                continue  # there is no wrong way to ask for it
            met += 1
    assert met >= 30


def test_every_route(described) -> None:
    run_all(described, 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_route_at_length(described) -> None:
    run_all(described, 200)
