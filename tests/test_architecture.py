"""The directions and walls of docs/architecture.md, read from the imports themselves."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES = 400
CORE = {"block", "state", "stage", "errors"}
LAYERS = (  # each may import what stands in a line above it, or in its own where that is not the core
    {"realtime.block", "realtime.errors", "realtime.state"},
    {"realtime.stage", "realtime.ring", "realtime.clock"},
)
WALLS = {
    "pylsl": {"realtime/sources/lsl.py", "realtime/sinks/lsl.py"},
    "PySide6": {"realtime/monitor/"},
    "pyqtgraph": {"realtime/monitor/"},
    "sounddevice": {"realtime/sources/sound.py"},
    "whisper": {"encoders/"},
    "torch": {"encoders/", "realtime/commands/"},
    "himalaya": {"encoders/"},
    "pyxdf": {"realtime/sources/formats/xdf.py"},
}
TABLE = {"realtime": {"realtime"}, "encoders": {"encoders", "realtime"}}


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the product by its path."""
    paths = sorted(path for package in TABLE for path in (ROOT / package).rglob("*.py"))
    assert len(paths) > 40
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, wherever it does so; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)] if node.module else [])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "?"


def test_the_reader_of_imports_sees_them_all() -> None:
    code = "import a.b\nfrom c import d\ndef f():\n    from e.g import h\n    import i as j, k\n    __import__('l')\n"
    assert set(imports(ast.parse(code))) == {"a.b", "c", "c.d", "e.g", "e.g.h", "i", "k", "l"}


@pytest.mark.parametrize("package", sorted(WALLS))
def test_third_party_walls(package: str) -> None:
    inside = tuple(WALLS[package])
    through = [
        path
        for path, tree in sources().items()
        if any(name.split(".")[0] == package for name in imports(tree)) and not path.startswith(inside)
    ]
    assert not through, f"{package} is imported outside {', '.join(inside)}"


def test_encoders_import_the_contract_alone() -> None:
    for path, tree in sources().items():
        if path.startswith("encoders/"):
            ours = {name.split(".")[1] for name in imports(tree) if name.startswith("realtime.")}
            assert ours <= CORE, f"{path} imports realtime.{ours - CORE}"


def test_the_engine_knows_no_model() -> None:
    for path, tree in sources().items():
        if path.startswith("realtime/") and not path.startswith("realtime/commands/"):
            assert not any(name.split(".")[0] == "encoders" for name in imports(tree)), path


def test_nothing_of_ours_but_the_command_line_imports_commands() -> None:
    for path, tree in sources().items():
        found = {
            name for name in imports(tree) if name == "?" or name.startswith(("realtime.commands", "realtime.cli"))
        }
        if path == "realtime/cli.py":
            assert found, "the command line no longer imports its commands"
        elif not path.startswith("realtime/commands/"):
            assert not found, f"{path} imports {found}"


def test_the_core_stands_on_nothing_above_it() -> None:
    below: set[str] = set()
    for layer in LAYERS:
        for module in layer:
            tree = sources()[module.replace(".", "/") + ".py"]
            ours = {name for name in imports(tree) if name.startswith("realtime.") and name.count(".") == 1}
            assert ours <= below, f"{module} imports {ours - below}"
        below |= layer


def test_operations_know_neither_sources_nor_engine() -> None:
    above = ("realtime.sources", "realtime.sinks", "realtime.engine", "realtime.lane", "realtime.monitor")
    operations = (
        "align",
        "artefacts",
        "audio",
        "band_power",
        "envelope",
        "filters",
        "pick",
        "repair",
        "score",
        "signals",
        "zscore",
    )
    for name in operations:
        found = [n for n in imports(sources()[f"realtime/{name}.py"]) if n.startswith(above)]
        assert not found, f"{name} imports {found}"


def test_the_monitor_is_a_client_and_nothing_more() -> None:
    engine = ("realtime.engine", "realtime.lane", "realtime.scoring", "realtime.commands", "encoders")
    for path, tree in sources().items():
        if path.startswith("realtime/monitor/"):
            assert not [n for n in imports(tree) if n.startswith(engine)], path
        elif path not in ("realtime/commands/monitor.py",):
            assert not [n for n in imports(tree) if n.startswith("realtime.monitor")], path


def no_cycle_from(module: str, seen: tuple[str, ...], graph: dict[str, set[str]], done: set[str]) -> None:
    assert module not in seen, f"imports in a circle: {' -> '.join([*seen, module])}"
    if module not in done:
        for other in graph[module]:
            no_cycle_from(other, (*seen, module), graph, done)
        done.add(module)


def test_no_imports_in_a_circle() -> None:
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): t for path, t in sources().items()}
    graph = {name: {n for n in imports(tree) if n in modules} - {name} for name, tree in modules.items()}
    done: set[str] = set()
    for module in graph:
        no_cycle_from(module, (), graph, done)
    assert done == set(graph)


def unsafe_loads(tree: ast.AST) -> list[str]:
    """Calls and imports through which a pickle could be loaded."""
    found = [name for name in imports(tree) if name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "shelve")]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if options.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(node))
        if ast.unparse(node.func) in ("torch.load", "whisper.load_model") and options.get("weights_only") != "True":
            found.append(ast.unparse(node))
    return found


def test_no_pickle_is_loaded() -> None:
    for path, tree in sources().items():
        assert not unsafe_loads(tree), path
    for bad in ("import pickle", "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)"):
        assert unsafe_loads(ast.parse(bad)), bad
    assert not unsafe_loads(ast.parse("torch.load(f, weights_only=True); np.load(f, allow_pickle=False)"))


def test_no_file_is_too_long() -> None:
    folders = [*TABLE, "tests", "benchmarks"]
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: count for path, count in lines.items() if count >= LINES} == {}


def test_the_readme_names_every_package_of_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    wanted = {extra: {re.match(r"[\w.-]+", one)[0] for one in packages} for extra, packages in asked.items()}  # type: ignore[index]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (?:\*([\w-]+):\* )?([\w.-]+(?:, [\w.-]+)*) \|", readme, re.MULTILINE):
        told.setdefault(row[0], set()).update(row[1].split(", "))
    for extra, packages in wanted.items():
        assert not packages - told.get(extra, set()), f"README, packages of {extra or 'the project'}"
