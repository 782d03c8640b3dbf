"""The tree stays readable: size budgets, pure deciding code, no bare excepts, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted((ROOT / "flowstream").rglob("*.py"))
CODE = PRODUCT + sorted(
    p for d in ("examples", "benchmarks", "tests") for p in (ROOT / d).rglob("*.py")
)

FILE_LINES = 400
FUNCTION_LINES = 60
DECLARED_DATA = ("flowstream/wire/messages/", "flowstream/wire/error_codes.py")

PURE = (
    "flowstream/wire/",
    "flowstream/broker/node.py",
    "flowstream/broker/addresses.py",
    "flowstream/broker/breadth.py",
    "flowstream/broker/cores.py",
    "flowstream/broker/coordination.py",
    "flowstream/broker/completion.py",
    "flowstream/broker/lifecycle.py",
    "flowstream/broker/opening.py",
    "flowstream/broker/strays.py",
    "flowstream/broker/memory.py",
    "flowstream/broker/quotas.py",
    "flowstream/broker/waiting.py",
    "flowstream/broker/events.py",
    "flowstream/broker/fetch_sessions.py",
    "flowstream/broker/effects.py",
    "flowstream/broker/doors.py",
    "flowstream/broker/decision.py",
    "flowstream/broker/patterns.py",
    "flowstream/broker/types.py",
    "flowstream/broker/config.py",
    "flowstream/broker/setting_kinds.py",
    "flowstream/broker/handlers/",
    "flowstream/broker/inspection/",
    "flowstream/broker/log/",
    "flowstream/broker/groups/",
    "flowstream/broker/transactions/",
    "flowstream/broker/metadata/",
    "flowstream/broker/security/",
    "flowstream/broker/authorization/",
    "flowstream/outbox/applying.py",
    "flowstream/outbox/tables.py",
    "flowstream/outbox/target.py",
    "flowstream/state/store.py",
    "flowstream/state/memory.py",
    "flowstream/state/overlay.py",
    "flowstream/state/table.py",
    "flowstream/state/table_view.py",
    "flowstream/state/changelog.py",
    "flowstream/state/restore.py",
    "flowstream/state/keys.py",
    "flowstream/state/expiring.py",
    "flowstream/state/stream_time.py",
    "flowstream/state/key_fields.py",
    "flowstream/state/unfit.py",
    "flowstream/state/witness.py",
    "flowstream/transport/batches.py",
    "flowstream/transport/errors.py",
    "flowstream/transport/outage.py",
    "flowstream/transport/refusals.py",
    "flowstream/transport/types.py",
    "flowstream/transport/assignor.py",
    "flowstream/processing/group/claiming.py",
    "flowstream/processing/declarations/commands.py",
    "flowstream/processing/declarations/command_classes.py",
    "flowstream/processing/errors.py",
    "flowstream/processing/environment/cross_origin.py",
    "flowstream/processing/instead.py",
    "flowstream/processing/values/",
    "flowstream/processing/events/",
    "flowstream/processing/time/",
    "flowstream/processing/units/",
    "flowstream/processing/tables/",
    "flowstream/processing/streams/",
    "flowstream/processing/running/surroundings.py",
    "flowstream/processing/running/filling.py",
    "flowstream/processing/running/kept_time.py",
    "flowstream/processing/running/task_time.py",
    "flowstream/processing/watching/meters.py",
    "flowstream/processing/declarations/pages.py",
    "flowstream/processing/declarations/ported.py",
    "flowstream/processing/queries/asked.py",
    "flowstream/processing/operating/dealt.py",
    "flowstream/processing/operating/letters.py",
    "flowstream/processing/running/reader.py",
    "flowstream/processing/queries/owners.py",
    "flowstream/web/guard.py",
    "flowstream/web/health.py",
    "flowstream/processing/running/emitting.py",
    "flowstream/processing/agents/policies.py",
    "flowstream/processing/declarations/relating.py",
    "flowstream/processing/duties/due_readers.py",
    "flowstream/processing/duties/event_times.py",
    "flowstream/processing/duties/inputs.py",
    "flowstream/processing/duties/matching.py",
    "flowstream/processing/duties/places.py",
    "flowstream/processing/duties/planning.py",
    "flowstream/processing/watching/sensors.py",
    "flowstream/processing/running/sensing.py",
    "flowstream/processing/watching/signals.py",
    "flowstream/processing/running/meeting.py",
    "flowstream/processing/running/regrouping.py",
    "flowstream/processing/running/viewing.py",
    "flowstream/processing/running/plan.py",
    "flowstream/processing/declarations/sets.py",
    "flowstream/processing/declarations/tables.py",
    "flowstream/processing/declarations/topics.py",
    "flowstream/processing/declaring.py",
    "flowstream/processing/commit.py",
    "flowstream/processing/group/assignor.py",
    "flowstream/processing/group/placing.py",
    "flowstream/errors.py",
    "flowstream/sparing.py",
    "tests/checkers/",
)
IMPURE_MODULES = {
    "asyncio", "socket", "os", "time", "random", "threading", "pathlib", "uuid", "secrets",
    "subprocess",
}  # fmt: skip
IMPURE_CALLS = {"open", "now"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_under(path: Path, prefixes: tuple[str, ...]) -> bool:
    name = relative(path)
    return any(name == p or (p.endswith("/") and name.startswith(p)) for p in prefixes)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def oversized(path: Path) -> list[str]:
    """What in `path` is over its budget; declared data is exempt."""
    if is_under(path, DECLARED_DATA):
        return []
    found = []
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > FILE_LINES:
        found.append(f"{relative(path)}: {lines} lines, at most {FILE_LINES}")
    for function in functions(parse(path)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES:
            where = f"{relative(path)}:{function.lineno}: {function.name}"
            found.append(f"{where} has {length} lines, at most {FUNCTION_LINES}")
    return found


def impurities(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what) for every import and call that pure code may not make."""
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = [node.module]
        for module in modules:
            if module.split(".")[0] in IMPURE_MODULES:
                yield node.lineno, f"imports {module}"
        if isinstance(node, ast.Call):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if name in IMPURE_CALLS and not (
                name == "open" and isinstance(node.func, ast.Attribute)
            ):
                yield node.lineno, f"calls {name}()"


def undocumented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of every public module, class, function and method without a docstring."""
    if not ast.get_docstring(tree):
        yield 1, "module"
    stack: list[ast.Module | ast.ClassDef] = [tree]
    while stack:
        for node in stack.pop().body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node) and not is_overload(node):
                yield node.lineno, node.name
            if isinstance(node, ast.ClassDef):
                stack.append(node)


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    names = {
        d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "")
        for d in node.decorator_list
    }
    return bool(names & {"overload", "setter"})


def test_sizes() -> None:
    over = [line for path in CODE for line in oversized(path)]
    assert not over, "split what is over its budget:\n" + "\n".join(over)


def test_purity() -> None:
    found = [
        f"{relative(path)}:{line}: {what}"
        for path in CODE
        if is_under(path, PURE)
        for line, what in impurities(parse(path))
    ]
    assert not found, "deciding code does no I/O and reads no clock:\n" + "\n".join(found)


def test_every_pure_name_exists() -> None:
    gone = [name for name in PURE if not (ROOT / name).exists()]
    assert not gone, f"the purity list names files that do not exist: {gone}"


def test_no_bare_except() -> None:
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in CODE
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not found, f"bare except: {found}"


def raises_in_except_star(tree: ast.Module) -> Iterator[int]:
    """Lines where an `except*` block raises: until Python 3.11.4 that comes out as a group."""
    for node in ast.walk(tree):
        if isinstance(node, ast.TryStar):
            for handler in node.handlers:
                for inner in ast.walk(handler):
                    if isinstance(inner, ast.Raise):
                        yield inner.lineno


def test_nothing_is_raised_in_except_star() -> None:
    found = [
        f"{relative(path)}:{line}" for path in CODE for line in raises_in_except_star(parse(path))
    ]
    assert not found, f"raise after the except* block, not in it: {found}"


def test_the_except_star_check_can_fail() -> None:
    tree = ast.parse("try:\n  f()\nexcept* OSError as g:\n  raise E from None\n")
    assert list(raises_in_except_star(tree)) == [4]


def test_docstrings() -> None:
    found = [
        f"{relative(path)}:{line}: {name}"
        for path in PRODUCT
        for line, name in undocumented(parse(path))
    ]
    assert not found, "public names without a docstring:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("import os", True),
        ("from time import time", True),
        ("import asyncio.events", True),
        ("x = open('f')", True),
        ("x = datetime.now()", True),
        ("log.open('f')", False),
        ("import struct", False),
    ],
)
def test_the_purity_check_can_fail(source: str, caught: bool) -> None:
    assert bool(list(impurities(ast.parse(source)))) is caught


def test_the_docstring_check_can_fail() -> None:
    tree = ast.parse(
        '"""m"""\nclass A:\n    """a"""\n    def f(self): ...\n    def _g(self): ...\n'
    )
    assert list(undocumented(tree)) == [(4, "f")]
