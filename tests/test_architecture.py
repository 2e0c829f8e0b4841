"""The architecture that import-linter does not see: circles, sizes, the two modules at the root."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.test_pins import PROJECT

PACKAGE = ROOT / "determined_ner"
CONTRACTS = PROJECT["tool"]["importlinter"]["contracts"]
LONGEST_MODULE, LONGEST_TEST_FILE = 450, 550
"""Lines."""


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(file): ast.parse(file.read_text(encoding="utf-8"))
    for file in [*ROOT.glob("*.py"), *PACKAGE.rglob("*.py")]
}


def imported(tree: ast.Module) -> set[str]:
    """Whatever a module imports anywhere: at its top, in functions, for types alone."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names |= {
                whole if (whole := f"{node.module}.{alias.name}") in MODULES else str(node.module)
                for alias in node.names
            }
    return names


IMPORTS = {name: imported(tree) for name, tree in MODULES.items()}


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle():
    own = {name: {one for one in names if one in MODULES and one != name} for name, names in IMPORTS.items()}
    assert sum(map(len, own.values())) > 100
    assert find_circle(own) == []


def test_a_circle_inside_a_function_is_found():
    tree = ast.parse("def late():\n    from determined_ner import errors\n")
    assert find_circle({"determined_ner.errors": {"determined_ner.logs"}, "determined_ner.logs": imported(tree)})


def test_every_room_has_its_place_in_the_layers():
    (rooms,) = (contract["layers"] for contract in CONTRACTS if contract["name"].startswith("Imports go downwards"))
    placed = [room.strip() for layer in rooms for room in layer.split("|")]
    found = {name for name in MODULES if name.startswith("determined_ner.") and name.count(".") == 1}
    assert sorted(placed) == sorted(found)


def test_no_contract_has_exceptions():
    for contract in CONTRACTS:
        assert not {"ignore_imports", "unmatched_ignore_imports_alerting"} & contract.keys(), contract["name"]


def test_the_root_holds_two_modules():
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["ner_trial.py", "ner_utils.py"]


def test_the_root_modules_keep_to_the_directions():
    """import-linter knows packages only."""
    assert not {name for name in IMPORTS["ner_trial"] if name.startswith("determined_ner.cli")}
    own = {name for name in IMPORTS["ner_utils"] if name != "__future__"}
    assert own and all(name.startswith("determined_ner.tags.") for name in own)


def test_no_file_is_long():
    def too_long(folder: Path, limit: int) -> dict[str, int]:
        lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py")}
        return {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > limit}

    assert too_long(PACKAGE, LONGEST_MODULE) == {}
    assert too_long(ROOT / "tests", LONGEST_TEST_FILE) == {}


def test_what_is_imported_is_declared():
    """Each distribution that the package imports at all is asked for in pyproject.toml, by name."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {canonicalize_name(line.partition("[")[0].partition(">")[0].partition("=")[0]) for line in lines}
    # Looked for where somebody has them: other tables, NVIDIA's Apex, and ONNX Runtime training.
    optional = {"apex", "torch-ort"}
    named = {"mlflow": "mlflow-skinny", "ruamel": "ruamel-yaml", "zmq": "pyzmq"}
    tops = {name.partition(".")[0] for names in IMPORTS.values() for name in names} - set(sys.stdlib_module_names)
    other = tops - {"determined_ner", "ner_trial", "ner_utils"}
    assert {canonicalize_name(named.get(top, top)) for top in other} - declared - optional == set()


def test_importing_a_module_does_nothing():
    """At the top of a module stand imports and definitions: no call as a statement."""
    calls = {
        name: ast.unparse(node)
        for name, tree in MODULES.items()
        for node in tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    }
    assert calls == {}
