"""Settings: where they come from, which wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import flowstream as fs
from flowstream.processing.settings import bootstrap_of, resolve


def test_code_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.flowstream]\nbroker = 'kafka://file:1'\ncommit-interval = 1\ndata_dir = 'file'\n"
    )
    found = resolve(
        {"broker": "kafka://code:1", "commit_interval": None},
        environment={"FLOWSTREAM_BROKER": "kafka://env:1", "FLOWSTREAM_COMMIT_INTERVAL": "0.5"},
        directory=tmp_path,
    )
    assert (found.broker, found.commit_interval, found.data_dir) == ("kafka://code:1", 0.5, "file")
    assert found.processing_guarantee == "exactly_once"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FLOWSTREAM_COMMIT_INTERVALL", "1", "did you mean 'commit_interval'"),
        ("FLOWSTREAM_COMMIT_INTERVAL", "soon", "bad value 'soon' for 'commit_interval'"),
        ("FLOWSTREAM_COMMIT_INTERVAL", "0", "more than 0"),
        ("FLOWSTREAM_PROCESSING_GUARANTEE", "maybe", "at_least_once"),
    ],
)
def test_bad_settings_name_their_origin_and_the_remedy(
    variable: str, value: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(fs.SettingsError, match=message) as caught:
        resolve({}, environment={variable: value}, directory=tmp_path)
    assert variable in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool")
    with pytest.raises(fs.SettingsError, match=r"pyproject\.toml is not valid TOML"):
        resolve({}, environment={}, directory=tmp_path)


@pytest.mark.parametrize("id", ["", "a b", "a/b", "..", "ä"])
def test_app_ids_must_fit_topics_and_directories(id: str) -> None:
    with pytest.raises(fs.SettingsError, match="not usable"):
        fs.App(id)


def test_broker_addresses() -> None:
    assert bootstrap_of("kafka://a:1,b:2") == "a:1,b:2"
    assert bootstrap_of("a:1") == "a:1"
    assert bootstrap_of("embedded://x") is None
    with pytest.raises(fs.SettingsError, match="kafka://HOST:PORT"):
        bootstrap_of("redis://a:1")
