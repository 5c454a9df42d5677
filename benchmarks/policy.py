"""Print how long policy takes: `python benchmarks/policy.py`; with a number, of so many steps and rounds.

An organisation with 100 actions and 100 rules: the default ones, a refinement that vouches, and its own on single
actions, on groups and on all. A decision is timed from the step: provenance, request and context are made, and Cedar is
asked. Where the address is a new one each time, no memory helps, since rules read it; that is the figure to look at.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import perf_counter, process_time

from agentic_workflows.graph.catalogue import ActionSpec, Annotations, Catalogue
from agentic_workflows.graph.labels import Origin
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.values import JsonObject
from agentic_workflows.policies.decision import ActionRequest
from agentic_workflows.policies.engine import CedarEngine
from agentic_workflows.policies.files import load_policies
from agentic_workflows.policies.provenance import Provenance, provenance_of
from agentic_workflows.policies.report import examine

SIZE = 100
STEPS, ROUNDS = (int(sys.argv[1]),) * 2 if sys.argv[1:] else (1_000, 2_000)
BUILT_IN = ("default", "system_assigned")
TEXT: JsonObject = {"type": "string"}
TAKES: JsonObject = {
    "type": "object",
    "properties": {
        "address_id": TEXT,
        "folder": TEXT,
        "text": TEXT,
        "amount": {"type": "integer"},
        "tags": {"type": "array", "items": TEXT},
    },
    "required": ["address_id", "text"],
    "additionalProperties": False,
}
OUTER = Annotations(destructive=False, arguments={"text": "content"}, trusted_fields=("id",))
INNER = Annotations(read_only=True, open_world=False, arguments={"text": "content"}, trusted_fields=("id",))
ONE = """@id("{0}") @reason("Of act{0}.") forbid (principal, action == Action::"act{0}", resource)
when {{ context.inputs.address_id like "*@rival{0}.org" || context.count > {0}00 }} unless {{ context.approved }};"""
GROUP = """@id("{0}") @reason("Of a group.") forbid (principal, action in Action::"effect", resource)
when {{ context.inputs has amount && context.inputs.amount > {0}000 }} unless {{ context.approved }};"""
ALL = """@id("{0}") @reason("Of all.") forbid (principal, action, resource)
when {{ context.inputs has folder && context.inputs.folder like "*/secret{0}/*" }};"""
FOUND = WorkflowStep("find", "act1", {"address_id": "inbox", "text": ""}, ["o0"])
"""An inner action, whose ids the system assigns and whose texts anybody wrote."""


def catalogue() -> Catalogue:
    """Return the actions; every second one reaches outside."""
    names = [f"act{at}" for at in range(SIZE)]
    return {
        name: ActionSpec(name=name, input_schema=TAKES, annotations=INNER if at % 2 else OUTER)
        for at, name in enumerate(names)
    }


def engine_of(actions: Catalogue) -> CedarEngine:
    """Return an engine under as many rules: three of five own ones on one action, one on a group, one on all."""
    kinds = (ONE, ONE, ONE, GROUP, ALL)
    own = [kinds[at % len(kinds)].format(at) for at in range(SIZE - len(load_policies(BUILT_IN)))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "own.cedar"
        file.write_text("\n".join(own), encoding="utf-8")
        return CedarEngine(actions, [*BUILT_IN, file])


def cost(decide: Callable[[], str], expected: str) -> str:
    """Return the median wall and the mean CPU time of one decision, which must be the expected one."""
    walls: list[float] = []
    cpu = process_time()
    for _ in range(ROUNDS):
        began = perf_counter()
        name = decide()
        walls.append(perf_counter() - began)
        if name != expected:
            raise SystemExit(f"The decision is {name} and not {expected}.")
    return f"{statistics.median(walls) * 1_000:.2f} ms ({(process_time() - cpu) * 1_000 / ROUNDS:.2f} ms)"


def decision(actions: Catalogue, engine: CedarEngine, field: str, *, is_new: bool) -> Callable[[], str]:
    """Return what decides a call whose address comes from a field of what was found, a new one each time or not."""
    step = WorkflowStep("send", "act0", {"address_id": f"${{o0.{field}}}", "text": "${o0.text}", "amount": 7})
    plan = Plan("g", [FOUND, step])
    scope, before = {"o0": Origin(actions["act1"], frozenset())}, {FOUND.name: Provenance(())}
    spec, numbers = actions["act0"], count()

    def decide() -> str:
        inputs: JsonObject = {"address_id": f"a{next(numbers) if is_new else 0}@x.org", "text": "hello", "amount": 7}
        request = ActionRequest(action=spec, inputs=inputs, provenance=provenance_of(step, plan, scope, before))
        return engine.decide(request).name

    return decide


def long_plan() -> Plan:
    """Return a plan of many steps that derive from all before them; every third address is written in the plan."""
    steps = [FOUND]
    for at in range(1, STEPS):
        address = f"a{at}@x.org" if at % 3 == 0 else f"${{o{at - 1}.id}}"
        inputs: JsonObject = {"address_id": address, "text": f"Of ${{o{max(0, at - 2)}.text}}", "amount": at}
        if at % 10 == 0:
            inputs = {"address_id": f"a{at}@x.org", "text": "hello", "folder": f"/home/{at}"}
        steps.append(WorkflowStep(f"s{at}", f"act{at % SIZE}", inputs, [f"o{at}"]))
    return Plan("g", steps)


def row(figure: str, here: str, reach: str) -> None:
    """Print a row of the table."""
    print(f"| {figure} | {here} | {reach} |", flush=True)


def main() -> None:
    """Print the table."""
    print("| figure | here: wall (CPU) | to reach |\n| --- | --- | --- |")
    actions = catalogue()
    engine = engine_of(actions)
    for name, field, reach in (("Allow", "id", "< 0.6 ms"), ("Ask", "text", "< 1 ms")):
        for is_new in (True, False):
            address = "a new address each time" if is_new else "the same call again"
            here = cost(decision(actions, engine, field, is_new=is_new), name)
            row(f"{name}, {SIZE} rules, {SIZE} actions, {address}", here, reach)
    began, cpu = perf_counter(), process_time()
    report = examine(long_plan(), catalogue=actions, engine=engine_of(actions))
    shown = report.to_json()
    here = f"{perf_counter() - began:.2f} s ({process_time() - cpu:.2f} s)"
    if report.findings or len(report.decisions) != STEPS:
        raise SystemExit(f"The plan is refused: {shown['findings']}")
    row(f"static report of a plan of {STEPS:,} steps, engine built, as JSON", here, "< 2 s")


if __name__ == "__main__":
    main()
