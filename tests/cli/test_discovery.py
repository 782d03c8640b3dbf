"""Finding the app that a command line names."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstream.cli.discovery import AppFailed, NoApp, find_app

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module into the current folder; gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def module(body: str) -> str:
        name = f"module_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text("import flowstream as fs\n" + body)
        return name

    return module


def test_by_name_by_type_and_by_path(write: Write) -> None:
    assert find_app(write("app = fs.App('a')\nother = fs.App('b')\n")).id == "a"
    only = write("shop = fs.App('shop')\nsame = shop\n")
    assert find_app(only).id == "shop"
    assert find_app(f"{only}:shop").id == "shop"
    assert find_app(f"{only}.py").id == "shop"
    assert find_app(f"./{only}").id == "shop"
    assert find_app(f"./{only}.py:same").id == "shop"


def test_by_a_path_from_elsewhere(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write("app = fs.App('a')\n")
    (tmp_path / "inner").mkdir()
    inside = f"{name}_inside"
    (tmp_path / "inner" / f"{inside}.py").write_text((tmp_path / f"{name}.py").read_text())
    assert find_app(f"inner/{inside}.py").id == "a"
    monkeypatch.chdir(tmp_path / "inner")
    assert find_app(f"../{name}.py").id == "a"
    assert find_app(str(tmp_path / name)).id == "a"


@pytest.mark.parametrize(
    ("body", "name", "message"),
    [
        ("", "", "no app found in module"),
        ("a = fs.App('a')\nb = fs.App('b')\n", "", r"several apps \(a, b\)"),
        ("app = 1\n", ":app", "is not a flowstream App"),
        ("app = fs.App('a')\n", ":nope", "has no 'nope'"),
    ],
)
def test_what_is_not_an_app_is_told(write: Write, body: str, name: str, message: str) -> None:
    with pytest.raises(NoApp, match=message):
        find_app(write(body) + name)


def test_a_missing_module_is_told_and_a_missing_import_inside_is_not_hidden(write: Write) -> None:
    with pytest.raises(NoApp, match="there is no module 'nowhere_at_all'"):
        find_app("nowhere_at_all")
    with pytest.raises(NoApp, match=r"there is no file .*/nowhere\.py: name the module"):
        find_app("./nowhere")
    with pytest.raises(AppFailed, match="ModuleNotFoundError: No module named 'not_installed'"):
        find_app(write("import not_installed\n"))


def test_a_dot_where_a_colon_belongs_is_told(write: Write) -> None:
    module = write("app = fs.App('a')\n")
    with pytest.raises(NoApp, match=rf"not a package: write `-A {module}:app`"):
        find_app(f"{module}.app")
