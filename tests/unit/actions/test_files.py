from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_workflows.actions import files as module
from agentic_workflows.actions.action import Action, ActionCall
from agentic_workflows.actions.files import file_actions, touched
from agentic_workflows.actions.registry import make_registry
from agentic_workflows.actions.workspace import Workspace
from agentic_workflows.errors import ActionError, WorkspaceError
from agentic_workflows.graph.checks import static_findings
from agentic_workflows.graph.plan import Plan, WorkflowStep
from agentic_workflows.graph.schedule import Footprint, Schedule
from agentic_workflows.graph.values import JsonValue


class Caller:
    """Calls the actions on one workspace by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.actions = make_registry(file_actions(Workspace(root)))

    async def __call__(self, name: str, /, **inputs: JsonValue) -> Any:
        step = WorkflowStep("step", name, inputs)
        return await self.actions[name].run(ActionCall(action=name, inputs=inputs, step=step, run_id="run"))


@pytest.fixture
def call(tmp_path: Path) -> Caller:
    (tmp_path / "notes" / "old").mkdir(parents=True)
    (tmp_path / "todo.md").write_text("Call Ada\nwrite the report\n")
    (tmp_path / "notes" / "a.md").write_text("Ask ada  about ADA.\n")
    (tmp_path / "notes" / "old" / "b.txt").write_text("nothing")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG ada")
    (tmp_path / "costs.csv").write_text('day,item,amount\n1,"tea, green",2.10\n\n2,ink,0.20\n3,bag\n')
    return Caller(tmp_path)


async def test_files_are_read_written_moved_and_deleted(call: Caller) -> None:
    assert await call("write_file", path="new/c.md", text="one") == "new/c.md"
    assert await call("append_file", path="new/c.md", text=" two") == "new/c.md"
    assert await call("read_file", path="new/c.md") == "one two"
    assert await call("move_file", source="new/c.md", target="d.md") == "d.md"
    assert await call("delete_file", path="d.md") is None
    assert not (call.root / "d.md").exists()


@pytest.mark.parametrize(
    "name, inputs",
    [
        ("read_file", {"path": "./todo.md"}),
        ("write_file", {"path": "notes//a.md", "text": ""}),
        ("append_file", {"path": "notes/./a.md", "text": ""}),
        ("delete_file", {"path": "todo.md/"}),
        ("move_file", {"source": "todo.md", "target": "./done.md"}),
        ("list_files", {"folder": "notes/"}),
        ("search_files", {"folder": "./notes", "text": "ada"}),
        ("sum_column", {"path": "./costs.csv", "column": "amount"}),
    ],
)
def test_a_plan_names_a_place_in_one_way_only(call: Caller, name: str, inputs: Any) -> None:
    (finding,) = static_findings(Plan("g", [WorkflowStep("step", name, inputs)]), call.actions)
    assert finding.remedy.startswith("Write it relative to the workspace and in normal form, such as notes/a.md")


@given(path=st.text(alphabet="./aé \n", max_size=12))
def test_a_path_fits_the_schema_where_no_component_is_empty_or_a_dot(path: str) -> None:
    actions, is_normal = make_registry(file_actions(Workspace(Path()))), {"", "."}.isdisjoint(path.split("/"))
    assert actions["read_file"].input_validator.is_valid({"path": path}) is is_normal
    assert actions["list_files"].input_validator.is_valid({"folder": path}) is (is_normal or path == ".")


async def test_nothing_is_overwritten_unless_told(call: Caller) -> None:
    with pytest.raises(WorkspaceError, match="already exists"):
        await call("write_file", path="todo.md", text="gone")
    assert await call("write_file", path="todo.md", text="gone", overwrite=True) == "todo.md"


@pytest.mark.parametrize(
    "inputs, paths",
    [
        ({}, ["costs.csv", "logo.png", "notes/a.md", "notes/old/b.txt", "todo.md"]),
        ({"pattern": "*.md"}, ["notes/a.md", "todo.md"]),
        ({"pattern": "**/*.md"}, ["notes/a.md", "todo.md"]),
        ({"pattern": "./todo.md"}, ["todo.md"]),
        ({"pattern": "notes/*"}, ["notes/a.md", "notes/old/b.txt"]),
        ({"folder": "notes", "pattern": "?.md"}, ["notes/a.md"]),
        ({"pattern": "*.pdf"}, []),
    ],
)
async def test_files_are_listed_sorted_and_by_pattern(call: Caller, inputs: Any, paths: list[str]) -> None:
    assert await call("list_files", **inputs) == paths


async def test_search_finds_lines_whatever_their_case(call: Caller) -> None:
    assert await call("search_files", text="ADA") == [
        {"path": "notes/a.md", "line": 1, "text": "Ask ada  about ADA."},
        {"path": "todo.md", "line": 1, "text": "Call Ada"},
    ]
    assert await call("search_files", text="ada", folder="notes/old") == []


async def test_search_for_nothing_or_for_everything_is_refused(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ActionError, match="The text to search for is empty"):
        await call("search_files", text=" ")
    monkeypatch.setattr(module, "MAX_MATCHES", 1)
    with pytest.raises(ActionError, match="More than 1 lines contain 'ada'; search for a longer text"):
        await call("search_files", text="ada")


async def test_search_shows_the_beginning_of_a_long_line(call: Caller) -> None:
    (call.root / "long.md").write_text("zebra" + "x" * 1000)
    (found,) = await call("search_files", text="zebra")
    assert found["text"] == "zebra" + "x" * 495 + "..."


async def test_csv_gives_rows_by_column(call: Caller) -> None:
    assert await call("read_csv", path="costs.csv") == [
        {"day": "1", "item": "tea, green", "amount": "2.10"},
        {"day": "2", "item": "ink", "amount": "0.20"},
        {"day": "3", "item": "bag", "amount": ""},
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
async def test_csv_separator_is_that_of_the_header(call: Caller, separator: str) -> None:
    (call.root / "s.csv").write_text("\ufeff" + separator.join("ab") + "\r\n" + separator.join("12") + "\r\n")
    assert await call("read_csv", path="s.csv") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no CSV file with a header"),
        ("a,a\n1,2\n", "name each column once"),
        ("a,\n1,2\n", "name each column once"),
        ("a,b\n1,2,3\n", "line 2: 3 cells for 2 columns"),
        ('a,b\n1,"2', "line 2: this is no CSV"),
    ],
)
async def test_csv_that_is_none_is_refused(call: Caller, text: str, said: str) -> None:
    (call.root / "bad.csv").write_text(text)
    with pytest.raises(ActionError, match=f"'bad.csv'.*{said}"):
        await call("read_csv", path="bad.csv")


async def test_column_is_summed_exactly(call: Caller) -> None:
    assert await call("sum_column", path="costs.csv", column="amount") == 2.3
    total = await call("sum_column", path="costs.csv", column="day")
    assert (total, type(total)) == (6, int)


async def test_column_that_cannot_be_summed_is_refused(call: Caller) -> None:
    with pytest.raises(ActionError, match="has no column 'price'\\. Its columns: day, item, amount"):
        await call("sum_column", path="costs.csv", column="price")
    with pytest.raises(ActionError, match="line 2: 'tea, green' in 'item' is no plain number"):
        await call("sum_column", path="costs.csv", column="item")


async def test_words_are_counted(call: Caller) -> None:
    assert await call("word_count", text=" one  two\nthree ") == 3


def test_annotations_say_what_the_actions_do(tmp_path: Path) -> None:
    notes = {action.name: action.annotations for action in file_actions(Workspace(tmp_path))}
    assert not any(note.open_world for note in notes.values())
    reads_files = {"read_file", "list_files", "search_files", "read_csv", "sum_column"}
    assert {name for name, note in notes.items() if not note.trusted} == reads_files
    effects = {name for name, note in notes.items() if not note.read_only}
    assert effects == {"write_file", "append_file", "move_file", "delete_file"}
    assert {name for name in effects if notes[name].destructive} == {"move_file", "delete_file"}
    assert {name for name in effects if notes[name].is_retryable} == {"write_file"}
    assert {name for name, note in notes.items() if note.arguments.get("path", "target") != "target"} == set()


NAMES = st.sampled_from(["a", "b", "A", "c.md"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FOLDERS = PATHS | st.just(".")
TEXTS = st.sampled_from(["x", "y"])
CALLS = st.one_of(
    st.tuples(st.just("write_file"), st.fixed_dictionaries({"path": PATHS, "text": TEXTS, "overwrite": st.booleans()})),
    st.tuples(st.just("append_file"), st.fixed_dictionaries({"path": PATHS, "text": TEXTS})),
    st.tuples(st.just("delete_file"), st.fixed_dictionaries({"path": PATHS})),
    st.tuples(st.just("move_file"), st.fixed_dictionaries({"source": PATHS, "target": PATHS})),
    st.tuples(st.just("read_file"), st.fixed_dictionaries({"path": PATHS})),
    st.tuples(st.just("list_files"), st.fixed_dictionaries({}, optional={"folder": FOLDERS})),
    st.tuples(st.just("search_files"), st.fixed_dictionaries({"text": TEXTS}, optional={"folder": FOLDERS})),
)


def footprint(action: Action, inputs: Any) -> Footprint:
    assert action.resources is not None
    return Footprint(has_effect=action.has_effect, resources=frozenset(action.resources(inputs)))


def waits(one: Footprint, other: Footprint) -> bool:
    """Tell whether a call must not start while an earlier one runs."""
    touched = [one, other]
    schedule = Schedule([0, 1], {}, footprint=touched.__getitem__, worst=touched.__getitem__)
    return (schedule.take(), schedule.take()) == (0, None)


async def outcome(files: list[str], calls: list[tuple[int, tuple[str, Any]]]) -> Any:
    """Return what the calls give, by their numbers, and the files they leave."""
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        for path in files:
            try:
                workspace.write(path, "x")
            except WorkspaceError:  # a file is where its folder would be
                continue
        call, results = Caller(Path(folder)), {}
        for number, (name, inputs) in calls:
            try:
                results[number] = await call(name, **inputs)
            except ActionError as error:
                results[number] = str(error)
        return results, {path: workspace.read(path) for path in workspace.files()}


@settings(deadline=None)
@given(files=st.lists(PATHS, max_size=4), first=CALLS, second=CALLS)
async def test_calls_that_do_not_conflict_can_be_made_in_any_order(files: list[str], first: Any, second: Any) -> None:
    actions = {action.name: action for action in file_actions(Workspace(Path()))}
    if not waits(footprint(actions[first[0]], first[1]), footprint(actions[second[0]], second[1])):
        numbered = [(1, first), (2, second)]
        assert await outcome(files, numbered) == await outcome(files, numbered[::-1])


def on(path: str) -> Footprint:
    return Footprint(has_effect=True, resources=frozenset({touched(path)}))


@given(path=st.text(max_size=20), below=st.text(max_size=20))
def test_calls_on_paths_in_a_line_conflict(path: str, below: str) -> None:
    assert waits(on(path), on(f"{path}/{below}"))
    assert waits(on("."), on(path))
    assert waits(on(path), on(f"./{path}/"))
    assert waits(on(path), on(path.replace("/", "//")))


def test_calls_on_other_paths_do_not_conflict() -> None:
    assert not waits(on("notes/a.md"), on("notes/b.md"))
    assert not waits(on("notes/a.md"), on("notes/a.md.bak"))
    assert not waits(on("notes/a.md"), on("summary.md"))


async def test_csv_that_would_be_far_larger_than_its_text_is_refused(call: Caller) -> None:
    names = ",".join(f"c{at}" for at in range(3_000))
    (call.root / "wide.csv").write_text(names + "\n" + "1\n" * 1_000)
    for action in ({"name": "read_csv"}, {"name": "sum_column", "column": "c0"}):
        with pytest.raises(ActionError, match=r"'wide.csv' has more than 2,000,000 cells; use"):
            await call(action.pop("name"), path="wide.csv", **action)
