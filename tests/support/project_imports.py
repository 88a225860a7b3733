"""The imports of the project, read from the source, and the rules that they have to follow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOTS = ("pokecam", "stages")

# Packages from the bottom to the top. Each may import from the rows before it, and from itself.
LAYERS = (
    ("pokecam.common",),
    ("pokecam.data.drawn", "pokecam.data.packed", "pokecam.networks"),
    ("pokecam.data.sources",),
    ("pokecam.data.packing",),
    ("pokecam.cam", "pokecam.training"),
    ("pokecam.judging",),
    ("pokecam.parameters", "pokecam.report"),
    ("pokecam.commands", "stages"),
    ("pokecam.notebook",),
    ("pokecam.api",),
    ("pokecam.__init__", "pokecam.__main__"),
)

# `train` calls `cam.fitting.check_methods`, so that a method that does not fit the network is an
# error before the training. That changes no byte of the result: a new method in `pokecam/cam` must
# not retrain the network.
NOT_DECLARED = {"train": ("pokecam/cam",)}

# Every stage executes this file when it imports a module of the package, and no stage declares it.
# It only names the public functions, and imports them when a user asks for one. Neither stages nor
# the library do that (`through_the_top`), so a change of it changes no byte of what a stage writes,
# and must not run all stages again.
TOP = "pokecam/__init__.py"


def closure(project: Path, module: str) -> set[str]:
    """Return the files that importing a module can execute, itself included.

    Imports inside functions count. Imports under `if TYPE_CHECKING` do not. An `__init__.py` counts
    if it is more than a docstring, except `TOP`.

    Args:
        project: the top folder.
        module: its dotted name.

    Returns:
        Paths relative to `project`.
    """
    files: set[str] = set()
    pending = [module, module.partition(".")[0]]
    while pending:
        path = _file(project, pending.pop())
        if path is None or _is_docstring(path) or path == project / TOP:
            continue
        name = path.relative_to(project).as_posix()
        if name not in files:
            files.add(name)
            pending.extend(_imported(path))
    return files


def undeclared(project: Path, stage: str) -> set[str]:
    """Return the files that a stage needs and that no dependency in dvc.yaml covers.

    A stage needs the modules that it can import, and the files beside them that are no code
    (templates, SVG, CSS).
    """
    deps = [*_code_deps(project, stage), *NOT_DECLARED.get(stage, ())]
    imported = closure(project, f"stages.{stage}")
    return {file for file in imported | _resources(project, imported) if not _covered(file, deps)}


def idle(project: Path, stage: str) -> set[str]:
    """Return the code that a stage declares in dvc.yaml but cannot import."""
    imported = closure(project, f"stages.{stage}")
    return {
        dep
        for dep in _code_deps(project, stage)
        if not any(_covered(file, [dep]) for file in imported)
    }


def upward(project: Path) -> set[tuple[str, str]]:
    """Return pairs (module, imported module) in which the second is not in a lower layer."""
    pairs = set()
    for module, imported in _import_graph(project).items():
        layer, package = _layer(module)
        for name in imported:
            imported_layer, imported_package = _layer(name)
            if imported_package != package and imported_layer >= layer:
                pairs.add((module, name))
    return pairs


def through_the_top(project: Path) -> set[tuple[str, str]]:
    """Return pairs (file, name) of what stages and library take from `pokecam` itself.

    `import pokecam` counts, and `from pokecam import name` unless the name is that of a package or
    module.
    """
    pairs = set()
    for path in sorted(file for root in ROOTS for file in (project / root).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name == "pokecam"]
            elif isinstance(node, ast.ImportFrom) and node.module == "pokecam":
                names = [
                    alias.name
                    for alias in node.names
                    if _file(project, f"pokecam.{alias.name}") is None
                ]
            pairs |= {(path.relative_to(project).as_posix(), name) for name in names}
    return pairs


def circles(project: Path) -> list[list[str]]:
    """Return groups of modules that import one another in a circle. Imports of types count."""
    graph = _import_graph(project)
    while leaves := {name for name, imported in graph.items() if not imported & graph.keys()}:
        graph = {name: imported for name, imported in graph.items() if name not in leaves}
    return [sorted(f"{name.replace('.', '/')}.py" for name in graph)] if graph else []


def _import_graph(project: Path) -> dict[str, set[str]]:
    """Return module → the modules of the project that it imports, imports of types included.

    Packages that hold only a docstring are left out.
    """
    graph = {}
    for path in sorted(file for root in ROOTS for file in (project / root).rglob("*.py")):
        if _is_docstring(path):
            continue
        files = (_file(project, name) for name in _imported(path, type_checking=True))
        graph[_module(project, path)] = {
            _module(project, file) for file in files if file is not None and not _is_docstring(file)
        }
    return graph


def _module(project: Path, path: Path) -> str:
    return ".".join(path.relative_to(project).with_suffix("").parts)


def _layer(module: str) -> tuple[int, str]:
    """Return the number of the layer and the name of the package that a module belongs to."""
    for number, packages in enumerate(LAYERS):
        for package in packages:
            if module == package or module.startswith(f"{package}."):
                return number, package
    raise AssertionError(f"{module} belongs to no package of LAYERS: give its package a layer")


def _code_deps(project: Path, stage: str) -> list[str]:
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))
    deps = pipeline["stages"][stage]["deps"]
    return [dep for dep in deps if dep.split("/")[0] in ROOTS]


def _covered(file: str, deps: list[str] | tuple[str, ...]) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


def _resources(project: Path, imported: set[str]) -> set[str]:
    """Return the files that are no code and belong to the packages of the imported modules."""
    packages = {Path(file).parent for file in imported if file.startswith("pokecam/")}
    return {
        path.relative_to(project).as_posix()
        for path in (project / "pokecam").rglob("*.*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and _package(path, project) in packages
    }


def _package(path: Path, project: Path) -> Path:
    """Return the folder of the package that a file belongs to."""
    folder = path.parent
    while not (folder / "__init__.py").exists():
        folder = folder.parent
    return folder.relative_to(project)


def _file(project: Path, module: str) -> Path | None:
    base = project.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _is_docstring(path: Path) -> bool:
    return path.name == "__init__.py" and len(ast.parse(path.read_text()).body) <= 1


def _imported(path: Path, type_checking: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports, with or without those under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in types_only and not type_checking:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(ROOTS))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the import in full"
            if node.module and node.module.startswith(ROOTS):
                yield node.module
                # `from package import module` names a module, `from module import name` does not.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
