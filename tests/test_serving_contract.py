"""schemathesis makes requests of the OpenAPI document, fitting and not: none is answered by a 5xx."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from served import JPEG, Served, photographs, save_model
from sizes import sized

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = {
    ("post", "/predict"), ("get", "/v2"), ("get", "/v2/models/{name}"), ("get", "/v2/models/{name}/ready"),
    ("post", "/v2/models/{name}/infer"), ("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics"),
    ("get", "/glass/model"), ("get", "/glass/samples/{name}"), ("post", "/glass/images"), ("get", "/glass/playground"),
    *(("get", f"/glass/images/{{digest}}/{rest}") for rest in (
        "picture", "layers", "limit", "layers/{layer}", "maps/{layer}", "steps/{layer}", "softmax", "fields/{layer}",
        "attributions/{method}", "class-map", "effects/{layer}", "without", "scores", "importance",
        "parent/layers/{layer}", "parent/maps/{layer}", "parent/importance", "parent/removed/{layer}",
    )),
}  # fmt: skip
# Streams and what has tests of its own: test_serving_card, test_serving_known, test_serving_glass, test_explore; of
# trainings, which a request starts, test_serving_watch.
ELSEWHERE = {
    "/card", *(f"/glass/images/{{digest}}/{rest}" for rest in (
        "known", "walk", "attributions/{method}/stages", "preferences/{layer}", "without/stages",
    )),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("contract")
    with Served(folder, save_model(folder / "tiny.safetensors")) as server:
        yield server
        assert not server.lines("error")


@pytest.fixture(scope="module")
def document(server: Served) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


def test_the_document_names_every_route(document: schemathesis.BaseSchema) -> None:
    found = {(method, path) for path in document for method in document[path] if not path.startswith("/watch/")}
    assert {each for each in found if each[1] not in ELSEWHERE} == OPERATIONS


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_no_request_meets_a_mistake(
    server: Served, document: schemathesis.BaseSchema, method: str, path: str, known: bool
) -> None:
    """known  whether what the path names is there; else it is whatever schemathesis comes up with"""
    put = server.ask("POST", "/glass/images", photographs(1)[0], JPEG)
    names = {"name": "flower" if "samples" in path else "tiny", "digest": put.json["id"], "layer": "conv2_1"}
    operation = document[path][method]
    free = method == "get" or path == "/glass/images"  # a GET has nothing to get wrong, and a body may be any bytes
    modes = [GenerationMode.POSITIVE] if free else list(GenerationMode)
    for mode in modes:

        @settings(
            max_examples=sized(8, 30), deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
        )
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case[Any]) -> None:
            if known:
                case.path_parameters |= {name: names[name] for name in case.path_parameters if name in names}
            case.call_and_validate(checks=CHECKS, timeout=20)

        check()
