"""The threat model claims nothing that no test shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_claim_names_tests_that_exist() -> None:
    text = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
    claims = text.partition("## Claims\n")[2].partition("\n## ")[0].strip().split("\n\n")
    tests = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    known = {name for test in tests for name in re.findall(r"def (test_\w+)\(", test)}
    named = [re.findall(r"^`(test_\w+)`$", claim, re.MULTILINE) for claim in claims]
    assert [claim for claim, names in zip(claims, named, strict=True) if not names] == []
    assert sorted({name for names in named for name in names} - known) == []
