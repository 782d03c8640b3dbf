"""The fraud rules without a cluster: what they reach, and that each says what it means."""

from __future__ import annotations

import pytest

from examples.fraud_detection import rules
from examples.fraud_detection.evaluate import quality, score_all, windows_of
from examples.fraud_detection.lines import (
    SAMPLE,
    card_of,
    lines_of,
    payments_of,
)
from examples.fraud_detection.models import Habit, Profile, Recent, Transaction

LINE = (
    "T00000001,1735689799,501832418963,165.76,misc_net,Kunde-Sanford,"
    "40.500836,-75.102884,39.6442,-75.1568,Monroeville,NJ,0"
)


def test_the_sample_reaches_what_the_readme_says() -> None:
    lines = lines_of(SAMPLE)
    rows = list(score_all(payments_of(lines)))
    assert (len(lines), len(rows)) == (19_001, 18_991)
    assert quality(rows).f1 >= 0.70


def test_no_rule_sees_the_label() -> None:
    payment = Transaction.of_line(LINE)
    flipped = payment.model_copy(update={"is_fraud": True})
    seen = [rules.observe(p, Profile(), Habit(), Recent(), 0) for p in (payment, flipped)]
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "T1,2,3",
        LINE.replace("165.76", "-1"),
        LINE.replace("40.500836", "140"),
        LINE.replace("Kunde", '"Kunde'),
        LINE.replace("165.76", "much"),
    ],
)
def test_a_malformed_line_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        Transaction.of_line(line)


def test_the_key_of_a_line_is_its_card() -> None:
    assert card_of(LINE) == "501832418963"
    assert card_of("{}") is None
    assert card_of("") is None


def test_running_mean_and_deviation() -> None:
    habit = Habit()
    for amount in (9.0, 99.0, 999.0):
        habit = rules.learn(habit, amount)
    assert habit.count == 3
    assert habit.mean == pytest.approx(4.60517, abs=1e-5)
    assert habit.spread == pytest.approx(2 * 2.302585**2, abs=1e-4)


def test_impossible_travel_needs_distance_and_haste() -> None:
    payment = Transaction.of_line(LINE)
    near = Profile(payments=1, last_time=payment.unix_time - 3600, last_lat=40.5, last_long=-75.1)
    far = near.model_copy(update={"last_lat": 25.4})
    assert rules.speed(payment, near) < 1
    assert rules.speed(payment, far) > 1600
    assert rules.speed(payment, Profile()) == 0


def test_reasons_are_sorted_by_weight_and_say_the_facts() -> None:
    payment = Transaction.of_line(LINE).model_copy(
        update={"amount": 912.5, "unix_time": 1735682400}
    )
    signals = rules.observe(payment, Profile(), Habit(), Recent(count=5, spent=80.0), 0)
    score, reasons = rules.judge(signals)
    assert rules.is_alert(score)
    assert reasons[0] == "large amount: 912.50"
    assert "night: 22h" in reasons
    assert "velocity: 5 payments, 80 in 6 h" in reasons


def test_hopping_windows_contain_their_time() -> None:
    time = 1735689799
    starts = list(windows_of(time))
    assert len(starts) == rules.WINDOW_SIZE // rules.WINDOW_STEP
    assert all(start <= time < start + rules.WINDOW_SIZE for start in starts)
