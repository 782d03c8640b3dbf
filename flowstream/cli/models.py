"""`flowstream models`: the types of an app's records."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from flowstream.cli.apps import Module, app_of
from flowstream.cli.options import Json, refusing, show
from flowstream.processing.app import App


def command(module: Module, json: Json = False) -> None:
    """List the models that an app's topics carry."""
    rows = [
        (name, ", ".join(sorted(topics)), told_of(kind))
        for name, (kind, topics) in sorted(models_in(module).items())
    ]
    show(("model", "topics", "help"), rows, as_json=json)


def told_of(kind: type[Any]) -> str | None:
    """The first line of a model's own docstring: what its base says tells nothing of it."""
    return inspect.cleandoc(vars(kind).get("__doc__") or "").partition("\n")[0] or None


def models_in(module: str) -> dict[str, tuple[type[Any], set[str]]]:
    """The models of the app in a module by name, each with the topics that carry it."""
    with refusing():
        return models_of(app_of(module, None, None))


def models_of(app: App) -> dict[str, tuple[type[Any], set[str]]]:
    """The models of an app by name, each with the topics that carry it."""
    found: dict[str, tuple[type[Any], set[str]]] = {}
    for topic in [*app.topics.values(), *app.patterns]:
        for kind in (topic.key_type, topic.value_type):
            if dict(fields_of(kind)):
                found.setdefault(kind.__name__, (kind, set()))[1].add(topic.name)
    return found


def fields_of(kind: Any) -> Iterator[tuple[str, tuple[str, object]]]:
    """(name, (type, default)) of each field of a model; nothing for what is none."""
    if hasattr(kind, "model_fields"):
        for name, field in kind.model_fields.items():
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield name, (inspect.formatannotation(field.annotation), default)
    elif hasattr(kind, "__struct_fields__") or hasattr(kind, "__dataclass_fields__"):
        for name, parameter in inspect.signature(kind).parameters.items():
            given = parameter.default
            default = None if given is parameter.empty else given
            yield name, (inspect.formatannotation(parameter.annotation), default)
