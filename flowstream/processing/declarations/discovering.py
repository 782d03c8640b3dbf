"""Importing the modules of packages, so that what they declare is there. Shell: runs user code."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable

from flowstream.processing.errors import AppError

Packages = Iterable[str] | Callable[[], Iterable[str]]


def wanted(autodiscover: bool | Packages, origin: str | None) -> list[str]:
    """The packages that an app's settings name."""
    if autodiscover is False:
        return []
    if autodiscover is True:
        if origin is None:
            raise AppError(
                "autodiscover=True imports the package that origin= names: App(..., origin='shop');"
                " or name packages, autodiscover=['shop.agents']"
            )
        return [origin]
    found = autodiscover() if callable(autodiscover) else autodiscover
    if isinstance(found, str):
        raise AppError(f"autodiscover takes a list of packages: autodiscover=[{found!r}]")
    return list(found)


def discover(packages: Iterable[str]) -> list[str]:
    """Import modules, and all modules below those that are packages; their names."""
    imported: list[str] = []
    for name in packages:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                raise AppError(f"there is no package {name!r} to discover agents in") from None
            raise
        imported.append(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            if not found.name.endswith(".__main__"):
                importlib.import_module(found.name)
                imported.append(found.name)
    return imported
