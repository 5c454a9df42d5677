"""Goals and good plans over the built-in file and text actions; each shows what a small model gets wrong without."""

from collections.abc import Mapping

from agentic_workflows.agents.planning_prompt import Example
from agentic_workflows.graph.values import JsonValue

DEFAULT_GOAL = "Summarize notes/2026-10-02-incident-gull-rock.md and save the summary to summary.md."
"""What `make run` asks for, in `examples/workspace/`; the embedded model plans it right every time."""


def _step(
    name: str, action: str, inputs: Mapping[str, JsonValue], output: str | None = None, *, foreach: str | None = None
) -> Mapping[str, JsonValue]:
    step: dict[str, JsonValue] = {"name": name, "action": action, "inputs": dict(inputs)}
    step["outputs"] = [] if output is None else [output]
    return step if foreach is None else {**step, "foreach": foreach}


FILE_EXAMPLES = (
    Example(
        goal="Which files in the folder archive mention Lisbon? Replace found.txt with the matches.",
        steps=[
            _step("search", "search_files", {"text": "Lisbon", "folder": "archive"}, "matches"),
            _step("save", "write_file", {"path": "found.txt", "text": "${matches}", "overwrite": True}, "saved"),
        ],
    ),
    Example(
        goal="Summarize every text file in the folder letters and save the summaries to short/letters.md.",
        steps=[
            _step("list", "list_files", {"folder": "letters", "pattern": "*.txt"}, "paths"),
            _step("read", "read_file", {"path": "${item}"}, "letters", foreach="${paths}"),
            _step("summarize", "summarize", {"text": "${item}"}, "summaries", foreach="${letters}"),
            _step("save", "write_file", {"path": "short/letters.md", "text": "${summaries}"}, "saved"),
        ],
    ),
    Example(
        goal="Add up the prices in sales/may.csv and save the sum to sum.txt.",
        steps=[
            _step("sum", "sum_column", {"path": "sales/may.csv", "column": "price"}, "sum"),
            _step("save", "write_file", {"path": "sum.txt", "text": "${sum}"}, "saved"),
        ],
    ),
    Example(
        goal="Compose a birthday greeting for Tom and save it in greeting.txt.",
        steps=[
            _step("compose", "write_text", {"instruction": "Compose a birthday greeting for Tom."}, "greeting"),
            _step("save", "write_file", {"path": "greeting.txt", "text": "${greeting}"}, "saved"),
        ],
    ),
    Example(
        goal="Find the invoice number in invoices/june.md and append it to numbers.txt.",
        steps=[
            _step("read", "read_file", {"path": "invoices/june.md"}, "invoice"),
            _step("find", "extract", {"text": "${invoice}", "what": "the invoice number"}, "number"),
            _step("append", "append_file", {"path": "numbers.txt", "text": "${number}\n"}, "appended"),
        ],
    ),
    Example(
        goal="Turn offers.txt into a friendly letter in letter.md.",
        steps=[
            _step("read", "read_file", {"path": "offers.txt"}, "offers"),
            _step(
                "compose",
                "write_text",
                {"instruction": "Turn it into a friendly letter.", "text": "${offers}"},
                "letter",
            ),
            _step("save", "write_file", {"path": "letter.md", "text": "${letter}"}, "saved"),
        ],
    ),
    Example(
        goal="Summarize letters/harbour.md and save the summary to short.md.",
        steps=[
            _step("read", "read_file", {"path": "letters/harbour.md"}, "letter"),
            _step("summarize", "summarize", {"text": "${letter}"}, "summary"),
            _step("save", "write_file", {"path": "short.md", "text": "${summary}"}, "saved"),
        ],
    ),
    Example(
        goal="How many words does report.txt have?",
        steps=[
            _step("read", "read_file", {"path": "report.txt"}, "report"),
            _step("count", "word_count", {"text": "${report}"}, "words"),
        ],
    ),
)
