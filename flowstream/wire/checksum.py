"""CRC-32C, from the extension module of the `crc32c` package without the package around it.

The package asks for its own version when imported, which reads metadata through half of the email
library: 30 ms, more than the rest of the wire layer takes to start.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import cast

from flowstream.wire.primitives import Buffer

Checksum = Callable[[Buffer], int]


def _load() -> Checksum:
    package = find_spec("crc32c")
    places = None if package is None else package.submodule_search_locations
    spec = PathFinder.find_spec("crc32c._crc32c", places) if places else None
    if spec is None or spec.loader is None:
        from crc32c import crc32c as packaged

        return packaged
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Checksum, module.crc32c)


crc32c = _load()
"""CRC-32C of a buffer; reads it in place."""
