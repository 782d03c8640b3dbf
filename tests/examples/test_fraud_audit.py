"""The auditor notices every way in which a pipeline can be wrong."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from examples.fraud_detection import audit as auditing
from examples.fraud_detection import rules
from examples.fraud_detection.audit import Audit
from examples.fraud_detection.evaluate import score_all
from examples.fraud_detection.lines import SAMPLE, lines_of, payments_of
from examples.fraud_detection.models import Alert, Profile, Scored

PAYMENTS = list(payments_of(lines_of(SAMPLE)[:3000]))
ROWS = list(score_all(PAYMENTS))
ALERTS = [rules.alert_of(row) for row in ROWS if rules.is_alert(row.score)]


class Kept(NamedTuple):
    """A record as far as the auditor looks at it."""

    key: bytes = b""
    value: bytes | None = b""
    partition: int = 0
    offset: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def profiles() -> dict[str, Profile]:
    """The card-profile table after all payments."""
    table: dict[str, Profile] = {}
    for payment in PAYMENTS:
        profile = table.get(payment.card, Profile())
        table[payment.card] = rules.remember(profile, payment, False)
    return table


def test_a_right_run_passes() -> None:
    audit = Audit()
    auditing.compare_scored(audit, PAYMENTS, ROWS)
    auditing.compare_alerts(audit, ROWS, ALERTS)
    changes = [Kept(card.encode(), p.model_dump_json().encode()) for card, p in profiles().items()]
    auditing.compare_table(audit, changes, PAYMENTS)
    auditing.compare_dead(audit, [], set())
    assert audit.passed
    n = len(PAYMENTS)
    assert audit.line() == f"audit: in={n} scored={n} dead=0 missing=0 duplicate=0 table={n}"


@pytest.mark.parametrize(
    ("rows", "missing", "duplicate"),
    [
        (ROWS[1:], 1, 0),
        ([*ROWS, ROWS[7]], 0, 1),
        ([*ROWS[1:], ROWS[7]], 1, 1),
        ([ROWS[0].model_copy(update={"score": 99}), *ROWS[1:]], 0, 0),
    ],
)
def test_S7_a_wrong_row_is_a_fault(rows: list[Scored], missing: int, duplicate: int) -> None:
    audit = Audit()
    auditing.compare_scored(audit, PAYMENTS, rows)
    assert (audit.missing, audit.duplicate) == (missing, duplicate)
    assert not audit.passed


@pytest.mark.parametrize("alerts", [ALERTS[1:], [*ALERTS, ALERTS[0]]])
def test_an_alert_too_few_or_too_many_is_a_fault(alerts: list[Alert]) -> None:
    audit = Audit()
    auditing.compare_alerts(audit, ROWS, alerts)
    assert not audit.passed


def test_S8_a_table_that_missed_a_payment_is_a_fault() -> None:
    audit, table = Audit(), profiles()
    card = PAYMENTS[0].card
    table[card] = table[card].model_copy(update={"payments": table[card].payments - 1})
    changes = [Kept(key.encode(), p.model_dump_json().encode()) for key, p in table.items()]
    auditing.compare_table(audit, changes, PAYMENTS)
    assert audit.table == len(PAYMENTS) - 1
    assert not audit.passed


def test_S11_a_malformed_line_without_its_dead_letter_is_a_fault() -> None:
    source = (("flowstream.partition", b"2"), ("flowstream.offset", b"17"))
    for malformed, passed in (({(2, 17)}, True), ({(2, 18)}, False), (set(), False)):
        audit = Audit()
        auditing.compare_dead(audit, [Kept(headers=source)], malformed)
        assert audit.passed is passed
