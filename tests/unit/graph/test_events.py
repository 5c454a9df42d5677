import json
from datetime import UTC, datetime
from typing import get_type_hints

import pytest

from agentic_workflows.graph import events
from agentic_workflows.graph.events import Event, StepStarted

SAMPLES = {str: "text", str | None: None, int: 1, int | None: 2, float: 1.5}


def sample(kind: type[Event]) -> Event:
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in {"at", "known"}}
    values = {name: SAMPLES.get(hint, [] if "list" in str(hint) else {}) for name, hint in hints.items()}
    return kind(**values, at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("kind", list(Event.known.values()), ids=list(Event.known))
def test_an_event_survives_json(kind: type[Event]) -> None:
    event = sample(kind)
    assert events.from_json(json.loads(json.dumps(event.to_json()))) == event


def test_an_event_says_its_name_and_time() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert StepStarted(step="s", action="a", item=None, at=at).to_json() == {
        "event": "StepStarted", "step": "s", "action": "a", "item": None, "at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip


def test_events_are_past_tense() -> None:
    irregular = {"StepAsked", "RunStarted"}
    assert all(name.endswith("ed") or name in irregular for name in Event.known)
