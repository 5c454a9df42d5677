"""What a trace shows of a run. Each run has a process of its own: LangSmith reads its environment once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROGRAM = Path(__file__).with_name("traced_run.py")
CONFIDENTIAL = "confidential-4711"
ON = {"LANGSMITH_TRACING": "true", "LANGSMITH_TRACING_MODE": "otel"}
MODEL = "GenericFakeChatModel"
DONE = {"status": "succeeded", "attempts": 1, "thread_id": "first"}
EXPECTED = [
    ("load", "OK", {"action": "load", **DONE}),
    ("try twice", "OK", {"action": "flaky", **DONE, "attempts": 2}),
    ("shout", "OK", {"action": "shout", **DONE, "attempts": 2}),
    ("shout", "OK", {"action": "shout", **DONE, "item": 0}),
    ("shout", "OK", {"action": "shout", **DONE, "item": 1}),
    ("sum up", "OK", {"action": "summarize", **DONE}),
    ("send", "OK", {"action": "send", "status": "asked", "attempts": 0, "thread_id": "first"}),
    ("send", "OK", {"action": "send", **DONE}),
    ("break", "ERROR", {"action": "break", "status": "failed", "attempts": 1, "thread_id": "second"}),
]


def traced(**environment: str) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OTEL_"))}
    command = [sys.executable, str(PROGRAM)]
    ended = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def spans() -> list[dict[str, Any]]:
    seen = traced(**ON)
    assert seen["contacted"] == []
    return sorted(seen["spans"], key=lambda span: span["start"])


def tree(spans: list[dict[str, Any]], parent: dict[str, Any]) -> Any:
    """Return a span's name, with those of its children below it."""
    below = [tree(spans, span) for span in spans if span["parent"] == parent["id"] and span["name"] != "route"]
    return (parent["name"], below) if below else parent["name"]


def roots(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == "agentic-workflow"]


def described(span: dict[str, Any]) -> dict[str, Any]:
    names = ("action", "status", "attempts", "item", "thread_id")
    found = {name: span["attributes"].get(f"langsmith.metadata.{name}") for name in names}
    return {name: value for name, value in found.items() if value is not None}


def test_run_is_one_trace_with_a_child_per_step_and_model_calls_below(spans: list[dict[str, Any]]) -> None:
    first, resumed, failed = (tree(spans, root) for root in roots(spans))

    assert first == (
        "agentic-workflow",
        [
            ("plan", [MODEL]),
            "validate",
            ("execute", ["load", "try twice", ("shout", ["shout", "shout"]), ("sum up", [MODEL]), "send"]),
            "validate",
            "review",
        ],
    )
    assert resumed == ("agentic-workflow", ["review", ("execute", ["send"]), "validate"])
    assert failed == ("agentic-workflow", [("plan", [MODEL]), "validate", ("execute", ["break"]), "validate"])
    assert len({span["trace"] for span in spans}) == len(roots(spans))


def test_step_says_action_status_attempts_item_and_thread(spans: list[dict[str, Any]]) -> None:
    steps = [(span["name"], span["status"], described(span)) for span in spans if "action" in described(span)]

    # Items run beside other steps: when one began in relation to those is nobody's promise.
    assert sorted((step for step in steps if step[0] != MODEL), key=str) == sorted(EXPECTED, key=str)


def test_model_call_says_its_tokens(spans: list[dict[str, Any]]) -> None:
    used = [span["attributes"]["langsmith.metadata.usage_metadata"] for span in spans if span["name"] == MODEL]

    assert used == ['{"input_tokens":3,"output_tokens":4,"total_tokens":7}'] * 3


def test_inputs_and_outputs_are_shown(spans: list[dict[str, Any]]) -> None:
    loaded, broken = (next(span for span in spans if span["name"] == name) for name in ("load", "break"))

    assert json.loads(loaded["attributes"]["gen_ai.completion"])["result"] == {"texts": [CONFIDENTIAL, "b"]}
    assert CONFIDENTIAL in json.loads(broken["attributes"]["gen_ai.completion"])["reason"]


def test_hidden_inputs_and_outputs_are_nowhere_in_a_trace() -> None:
    seen = traced(**ON, LANGSMITH_HIDE_INPUTS="true", LANGSMITH_HIDE_OUTPUTS="true")

    assert len(roots(seen["spans"])) == 3
    assert all(secret not in json.dumps(seen) for secret in (CONFIDENTIAL, CONFIDENTIAL.upper(), "Send a summary"))


def test_without_tracing_there_is_no_span_and_nobody_is_contacted() -> None:
    assert traced() == {"spans": [], "contacted": []}


def test_spans_go_to_a_collector_without_an_account_and_nowhere_else() -> None:
    with collector() as (port, received):
        seen = traced(**ON, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert set(seen["contacted"]) <= {"127.0.0.1", f"('127.0.0.1', {port})"}
    assert {path for path, _ in received} == {"/v1/traces"}
    names = {name for _, body in received for name in span_names(body)}
    assert {"agentic-workflow", "plan", "validate", "execute", "review", "load", "sum up", MODEL} <= names


@contextmanager
def collector() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """Take what is posted to a free port."""
    received: list[tuple[str, bytes]] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, received
        finally:
            server.shutdown()
            thread.join()


def span_names(body: bytes) -> list[str]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
