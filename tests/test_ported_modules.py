"""Modules by Faust's names: what apps import from them is there, and is ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flowstream as faust
from flowstream import codecs, types, web, windows
from flowstream.processing.events.schemas import Schema
from flowstream.serializers import codecs as serializers
from flowstream.serializers.codecs import Codec, get_codec
from flowstream.types import TP, AppT, Message, ModelT, StreamT, TopicT
from flowstream.web import Request, Response, View
from flowstream.windows import TumblingWindow


def test_types_are_the_classes() -> None:
    assert (AppT, StreamT, TopicT) == (faust.App, faust.Stream, faust.Topic)
    assert issubclass(ModelT, faust.Record)
    assert TP("orders", 1) == ("orders", 1)
    assert isinstance(faust.Event(None, None, (), 0.0, "topic", 0, 0).message, Message)
    assert [name for name in types.__all__ if not hasattr(types, name)] == []


def test_serializers_are_those_of_codecs() -> None:
    class Shout(Codec):
        def _dumps(self, value: str) -> bytes:
            return value.upper().encode()

    serializers.register("shout", Shout())
    assert codecs.dumps("shout", "a") == b"A"
    assert get_codec("shout") is codecs.get_codec("shout")
    assert faust.serializers.Schema is Schema
    assert sorted(serializers.__all__) == sorted(codecs.__all__)


def test_pages_have_their_types() -> None:
    view = View(faust.App("shop"))
    assert isinstance(view.json({"a": 1}), Response)
    assert Request({"type": "http", "path_params": {"a": "b"}}).match_info == {"a": "b"}
    assert View is faust.View
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        web.Nothing  # type: ignore[attr-defined]  # noqa: B018


def test_windows_are_those_of_the_package() -> None:
    assert windows.TumblingWindow is TumblingWindow is faust.TumblingWindow
    assert TumblingWindow(5).current(7) == windows.WindowRange(5.0, 10.0)


@pytest.mark.parametrize(
    "name",
    ["cli", "codecs", "exceptions", "models", "sensors", "serializers", "types", "web", "windows"],
)
def test_a_module_is_there_without_an_import_of_its_own(name: str) -> None:
    code = f"import flowstream as fs; print(fs.{name}.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"flowstream.{name}"
