"""Every notebook runs from its first cell to its last, and the outputs in the file are those of such a run."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNEL = "this-python"

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a copy of what notebooks use, and a kernel that is this interpreter, whatever others are installed."""
    kernel = tmp_path / "jupyter" / "kernels" / KERNEL
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": KERNEL, "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("AGENTIC_NOTEBOOK_MODEL", raising=False)
    for folder in ("notebooks", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


async def executed(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, kernel_name=KERNEL, resources={"metadata": {"path": str(path.parent)}}
    )
    return await client.async_execute()


def outputs(notebook: Any) -> list[list[str]]:
    """Return what each code cell says, without what differs from run to run: ids, times, and which step ends first."""
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    texts = ("\n".join(map(text_of, cell.outputs)) for cell in code)
    differs = r"(?<=\(review )\w+|(?<=Answer by )[-\d: ]+(?= UTC)"
    return [sorted(re.sub(differs, "...", text).splitlines()) for text in texts]


def text_of(output: Any) -> str:
    return output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]


@every_notebook
async def test_notebook_runs_and_gives_the_outputs_in_its_file(path: Path, project: Path) -> None:
    notebook = await executed(project / "notebooks" / path.name)
    assert outputs(notebook) == outputs(nbformat.read(path, as_version=4))


@every_notebook
def test_notebook_says_nothing_of_the_machine_that_ran_it(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [cell.metadata for cell in notebook.cells] == [{}] * len(notebook.cells)
    assert sorted(notebook.metadata) == ["kernelspec", "language_info"]
    assert notebook.metadata.language_info == {"name": "python"}
    assert re.search(r"(?<![\w.])/(tmp|home|root|work|Users|var|private)/", path.read_text(encoding="utf-8")) is None
