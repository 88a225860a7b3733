"""Which of the project's own modules a module can import, read from the source alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("pokecam", "stages")


def closure(project: Path, module: str) -> set[str]:
    """Files, relative to `project`, that importing `module` can execute, itself included.

    Imports inside functions count, those under `if TYPE_CHECKING` do not. A package's
    `__init__.py` counts where it is more than a docstring.
    """
    found: set[str] = set()
    waiting = [module, module.partition(".")[0]]
    while waiting:
        path = _file(project, waiting.pop())
        if path is None or _is_docstring(path):
            continue
        name = path.relative_to(project).as_posix()
        if name not in found:
            found.add(name)
            waiting.extend(_imported(path))
    return found


def _file(project: Path, module: str) -> Path | None:
    base = project.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _is_docstring(path: Path) -> bool:
    return path.name == "__init__.py" and len(ast.parse(path.read_text()).body) <= 1


def _imported(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGES))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the project writes them in full"
            if node.module and node.module.startswith(PACKAGES):
                yield node.module
                # `from package import module` names a module, `from module import name` does not.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
