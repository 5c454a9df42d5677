"""Goals and good plans over the built-in file and text actions."""

from agentic_workflows.agents.planning_prompt import Example

FILE_EXAMPLES = (
    Example(
        goal="Which files in archive mention Lisbon? Write the list to found.txt, replacing it if it is there.",
        steps=[
            {
                "name": "search",
                "action": "search_files",
                "inputs": {"text": "Lisbon", "folder": "archive"},
                "outputs": ["matches"],
            },
            {
                "name": "save",
                "action": "write_file",
                "inputs": {"path": "found.txt", "text": "${matches}", "overwrite": True},
                "outputs": ["saved"],
            },
        ],
    ),
    Example(
        goal="How many words does report.txt have? Add the number to log.txt.",
        steps=[
            {"name": "read", "action": "read_file", "inputs": {"path": "report.txt"}, "outputs": ["report"]},
            {"name": "count", "action": "word_count", "inputs": {"text": "${report}"}, "outputs": ["words"]},
            {
                "name": "add",
                "action": "append_file",
                "inputs": {"path": "log.txt", "text": "report.txt has ${words} words.\n"},
                "outputs": ["added"],
            },
        ],
    ),
    Example(
        goal="Summarize every text file in letters and save the summaries to short/letters.md.",
        steps=[
            {
                "name": "list",
                "action": "list_files",
                "inputs": {"folder": "letters", "pattern": "*.txt"},
                "outputs": ["paths"],
            },
            {
                "name": "read",
                "foreach": "${paths}",
                "action": "read_file",
                "inputs": {"path": "${item}"},
                "outputs": ["letters"],
            },
            {
                "name": "summarize",
                "foreach": "${letters}",
                "action": "summarize",
                "inputs": {"text": "${item}"},
                "outputs": ["summaries"],
            },
            {
                "name": "save",
                "action": "write_file",
                "inputs": {"path": "short/letters.md", "text": "${summaries}"},
                "outputs": ["saved"],
            },
        ],
    ),
    Example(
        goal="Find the invoice number in invoices/may.txt and write a friendly reminder with it to reminder.txt.",
        steps=[
            {"name": "read", "action": "read_file", "inputs": {"path": "invoices/may.txt"}, "outputs": ["invoice"]},
            {
                "name": "find",
                "action": "extract",
                "inputs": {"text": "${invoice}", "what": "the invoice number"},
                "outputs": ["number"],
            },
            {
                "name": "write",
                "action": "write_text",
                "inputs": {"instruction": "Write a friendly payment reminder for this invoice.", "text": "${number}"},
                "outputs": ["reminder"],
            },
            {
                "name": "save",
                "action": "write_file",
                "inputs": {"path": "reminder.txt", "text": "${reminder}"},
                "outputs": ["saved"],
            },
        ],
    ),
    Example(
        goal="Delete old.log.",
        steps=[{"name": "delete", "action": "delete_file", "inputs": {"path": "old.log"}, "outputs": []}],
    ),
)
