"""What apps that come from Faust say, and what it is here.

Pure. What is always so may be said, and its contrary is refused with the reason.
"""

from __future__ import annotations

from typing import Final

from flowstream.processing.errors import SettingsError

STORE: Final = "rocksdb://"
"""Where every table is kept."""


def check_always_so(store: object, reply_create_topic: object) -> None:
    """Arguments of Faust's `App` that have one answer here."""
    if store != STORE:
        raise SettingsError(
            f"App(store={store!r}): tables are kept in RocksDB, always, and their changelogs are"
            f" what they are restored from: leave it out, or write store={STORE!r}"
        )
    if reply_create_topic is not True:
        raise SettingsError(
            f"App(reply_create_topic={reply_create_topic!r}): the topic of replies is made by"
            " whoever asks first, always; leave it out"
        )
