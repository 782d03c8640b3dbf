"""What a rule says of a request: let it pass, let a part of it pass, or answer it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.security.authorizer import Access
from flowstream.wire.schema import replace

Amend = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Admission:
    """`answer` is the whole answer, nothing is handled. Else the request is handled, with `body` in
    place of its own when that is given, and `amend` completes the answer. `close` is why the
    connection ends afterwards. `allows` goes with the request to a handler that finds out itself
    which topics it is about. `denied` is what the log of those who follow it says.
    """

    answer: object | None = None
    body: object | None = None
    amend: Amend | None = None
    close: str = ""
    allows: Callable[[str], bool] | None = None
    denied: str = ""


PASS = Admission()
Rule = Callable[[Request[Any], Access, Cores], Admission]


def refuse(answer: object) -> Admission:
    """Nothing of the request is handled."""
    return Admission(answer=answer)


def free(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Needs no permission."""
    return PASS


def partition(
    body: Any,
    items: str,
    allowed: Callable[[Any], bool],
    response: Callable[..., Any],
    answers: str,
    refusal: Callable[[Any], Any],
) -> Admission:
    """Let the `items` of a request pass that are `allowed`; the others are answered by `refusal`
    among the `answers` of the response.
    """
    asked: tuple[Any, ...] = getattr(body, items)
    kept = tuple(each for each in asked if allowed(each))
    if len(kept) == len(asked):
        return PASS
    told = tuple(refusal(each) for each in asked if not allowed(each))
    if not kept:
        return refuse(response(**{answers: told}))
    return Admission(
        body=replace(body, **{items: kept}),
        amend=lambda answer: replace(answer, **{answers: (*getattr(answer, answers), *told)}),
    )


def only(answers: str, shown: Callable[[Any], bool]) -> Admission:
    """Handle everything, but leave out of the answer what is not to be `shown`."""

    def amend(answer: Any) -> Any:
        found: Iterable[Any] = getattr(answer, answers)
        return replace(answer, **{answers: tuple(each for each in found if shown(each))})

    return Admission(amend=amend)


def and_then(first: Admission, amend: Amend) -> Admission:
    """`first`, and its answer completed once more."""
    if first.answer is not None:
        return Admission(answer=amend(first.answer), close=first.close)
    before = first.amend
    both = amend if before is None else lambda answer: amend(before(answer))
    return Admission(body=first.body, amend=both, close=first.close)
