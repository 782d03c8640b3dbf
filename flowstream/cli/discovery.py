"""Finding the app that a command line means: `module`, `module:name`, or a file's path.

Imports user code; knows nothing of workers.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from flowstream.errors import FlowstreamError
from flowstream.processing.app import App


class NoApp(FlowstreamError):
    """The module cannot be imported or holds no app; the message says what to write."""


class AppFailed(FlowstreamError):
    """The module raised while it was imported, `__cause__` says what."""


def find_app(target: str) -> App:
    """The app of `module[:name]`, or of `path/to/module.py[:name]`. Without a name: `app`, or the
    only App in the module.
    """
    look_in(Path.cwd())
    module_name, _, name = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        module_name = _module_at(module_name)
    module = _import(module_name)
    if name:
        return _named(module, name)
    if isinstance(getattr(module, "app", None), App):
        return _named(module, "app")
    found = {id(value): key for key, value in vars(module).items() if isinstance(value, App)}
    if len(found) == 1:
        return _named(module, next(iter(found.values())))
    if not found:
        raise NoApp(
            f"no app found in module {module_name!r}: it needs a line like"
            " `app = flowstream.App('my-app')`"
        )
    names = ", ".join(sorted(found.values()))
    raise NoApp(f"module {module_name!r} has several apps ({names}): say {module_name}:NAME")


def look_in(directory: Path) -> None:
    """Import modules from there, too."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _module_at(path: str) -> str:
    """The name of the module at a path, as Python finds it from the current directory. A file that
    is not below that is a module of its own directory's.
    """
    asked = Path(path)
    file = Path.cwd() / (asked if asked.suffix == ".py" else asked.with_name(f"{asked.name}.py"))
    package = file.with_suffix("")
    if not (file.is_file() or (package / "__init__.py").is_file()):
        raise NoApp(
            f"there is no file {file}: name the module with the app, as in"
            " `flowstream worker -A package.module`, or its file"
        )
    found = package.resolve()
    if found.is_relative_to(Path.cwd()):
        return ".".join(found.relative_to(Path.cwd()).parts)
    look_in(found.parent)
    return found.name


def _named(module: ModuleType, name: str) -> App:
    if not hasattr(module, name):
        raise NoApp(f"module {module.__name__!r} has no {name!r}")
    value = getattr(module, name)
    if not isinstance(value, App):
        raise NoApp(f"{module.__name__}:{name} is not a flowstream App")
    return value


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module that was asked for: a missing import inside it is the user's to see.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise NoApp(
                f"there is no module {name!r} (looked in {Path.cwd()} and the Python path):"
                f" {_meant(name, error)}"
            ) from None
        raise _failed(name, error) from error
    except FlowstreamError:
        raise
    except Exception as error:
        raise _failed(name, error) from error


def _meant(name: str, error: ModuleNotFoundError) -> str:
    """What to write instead. As soon as Python has a module that is no package, what is behind the
    dot can only be the app's name in it.
    """
    module, dot, attribute = name.rpartition(".")
    if dot and "is not a package" in str(error):
        return f"{module!r} is a module, not a package: write `-A {module}:{attribute}`"
    return "name it as `-A package.module` or `-A package.module:app`"


def _failed(name: str, error: Exception) -> AppFailed:
    return AppFailed(f"module {name!r} cannot be imported: {type(error).__name__}: {error}")
