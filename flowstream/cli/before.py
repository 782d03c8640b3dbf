"""Options that stand before a verb, or before a command of the app: `flowstream -A shop --json x`.

Words in, words out.
"""

from __future__ import annotations

from collections.abc import Sequence

VALUED = frozenset(
    ("--broker", "--data", "--datadir", "--loglevel", "-l", "--logfile", "-f", "--workdir",
     "--web-port", "--web-host", "--web-bind", "--blocking-timeout")
)  # fmt: skip
"""A value follows them."""
FLAGS = frozenset(
    ("--quiet", "-q", "--debug", "--json", "--with-web", "--without-web", "--web-open")
)


def behind_options(words: Sequence[str], at: int = 0) -> int | None:
    """Where the first word from `at` on stands that is neither an option nor an option's value;
    None where an option is none of these.
    """
    while at < len(words) and words[at].startswith("-"):
        name, equals, _ = words[at].partition("=")
        if name not in VALUED | FLAGS:
            return None
        at += 2 if name in VALUED and not equals else 1
    return at


def value_of(words: Sequence[str], option: str) -> str | None:
    """What stands behind an option before the first word that is none, the last time."""
    found = None
    for at, word in enumerate(words[: behind_options(words) or 0]):
        name, equals, value = word.partition("=")
        if name == option:
            found = value if equals else next(iter(words[at + 1 :]), None)
    return found
