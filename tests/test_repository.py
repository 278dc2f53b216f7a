"""What the whole tree must keep to: who may import whom, short files, a light import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = "leaderlock"
FACADE = "__init__"

# From the top down, as CONTRIBUTING.md draws them. A room may import its own row and the rows under it.
# `leaderlock/__init__.py` is a row as well, so that a room under it cannot reach the rooms over itself
# through `from leaderlock import …`.
ROWS: list[tuple[str, ...]] = [
    ("__main__",),
    ("cli",),
    ("web",),
    ("health", "integrations", "interop"),
    ("supervisor",),
    (FACADE,),
    ("fifo", "leading", "once"),
    ("election", "inbox", "status"),
    ("diagnosis", "history"),
    ("engines",),
    ("deadman", "lock"),
    ("kernel",),
    ("_version", "errors", "lazy", "log", "wording"),
]
LEVELS = [set(row) for row in reversed(ROWS)]
NOT_DRAWN = {"__main__", FACADE, "_version", "fifo", "lazy", "leading"}
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

LONGEST_FILE = 300

# What `import leaderlock` must not cost anyone who has not asked for it.
HEAVY = {"asyncio", "ctypes", "json", "logging.config", "multiprocessing", "subprocess"}


def source_files() -> list[Path]:
    return sorted((SOURCE / PACKAGE).rglob("*.py"))


def module_of(file: Path) -> list[str]:
    """`src/leaderlock/kernel/locks.py` as ["leaderlock", "kernel", "locks"]."""
    return list(file.relative_to(SOURCE).with_suffix("").parts)


def room_of(module: list[str]) -> str:
    """The part of the package that a dotted name leads to; the package itself is the facade."""
    return module[1] if len(module) > 1 and module[1] in LEVEL_OF else FACADE


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    }


def import_statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that can run, also those inside functions."""
    if isinstance(node, ast.If) and is_type_checking(node):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        else:
            yield from import_statements(child)


def imported_rooms(module: list[str], source: str) -> Iterator[tuple[int, str]]:
    """The line and the room of each import of a part of leaderlock."""
    for statement in import_statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            names = [alias.name.split(".") for alias in statement.names]
        else:
            # `module` ends in "__init__" for a package, so one dot always drops the last part.
            base = module[: -statement.level] if statement.level else []
            base = base + (statement.module.split(".") if statement.module else [])
            names = [[*base, alias.name] for alias in statement.names]
        for name in names:
            if name[0] == PACKAGE:
                yield statement.lineno, room_of(name)


def upward_imports(module: list[str], source: str) -> list[str]:
    room = room_of(module)
    return [
        f"{'/'.join(module)}.py:{line}: {room} imports {other}, which stands above it"
        for line, other in imported_rooms(module, source)
        if LEVEL_OF[other] > LEVEL_OF[room]
    ]


def test_every_module_has_its_level() -> None:
    unknown = {str(file) for file in source_files() if module_of(file)[1] not in LEVEL_OF}
    assert not unknown, f"say in LEVELS in {Path(__file__).name} where these stand"


def test_no_room_imports_one_above_it() -> None:
    found = [
        line
        for file in source_files()
        for line in upward_imports(module_of(file), file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import leaderlock.election",
        "from leaderlock.election import Election",
        "from leaderlock import election",
        "from leaderlock import Election",
        "from .. import election",
        "from ..election import Election",
        "def f():\n    from ..election import Election",
        "try:\n    import leaderlock.cli.main\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from ..election import Election",
    ],
)
def test_an_upward_import_is_noticed_however_it_is_written(source: str) -> None:
    assert upward_imports(["leaderlock", "kernel", "locks"], source)


@pytest.mark.parametrize(
    "source",
    [
        "import os, leaderlock.errors",
        "from ..errors import Unsupported",
        "from . import filesystems",
        "from .. import errors",
        "from .election import something_of_the_kernel_room",
        "import election",
        "if TYPE_CHECKING:\n    from ..election import Election",
        "if typing.TYPE_CHECKING:\n    from ..election import Election",
    ],
)
def test_an_import_downward_or_for_types_alone_is_allowed(source: str) -> None:
    assert not upward_imports(["leaderlock", "kernel", "locks"], source)


def test_no_source_file_grows_long() -> None:
    lengths = {
        str(file.relative_to(SOURCE)): len(file.read_text(encoding="utf-8").splitlines())
        for file in source_files()
    }
    too_long = {name: lines for name, lines in lengths.items() if lines >= LONGEST_FILE}
    assert not too_long, f"one file, one idea: split what has {LONGEST_FILE} lines or more"


def test_importing_leaderlock_loads_nothing_heavy_and_nothing_from_third_parties() -> None:
    # Only what the import adds counts: a .pth file of another package may load things at start.
    program = (
        "import sys; before = set(sys.modules); import leaderlock; "
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert PACKAGE in loaded
    foreign = {name for name in loaded if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in foreign} == {PACKAGE}
    assert not loaded & HEAVY


EVALUATES = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "marshal", "shelve", "dill", "yaml"}


def doors_for_code(source: str) -> Iterator[str]:
    """Each place by which data could become code: `eval`, `pickle`, a shell."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in EVALUATES or called in {"os.system", "os.popen"}:
                yield f"{node.lineno}: {called}"
            if any(word.arg == "shell" for word in node.keywords):
                yield f"{node.lineno}: shell="
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (f"{node.lineno}: {name}" for name in names if name in UNPICKLES)


def test_nothing_is_unpickled_or_evaluated() -> None:
    found = {str(file): list(doors_for_code(file.read_text("utf-8"))) for file in source_files()}
    assert not {file: doors for file, doors in found.items() if doors}


@pytest.mark.parametrize(
    "source",
    ["eval(text)", "def f():\n    import pickle", "from marshal import loads", "Popen(x, shell=True)"],
)
def test_a_door_for_code_is_noticed(source: str) -> None:
    assert list(doors_for_code(source))


def test_a_property_test_has_no_deadline_and_may_be_slow() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
    tests = Path(__file__).parent
    own = [
        f"{file.relative_to(tests)}:{node.lineno}: leave `{keyword.arg}` to the profile in conftest.py"
        for file in sorted(tests.rglob("*.py"))
        if file.name != "conftest.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("settings")
        for keyword in node.keywords
        if keyword.arg in ("deadline", "suppress_health_check")
    ]
    assert not own, "\n".join(own)


def test_the_drawing_in_contributing_is_that_of_the_rows() -> None:
    rows = [", ".join(room for room in row if room not in NOT_DRAWN) for row in ROWS]
    drawing = "```\n" + "\n".join(row for row in rows if row) + "\n```"
    for page in ("CONTRIBUTING.md", "docs/explanation/how-it-is-built.md"):
        text = (SOURCE.parent / page).read_text(encoding="utf-8")
        assert drawing in text, f"{page} draws the rooms otherwise; it should be\n{drawing}"


def test_few_files_stand_beside_the_rooms() -> None:
    files = {file.name for file in (SOURCE / PACKAGE).glob("*.py")}
    assert len(files) <= 10, f"give some of these a room: {sorted(files)}"


def dotted(file: Path) -> str:
    return ".".join(module_of(file)).removesuffix(f".{FACADE}")


def imported_modules(module: str, source: str, modules: set[str]) -> set[str]:
    """The modules of leaderlock that a module's imports run, also those inside functions."""
    found: set[str] = set()
    for statement in import_statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            names = [f"{statement.module}.{alias.name}" for alias in statement.names]
        found |= {name if name in modules else name.rpartition(".")[0] for name in names}
    return (found & modules) - {module}


def circles(imports: dict[str, set[str]]) -> list[str]:
    """Each module that can be reached from itself, with what it imports on the way."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for module in imports[waiting.pop()] - seen:
                seen.add(module)
                waiting.append(module)
        return seen

    reached = {module: reachable(module) for module in imports}
    return [
        f"{module} imports {', '.join(sorted(m for m in imports[module] if module in reached[m]))}"
        for module in sorted(imports)
        if module in reached[module]
    ]


def test_no_modules_import_each_other() -> None:
    sources = {dotted(file): file.read_text(encoding="utf-8") for file in source_files()}
    imports = {
        module: imported_modules(module, source, set(sources)) for module, source in sources.items()
    }
    assert not circles(imports), "\n".join(circles(imports))


def test_a_circle_is_noticed_also_inside_a_function() -> None:
    sources = {
        "leaderlock.a": "from leaderlock import b",
        "leaderlock.b": "def f():\n    from leaderlock.c import x",
        "leaderlock.c": "import leaderlock.a",
        "leaderlock.d": "import leaderlock.a\nif TYPE_CHECKING:\n    import leaderlock.e",
        "leaderlock.e": "import leaderlock.d",
    }
    imports = {
        module: imported_modules(module, source, set(sources)) for module, source in sources.items()
    }
    assert circles(imports) == [
        "leaderlock.a imports leaderlock.b",
        "leaderlock.b imports leaderlock.c",
        "leaderlock.c imports leaderlock.a",
    ]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(tree: ast.AST) -> set[str]:
    """The private attributes and methods that the classes of a module define, and its private names."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "cls")
        ):
            names.add(node.attr)
    return set(filter(is_private, names))


def private_accesses(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """The line, the expression and the name of each access to another object's private part."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "super()"):
                yield node.lineno, f"{owner}.{node.attr}", node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                if is_private(alias.name):
                    yield node.lineno, f"from {node.module} import {alias.name}", alias.name


def strangers(sources: dict[str, str]) -> list[str]:
    """Accesses to what is private to another room; `sources` by dotted module names."""
    trees = {module: ast.parse(source) for module, source in sources.items()}
    defined: dict[str, set[str]] = {}
    for module, tree in trees.items():
        for name in private_names(tree):
            defined.setdefault(name, set()).add(room_of(module.split(".")))
    return [
        f"{module}:{line}: {expression}, which is private to {' or '.join(sorted(defined[name]))}"
        for module, tree in sorted(trees.items())
        for line, expression, name in private_accesses(tree)
        if name in defined and room_of(module.split(".")) not in defined[name]
    ]


def test_no_room_uses_what_is_private_to_another() -> None:
    sources = {dotted(file): file.read_text(encoding="utf-8") for file in source_files()}
    assert not strangers(sources), "\n".join(strangers(sources))


def test_a_private_access_across_rooms_is_noticed() -> None:
    lock = "class LeaderLock:\n    def __init__(self):\n        self._gate = 1\n"
    for other in ("def f(lock): return lock._gate", "from leaderlock.lock.gate import _gate"):
        assert strangers({"leaderlock.lock.gate": lock, "leaderlock.status.lock": other})
        assert not strangers({"leaderlock.lock.gate": lock, "leaderlock.lock.aio": other})
