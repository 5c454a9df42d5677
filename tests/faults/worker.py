"""The process that is killed: it runs one scene against a database, and reports how it ended.

Started as a program it is a fork server: it has imported everything, and forks a child for every line
`{"scene": ..., "folder": ..., ...}` of its input, so that a process costs milliseconds. It starts no thread and no
event loop of its own. It answers a line with the number of the child, and `{"wait": pid, "seconds": s}` with how that
ended.
"""

import asyncio
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

# LangGraph's is imported here so that no child has to.
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from agentic_workflows import AgenticWorkflow, Limits, ScriptedAgent, approve, build_graph, respond
from agentic_workflows.actions.action import Action, ActionCall, Found
from agentic_workflows.errors import WorkflowError
from agentic_workflows.graph.catalogue import Annotations
from agentic_workflows.graph.review import Answer
from agentic_workflows.journal.database import Database

try:
    import langgraph.checkpoint.postgres.aio  # noqa: F401
    import psycopg  # noqa: F401
except ImportError:  # the extra postgres is not installed, and no test that needs it runs
    pass

THREAD = "t"
MANY = Limits(max_iterations=500)


class World:
    """What effects change: a file of lines, and a folder of what is there at most once by its key."""

    def __init__(self, folder: Path, seconds: float = 0.0005) -> None:
        self._folder, self._seconds = folder, seconds
        self.lines = folder / "lines"

    def has(self, line: str) -> bool:
        """Tell whether an effect took place."""
        return self.lines.exists() and line in self.lines.read_text().splitlines()

    async def append(self, call: ActionCall) -> str:
        """Have the effect: one line, in one write."""
        line = str(call.inputs["line"])
        await asyncio.sleep(random.random() * self._seconds)  # noqa: S311
        note(self.lines, line)
        await asyncio.sleep(random.random() * self._seconds)  # noqa: S311
        return line

    async def find(self, call: ActionCall) -> Found | None:
        """Look whether the line is there."""
        line = str(call.inputs["line"])
        return Found(result=line) if self.has(line) else None

    async def put(self, call: ActionCall) -> str:
        """Have the effect under its idempotency key: a second time it changes nothing."""
        line = str(call.inputs["line"])
        kept = self._folder / "keys" / call.idempotency_key
        kept.parent.mkdir(exist_ok=True)
        if not kept.exists():
            kept.with_suffix(".new").write_text(line)
            kept.with_suffix(".new").rename(kept)
        await asyncio.sleep(random.random() * self._seconds)  # noqa: S311
        return line

    def actions(self) -> list[Action]:
        """Return the four kinds of action: found out, asked, called again, and read-only."""
        return [
            effect("found", self.append, reconcile=self.find),
            effect("told", self.append),
            effect("put", self.put, idempotent=True),
            effect("look", look, read_only=True),
        ]


def note(path: Path, line: str) -> None:
    """Append a line in one write."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def effect(
    name: str, run: Callable[[ActionCall], Awaitable[object]], *, reconcile: Any = None, **notes: bool
) -> Action:
    """Return an action that touches only its own line."""
    annotations = Annotations(**{"destructive": False, "open_world": False, "trusted": True, **notes})  # type: ignore[arg-type]
    return Action(name=name, run=run, reconcile=reconcile, annotations=annotations, resources=touched)


def touched(inputs: Mapping[str, Any]) -> list[str]:
    """Return the line that a call writes."""
    return [str(inputs.get("line", ""))]


async def look(call: ActionCall) -> object:
    """Change nothing."""
    return call.inputs.get("value", "")


def plan() -> dict[str, Any]:
    """Return 30 steps: a chain of 12, 14 branches of it, a list and its `foreach`, and two that join."""
    kinds = ["found", "told", "found", "put"]
    chain = [
        step(f"c{at}", kinds[at % 4], f"c{at}", f"${{c{at - 1}_out}}" if at else "begin", outputs=[f"c{at}_out"])
        for at in range(12)
    ]
    branches = [
        step(f"b{at}", kinds[at % 4], f"b{at}", f"${{c{at % 6}_out}}", outputs=[f"b{at}_out"]) for at in range(14)
    ]
    names = {"name": "names", "action": "look", "inputs": {"value": ["x", "y", "z", "ä"]}, "outputs": ["names"]}
    each = {"name": "each", "action": "found", "foreach": "${names}", "inputs": {"line": "e-${item}", "needs": "-"}}
    joins = [step("j0", "found", "j0", "${c11_out}${b13_out}"), step("j1", "told", "j1", "${c11_out}${b12_out}")]
    return {"goal": "g", "steps": [*chain, *branches, names, each, *joins]}


def step(name: str, action: str, line: str, needs: str, **fields: Any) -> dict[str, Any]:
    """Return a step that writes a line."""
    return {"name": name, "action": action, "inputs": {"line": line, "needs": needs}, **fields}


def opened(
    config: Mapping[str, Any],
    actions: list[Action],
    steps: Mapping[str, Any] | None = None,
    limits: Limits = MANY,
) -> AgenticWorkflow:
    """Return a workflow over the scene's database."""
    if "patience" in config:
        from agentic_workflows.journal import postgres, postgres_saver

        for module in (postgres, postgres_saver):
            vars(module)["BUSY_SECONDS"] = config["patience"]
    ahead = config.get("ahead", 0.0)
    lease = config.get("lease", 30.0)
    database = Database(config["database"], lease_seconds=lease, clock=lambda: time.time() + ahead)
    agent = NotedAgent(Path(config["folder"]), steps or plan())
    return AgenticWorkflow(agent, 500, actions=actions, database=database, limits=limits)


class NotedAgent(ScriptedAgent):
    """Plans the same each time, and notes that it was asked."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        super().__init__([dict(plan)] * 50)
        self._folder = folder

    async def create_plan(self, goal: str, history: Any) -> Any:
        """Note the call."""
        note(self._folder / "plans", goal)
        return await super().create_plan(goal, history)


async def finish(config: Mapping[str, Any]) -> dict[str, Any]:
    """Begin the run or continue it, and answer what it asks by what is in the world, until it ends."""
    world = World(Path(config["folder"]), config.get("seconds", 0.0005))
    workflow = opened(config, world.actions())
    known = {run["thread_id"]: run for run in await workflow.runs()}.get(THREAD)
    result = known or await workflow.run("g", thread_id=THREAD)
    if known and known["state"] not in ("COMPLETE", "FAILED"):
        result = await continued(workflow, known, world)
    while result["state"] == "REVIEWING":
        result = await continued(workflow, result, world)
    return {key: result[key] for key in ("state", "reason", "iterations")}


async def continued(workflow: AgenticWorkflow, result: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Resume, with an answer to each open question."""
    answers = [answer_to(question, world) for question in result["reviews"]]
    return await workflow.resume(answers or None, thread_id=THREAD)


def answer_to(question: Mapping[str, Any], world: World) -> Answer:
    """Say what happened, as a person would who looks: done, or to be done."""
    note(world.lines.with_name("questions"), f"{question['name']} {question['step']} {question['in_doubt']}")
    line = str(question["args"]["line"])
    if question["in_doubt"] and world.has(line):
        return respond(line, question["id"])
    return approve(question["id"])


REVIEWED = {
    "goal": "g",
    "steps": [
        step("before", "told", "before", "-", outputs=["before"]),
        step("sent", "told", "sent", "${before}", human_review_required=True),
        step("after", "found", "after", "-", after=["sent"]),
    ],
}


async def ask(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run until a person is asked."""
    workflow = opened(config, World(Path(config["folder"])).actions(), REVIEWED)
    result = await workflow.run("g", thread_id=THREAD)
    return {key: result[key] for key in ("state", "reviews")}


async def approve_it(config: Mapping[str, Any]) -> dict[str, Any]:
    """Approve the one question; a barrier makes many do so at the same time."""
    workflow = opened(config, World(Path(config["folder"])).actions(), REVIEWED)
    while time.time() < config.get("at", 0):
        await asyncio.sleep(0)
    result = await workflow.resume(approve(config.get("id")), thread_id=THREAD)
    return {key: result[key] for key in ("state", "reason")}


async def finish_reviewed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Continue the reviewed run without a further answer."""
    workflow = opened(config, World(Path(config["folder"])).actions(), REVIEWED)
    result = await workflow.resume(thread_id=THREAD)
    return {key: result[key] for key in ("state", "reason")}


async def die_after_answer(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the answer down, and be killed before anything else happens."""
    workflow = opened(config, World(Path(config["folder"])).actions(), REVIEWED)
    async with workflow._opened(THREAD) as run:
        await run.answer(approve(config.get("id")))
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def slow(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run a chain whose second step waits until a file is there."""
    folder = Path(config["folder"])
    world = World(folder)

    async def held(call: ActionCall) -> str:
        note(folder / "begun", str(call.inputs["line"]))
        while not (folder / "go").exists():
            await asyncio.sleep(0.005)
        return await world.append(call)

    def of(name: str) -> Action:
        return effect(name, held if name == "held" else world.append, reconcile=world.find)

    chain = [step("a", "quick", "a", "-", outputs=["a"]), step("b", "held", "b", "${a}", outputs=["b"])]
    steps = {"goal": "g", "steps": [*chain, step("c", "quick", "c", "${b}")]}
    workflow = opened(config, [of("quick"), of("held")], steps)
    if config.get("resume"):
        answer = respond(config["respond"]) if "respond" in config else None
        result = await workflow.resume(answer, thread_id=THREAD)
    else:
        result = await workflow.run("g", thread_id=THREAD)
    return {key: result[key] for key in ("state", "reason")}


async def timed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Begin or continue a chain of slow steps that together have more than their time; be killed at one of them."""
    world = World(Path(config["folder"]))

    async def slowly(call: ActionCall) -> str:
        if call.step.name == config.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.28)
        return await world.append(call)

    names = pairwise(f"c{at}" for at in range(-1, 6))
    chain = [step(name, "slowly", name, before, after=[before] * (name != "c0")) for before, name in names]
    actions = [effect("slowly", slowly, reconcile=world.find)]
    workflow = opened(config, actions, {"goal": "g", "steps": chain}, limits=Limits(max_seconds=1))
    is_begun = bool(await workflow.runs())
    result = await (workflow.resume(thread_id=THREAD) if is_begun else workflow.run("g", thread_id=THREAD))
    return {key: result[key] for key in ("state", "reason")}


async def full(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run while no file may grow beyond a size: to the database the disk is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (config["bytes"], resource.RLIM_INFINITY))
    return await finish(config)


def two_branches() -> dict[str, Any]:
    """Return two chains side by side, and a step that joins them; each step names the step whose output it needs."""
    kinds = ["found", "told", "look", "found", "told", "put"]
    chains = [
        step(f"{side}{at}", kind, f"{side}{at}", f"${{{side}{at - 1}}}" if at else "-", outputs=[f"{side}{at}"])
        for at, kind in enumerate(kinds)
        for side in "ab"
    ]
    return {"goal": "g", "steps": [*chains, step("j", "told", "j", "${a5} ${b5}", outputs=["j"])]}


async def branches(config: Mapping[str, Any]) -> dict[str, Any]:
    """Begin or continue two branches; each step notes what it was given, and gives its own name."""
    world = World(Path(config["folder"]), 0.004)

    def giving(action: Action) -> Action:
        async def run(call: ActionCall) -> object:
            note(world.lines.with_name("given"), f"{call.inputs['line']} <- {call.inputs['needs']}")
            await action.run(call)
            return call.inputs["line"]

        return replace(action, run=run)

    workflow = opened(config, [giving(one) for one in world.actions()], two_branches())
    result = {run["thread_id"]: run for run in await workflow.runs()}.get(THREAD)
    if result is None:
        result = await workflow.run("g", thread_id=THREAD)
    while result["state"] not in ("COMPLETE", "FAILED"):
        result = await continued(workflow, result, world)
    return {key: result[key] for key in ("state", "reason", "outputs")}


class Goal(TypedDict, total=False):
    goal: str
    status: str


class SlowSaver(AsyncSqliteSaver):
    """A saver that is far away: by the time that a checkpoint is kept, more has happened than its node."""

    async def aput(self, *given: Any, **more: Any) -> Any:
        """Keep it a little later."""
        await asyncio.sleep(0.1)
        return await super().aput(*given, **more)


def of_four(config: Mapping[str, Any], name: str = "") -> Any:
    """Return a graph of ours that has four effects one after the other; the process is killed after one of them."""
    world = World(Path(config["folder"]))

    async def append(call: ActionCall) -> str:
        line = await world.append(call)
        if line == config.get("dies_after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    kind = "told" if config.get("asks") else "found"
    acts = effect(kind, append, reconcile=None if config.get("asks") else world.find)
    four = (f"{name}{at}" for at in range(4))
    chain = [step(one, kind, one, "-", after=[f"{name}{at - 1}"] * (at > 0)) for at, one in enumerate(four)]
    agent = NotedAgent(Path(config["folder"]), {"goal": "g", "steps": chain})
    return build_graph(agent, actions=[acts], limits=MANY, database=Database(config["database"]))


async def inside(config: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a run inside another graph, or continue that from what it has kept."""
    builder = StateGraph(Goal)
    builder.add_node("agent", of_four(config))
    builder.add_edge(START, "agent")
    thread: Any = {"configurable": {"thread_id": THREAD}}
    async with SlowSaver.from_conn_string(str(Path(config["folder"]) / "outer.db")) as saver:
        graph = builder.compile(checkpointer=saver)
        is_known = (await graph.aget_state(thread)).created_at is not None
        ended = await graph.ainvoke(None if is_known else {"goal": "g"}, thread)
    asked = [one.value["action_requests"][0]["description"] for one in ended.get("__interrupt__", ())]
    return {"state": ended.get("status"), "asked": asked}


async def delegating(config: Mapping[str, Any]) -> dict[str, Any]:
    """Begin or continue a run whose actions or planner call graphs of ours."""

    async def delegate(call: ActionCall) -> str:
        ended = await of_four(config, str(call.inputs["line"])).ainvoke({"goal": "g"})
        return str(ended["status"])

    class Asking(NotedAgent):
        async def create_plan(self, goal: str, history: Any) -> Any:
            if config["by"] == "planner":
                await of_four(config, "p").ainvoke({"goal": goal})
            return await super().create_plan(goal, history)

        async def review_progress(self, *_: Any) -> str:
            if config["by"] == "review":
                await of_four(config, "r").ainvoke({"goal": "g"})
            return ""

    names = {"name": "names", "action": "look", "inputs": {"value": ["x", "y"]}, "outputs": ["names"]}
    each = {"name": "each", "action": "delegate", "foreach": "${names}", "inputs": {"line": "${item}", "needs": "-"}}
    steps = {"steps": [step("a", "delegate", "a", "-"), step("b", "delegate", "b", "-"), names, each]}
    notes = {config.get("annotation", "idempotent"): True}
    actions = [effect("delegate", delegate, **notes), effect("look", look, read_only=True)]
    planned = steps if config["by"] == "action" else {"steps": [step("l", "look", "l", "-")]}
    workflow = AgenticWorkflow(
        Asking(Path(config["folder"]), planned), 50, actions=actions, database=Database(config["database"])
    )
    is_begun = bool(await workflow.runs())
    result = await (workflow.resume(thread_id=THREAD) if is_begun else workflow.run("g", thread_id=THREAD))
    return {
        **{key: result[key] for key in ("state", "reason", "reviews")},
        "runs": sorted(await workflow.database.journal.threads()),
    }


_SCENES = (
    finish, ask, approve_it, finish_reviewed, die_after_answer, slow, timed, full, branches, inside, delegating,
)  # fmt: skip
SCENES = {one.__name__: one for one in _SCENES}


def play(config: Mapping[str, Any]) -> int:
    """Play a scene in this process, and leave its report behind."""
    random.seed(config.get("seed"))
    try:
        report = asyncio.run(SCENES[config["scene"]](config))
    except WorkflowError as error:
        report = {"error": type(error).__name__, "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - it goes into the report
        import traceback

        report = {"error": type(error).__name__, "message": traceback.format_exc()}
    if "report" in config:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        made = Path(config["report"])
        made.with_suffix(".new").write_text(json.dumps(report))
        made.with_suffix(".new").rename(made)
    return 0


def fork(config: Mapping[str, Any]) -> int:
    """Fork a process that plays a scene."""
    pid = os.fork()
    if pid:
        return pid
    os.close(0)
    os.dup2(2, 1)
    os._exit(play(config))


def wait(pid: int, seconds: float) -> int | None:
    """Return how a child ended; None where it still runs."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.001)


def serve() -> None:
    """Do what each line says, until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        answer = wait(order["wait"], order["seconds"]) if "wait" in order else fork(order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
