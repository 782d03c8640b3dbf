"""The file of first users: for its owner only, and what the broker writes too (X5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstream.broker.config import ConfigError
from flowstream.cli.broker_process import read_users


def users_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "users"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_names_and_passwords(tmp_path: Path) -> None:
    path = users_file(tmp_path, "# who may come\nadmin:a:b = c\n\nalice: x\n")
    assert read_users(path) == {"admin": "a:b = c", "alice": " x"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_X5_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        read_users(users_file(tmp_path, "admin:secret\n", mode))


@pytest.mark.parametrize("text", ["admin", "admin:", ":secret"])
def test_X5_a_bad_line_is_told_by_its_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="line 2") as raised:
        read_users(users_file(tmp_path, f"a:b\n{text}\n"))
    assert "secret" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_users(tmp_path / "users")
