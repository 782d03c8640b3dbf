"""Every page of the guide does what it says, and what it lists is complete."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from flowstream.processing.app import App
from flowstream.processing.declarations.ported import SAME
from flowstream.processing.environment.settings import Settings
from tests.docs.pages import GUIDE, Reader, agree, blocks

PAGES = sorted(path.name for path in GUIDE.glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    Reader(tmp_path).follow(GUIDE / name)


def test_links_lead_somewhere() -> None:
    for name in PAGES:
        text = (GUIDE / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (GUIDE / target).exists(), f"{name}: {target}"


def test_the_index_names_every_page() -> None:
    index = (GUIDE / "README.md").read_text(encoding="utf-8")
    assert [name for name in PAGES if name != "README.md" and f"({name})" not in index] == []


def test_the_comparison_can_fail() -> None:
    assert agree(["a ... c", "..."], ["a b c", "d", "e"])
    assert agree(["..."], [])
    assert not agree(["a"], ["a", "b"])
    assert not agree(["a", "b"], ["a"])
    assert not agree(["b", "..."], ["a"])


def test_every_block_has_a_language() -> None:
    for name in PAGES:
        assert all(block.language for block in blocks(GUIDE / name)), name


def test_the_table_of_settings_is_the_dataclass() -> None:
    text = (GUIDE / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*?) ?\| (yes|no) \| .+ \|$", text, re.MULTILINE)
    shown = {name: (default, unit, given) for name, default, unit, given in rows}
    known = {*inspect.signature(App).parameters, *SAME}
    assert shown.keys() == {each.name for each in fields(Settings)}
    for each in fields(Settings):
        default, unit, given = shown[each.name]
        assert default == repr(each.default), each.name
        assert (unit == "seconds") is (each.type == "float"), each.name
        assert (given == "yes") is (each.name in known), each.name
