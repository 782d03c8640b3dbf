"""Reading a file of settings: TOML with Kafka's names, or Kafka's own `server.properties`.

From a file to names with their texts and lines; which names exist is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flowstream.broker.config import ConfigError
from flowstream.cli.broker_settings import Given

_WORD = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_ASSIGNMENT = re.compile(rf"\s*({_WORD}(?:\s*\.\s*{_WORD})*)\s*=")
_TABLE = re.compile(r"\s*\[([^\[\]]+)\]")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def read_config(path: Path) -> dict[str, Given]:
    """The settings of a file, by name. Raises ConfigError that names the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}; give --config a file that exists"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    if path.suffix == ".toml":
        return _toml(path, text)
    if path.suffix == ".properties":
        return _properties(path, text)
    raise ConfigError(
        f"--config {path}: the name must end with .toml or .properties, which says what is in it"
    )


def _toml(path: Path, text: str) -> dict[str, Given]:
    import tomllib  # start-up time counts: not every broker has such a file

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}; texts stand in quotes, and where the name of one"
            ' setting begins that of another, both stand in quotes: "max.connections" = 100'
        ) from error
    lines = _toml_lines(text)
    found = {}
    for name, value in _flattened(table):
        origin = f"{path}:{lines[name]}" if name in lines else str(path)
        found[name] = Given(_text(value, f"{origin}: {name}"), origin)
    return found


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`num.partitions = 4` is a table in a table to TOML."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _text(value: Any, where: str) -> str:
    """A TOML value as Kafka would have it in its file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ",".join(str(item) for item in value)
    raise ConfigError(f"{where}: a text, a number, true, false or a list of texts is expected")


def _toml_lines(text: str) -> dict[str, int]:
    """Line of each setting: tomllib does not tell."""
    found: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.splitlines(), 1):
        if table := _TABLE.match(line):
            prefix = _plain(table.group(1)) + "."
        elif assignment := _ASSIGNMENT.match(line):
            found[prefix + _plain(assignment.group(1))] = number
    return found


def _plain(key: str) -> str:
    return re.sub(r"""["'\s]""", "", key)


def _properties(path: Path, text: str) -> dict[str, Given]:
    """As java.util.Properties reads it; a name that stands twice counts once, the later one."""
    found = {}
    for number, line in _logical_lines(text):
        key, value = _split(line)
        origin = f"{path}:{number}"
        if not key:
            raise ConfigError(f"{origin}: name=value is expected, found {line!r}")
        found[key] = Given(value.rstrip(), origin)
    return found


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments; a backslash at its end joins the next one."""
    joined, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.lstrip()
        if not joined and (not line or line[0] in "#!"):
            continue
        start = start if joined else number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            joined += line[:-1]
            continue
        yield start, joined + line
        joined = ""
    if joined:
        yield start, joined


def _split(line: str) -> tuple[str, str]:
    """Name and value of a line: the first bare `=`, `:` or blank parts them."""
    key, at = [], 0
    while at < len(line) and line[at] not in "=: \t\f":
        at += line[at] == "\\"
        key.append(line[at : at + 1])
        at += 1
    rest = line[at:].lstrip(" \t\f")
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(" \t\f")
    value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found.group(1), 16)), rest)
    return "".join(key), re.sub(
        r"\\(.)", lambda found: _ESCAPES.get(found.group(1), found.group(1)), value
    )
