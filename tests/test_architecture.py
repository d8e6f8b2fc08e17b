"""The layer rules of the house: a module imports only from lower layers or from its own folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "inkfish"
LAYERS: dict[str, float] = {
    "errors": 0,
    "config": 0.5,  # a shape that is wrong is an error
    "untrusted": 0.5,
    "tokenizer": 1,
    "sampling": 1,
    "model": 1,
    "heads": 1.2,  # beside a model
    "backends": 1.5,  # torch.py runs the modules of model.py
    "metrics": 1,
    "weights": 2,
    "data": 2,
    "labels": 2,
    "engine": 3,
    "generate": 4,
    "training": 4,
    "preferences": 4.5,  # an update of a policy is a step of an optimizer of training
    "tasks": 5,
    "evaluation": 6,
    "recipes": 7,
    "server": 7.5,  # `inkfish serve` runs it
    "cli": 8,
    "__init__": 9,
    "__main__": 9,
}
MODULES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The part of the house that a module belongs to: its top-level folder or its own name."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module's full name with its line, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            if node.module == "inkfish":
                yield from ((f"inkfish.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def violations(path: Path) -> list[str]:
    """Imports that go up, or sideways into another room of the same layer."""
    here = room(path)
    found = []
    for name, line in imports(path):
        if not name.startswith("inkfish."):
            continue
        there = name.split(".")[1]
        if there != here and LAYERS[there] >= LAYERS[here]:
            found.append(f"{path.relative_to(SOURCE)}:{line} imports {name}")
    return found


def test_every_room_has_a_layer() -> None:
    assert {room(path) for path in MODULES} <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_only_from_lower_layers(path: Path) -> None:
    assert not violations(path)


@pytest.mark.parametrize(
    ("place", "forbidden"),
    [
        ("engine", ("inkfish.tokenizer", "tiktoken")),
        ("backends", ("inkfish.tokenizer", "inkfish.sampling", "tiktoken")),
        ("tasks", ("fastapi", "argparse", "cyclopts", "sys")),
        ("preferences", ("inkfish.recipes", "pathlib", "os", "tomllib")),
    ],
)
def test_rooms_do_not_know(place: str, forbidden: tuple[str, ...]) -> None:
    files = [path for path in MODULES if str(path.relative_to(SOURCE)).startswith(place)]
    found = [(path, name) for path in files for name, _ in imports(path) if name.startswith(forbidden)]
    assert not found


def test_only_front_ends_and_recipes_read_argv_environment_or_print() -> None:
    """Names that give away argv, the environment or printing, in modules below the recipes."""
    found = []
    for path in MODULES:
        if room(path) in {"cli", "server", "recipes", "__main__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute | ast.Call):
                continue
            attribute = isinstance(node, ast.Attribute) and node.attr in {"argv", "environ", "getenv"}
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if attribute or call:
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert not found


def test_no_drawer_modules() -> None:
    assert not [
        path for path in MODULES if path.stem in {"utils", "util", "common", "helpers", "core", "misc"}
    ]


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_help_imports_neither_numpy_nor_server() -> None:
    loaded = loaded_by(
        "from inkfish.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    )
    assert "inkfish" in loaded
    assert not loaded & {"numpy", "torch", "fastapi", "uvicorn", "tiktoken", "safetensors"}


def test_writing_needs_no_torch() -> None:
    loaded = loaded_by("import inkfish; inkfish.load('starter').generate('Once', max_tokens=1)")
    assert "numpy" in loaded
    assert "torch" not in loaded
