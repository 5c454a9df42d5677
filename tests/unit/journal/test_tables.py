"""What processes run is what the tables say."""

from pathlib import Path

import pytest

from agentic_workflows.journal import tables


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_the_compiled_statements_are_those_of_the_tables(name: str) -> None:
    file = Path(tables.__file__).with_name(f"{name}.json")
    assert file.read_text(encoding="utf-8") == tables.compiled(name)
