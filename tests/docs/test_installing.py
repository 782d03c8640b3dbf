"""How to install it is said so that it is this that gets installed."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

ANOTHER_PROJECT = re.compile(r"pip install (?:-\S+ )*[\"']?flowstream\b")


def test_X7_nobody_is_sent_to_the_project_that_has_its_name_on_pypi() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").iterdir()]
    told = [*pages, *(ROOT / "flowstream").rglob("*.py")]
    assert len(told) > 500
    wrong = [p for p in told if ANOTHER_PROJECT.search(p.read_text(encoding="utf-8"))]
    assert not wrong, f"these install another project: {wrong}"
