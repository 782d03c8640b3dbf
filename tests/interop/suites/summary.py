"""summary.py NAME OUTDIR SECONDS: counts the tests in OUTDIR/NAME.xml (junit) and prints the
counts, those that need no broker apart
(all count where the file marks none as needing one). OUTDIR/NAME.results gets the ones that need
it: "outcome test", sorted, for diff."""

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

OUTCOMES = ("passed", "skipped", "errors", "failed")  # from best to worst
TAGS = {"skipped": "skipped", "error": "errors", "failure": "failed"}


def outcome(case):
    return next((TAGS[child.tag] for child in case if child.tag in TAGS), "passed")


def counts(outcomes):
    tally = Counter(outcomes)
    return ", ".join(f"{tally[kind]} {kind}" for kind in ("passed", "failed", "errors", "skipped"))


name, out, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
try:
    cases = list(ET.parse(out / f"{name}.xml").iter("testcase"))
except (OSError, ET.ParseError):
    sys.exit(f"{name}: no results, see {out / name}.log")
results, needing = (
    {},
    set(),
)  # a test that failed and then broke in its teardown is in the file twice: it counts once
for case in cases:
    test = f"{case.get('classname')}::{case.get('name')}"
    results[test] = max(results.get(test, "passed"), outcome(case), key=OUTCOMES.index)
    if any(p.get("name") == "needs_broker" for p in case.iter("property")):
        needing.add(test)
needing = needing or set(results)
(out / f"{name}.results").write_text(
    "".join(sorted(f"{results[test]} {test}\n" for test in needing))
)
if len(needing) < len(results):
    others = counts(result for test, result in results.items() if test not in needing)
    print(f"{name}, tests without a broker: {others}")
print(f"took {seconds} s")
print(f"{name}: {counts(results[test] for test in needing)}")
