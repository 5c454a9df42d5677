"""Imports point one way, and importing the package costs nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import agentic_workflows

ROOT = Path(__file__).parents[2]
SOURCE = Path(agentic_workflows.__file__).parent
HEIGHTS = {
    "errors": 0, "collector": 0, "under_way": 0, "visible": 0, "graph": 1, "policies": 2, "journal": 3, "actions": 3,
    "agents": 4, "execution": 4, "nodes": 5, "graph.build": 6, "runs": 7, "workflow": 8, "testing": 8,
    "graph.studio": 9, "notebook": 9, "cli": 10, "__main__": 11,
}  # fmt: skip
"""What stands higher may import what stands lower."""
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "__init__.py"
}


def layer(module: str) -> str:
    return module if module in HEIGHTS else module.split(".", maxsplit=1)[0]


def imported(tree: ast.AST, *, lazily: bool) -> Iterator[str]:
    """Yield our own modules that a module imports, but for those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazily:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agentic_workflows."):
            module = (node.module or "").removeprefix("agentic_workflows.")
            deeper = [f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in MODULES]
            yield from deeper or [module]
        elif isinstance(node, ast.Import):
            ours = (alias.name for alias in node.names if alias.name.startswith("agentic_workflows."))
            yield from (name.removeprefix("agentic_workflows.") for name in ours)
        yield from imported(node, lazily=lazily)


def imports_of(module: str, *, lazily: bool) -> list[str]:
    return list(imported(ast.parse(MODULES[module].read_text(encoding="utf-8")), lazily=lazily))


@pytest.mark.parametrize("module", list(MODULES))
def test_no_module_imports_upward(module: str) -> None:
    assert layer(module) in HEIGHTS, f"Say where {module} stands."
    mine = layer(module)
    upward = [
        other
        for other in imports_of(module, lazily=True)
        if layer(other) != mine and HEIGHTS[layer(other)] >= HEIGHTS[mine]
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imports_of(module, lazily=False) for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize("module", list(MODULES))
def test_our_modules_are_imported_by_their_full_name(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").split(".")[0] not in {"graph", "nodes", "policies"}


@pytest.mark.parametrize("package", ["graph", "nodes", "policies"])
def test_the_three_packages_export_nothing(package: str) -> None:
    tree = ast.parse((SOURCE / package / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr, ast.If]


def python(program: str, *, folder: Path = ROOT) -> str:
    run = [sys.executable, "-c", program]
    return subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("module", ["graph", "graph.state", "nodes.plan", "policies.decision"])
def test_a_second_name_for_a_module_is_refused(module: str) -> None:
    said = python(f"try:\n    import {module}\nexcept ImportError as error:\n    print(error)")
    name = module.split(".", maxsplit=1)[0]
    assert said == f"Import agentic_workflows.{name}, not {name}: two names for one file are two types."


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    said = python(
        "import sys; before = set(sys.modules); import agentic_workflows\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))",
        folder=tmp_path,
    )
    assert said == "['agentic_workflows']"


@pytest.mark.parametrize("name", ["WorkflowStep", "Plan", "approve", "WorkflowState", "Limits", "PlanError"])
def test_a_plain_value_comes_without_langgraph(name: str, tmp_path: Path) -> None:
    heavy = "{'langgraph', 'langchain_core', 'pydantic', 'cedarpy', 'sqlalchemy', 'openai', 'jsonschema_rs'}"
    said = python(
        f"import sys; from agentic_workflows import {name}; print({heavy} & set(sys.modules))", folder=tmp_path
    )
    assert said == "set()"


def test_a_workflow_without_langchain_tools_does_not_import_them(tmp_path: Path) -> None:
    said = python(
        "import sys; from agentic_workflows import AgenticWorkflow, ScriptedAgent\n"
        "AgenticWorkflow(ScriptedAgent([]), actions=[])\n"
        "print('langchain_core.tools' in sys.modules)",
        folder=tmp_path,
    )
    assert said == "False"


def test_an_import_does_not_wake_the_collector_over_and_over(tmp_path: Path) -> None:
    said = python(
        "import gc; seen = []; gc.callbacks.append(lambda phase, info: seen.append(phase))\n"
        "frozen = gc.get_freeze_count()\n"  # an interpreter may freeze things of its own
        "from agentic_workflows import Action, AgenticWorkflow, ScriptedAgent\n"
        "young = sum(len(gc.get_objects(generation=each)) for each in (0, 1))\n"
        "print(seen.count('start') < 10, young < 10_000 or frozen > 0, gc.isenabled())",
        folder=tmp_path,
    )
    assert said == "True True True"


def test_what_somebody_froze_stays_frozen_at_an_import(tmp_path: Path) -> None:
    said = python(
        "import gc; gc.freeze(); from agentic_workflows import AgenticWorkflow; print(gc.get_freeze_count() > 0)",
        folder=tmp_path,
    )
    assert said == "True"


def test_a_collector_that_is_off_stays_off_at_an_import(tmp_path: Path) -> None:
    said = python("import gc; gc.disable(); from agentic_workflows import Plan; print(gc.isenabled())", folder=tmp_path)
    assert said == "False"
