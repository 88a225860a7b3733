"""Search source text for calls that execute what they read. SECURITY.md says there are none."""

import ast
from collections.abc import Callable, Iterator

NEVER = {
    *("eval", "exec", "os.system", "os.popen"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads"),
    *("shelve.open", "joblib.load", "cloudpickle.load", "cloudpickle.loads", "pandas.read_pickle"),
    *("yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("torch.jit.load", "torch.hub.load", "shutil.unpack_archive"),
}
NEVER_METHODS = {"extractall"}  # of an archive: it writes wherever the names of the members lead
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}


def unsafe_calls(source: str) -> list[tuple[int, str]]:
    """Return (line, fault) of every unsafe call in a source, and of every name of such a call."""
    tree = ast.parse(source)
    names = _imported(tree)
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    loaders = SAFE_LOADERS | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(_name(b, names) in SAFE_LOADERS for b in node.bases)
    }
    return sorted(
        (node.lineno, fault)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        for fault in _faults(node, calls.get(node), names, loaders)
    )


def _faults(
    node: ast.Name | ast.Attribute,
    call: ast.Call | None,
    names: dict[str, str],
    loaders: set[str],
) -> Iterator[str]:
    name = _name(node, names)
    if name in NEVER or (isinstance(node, ast.Attribute) and node.attr in NEVER_METHODS):
        yield f"{name} is never to be used"
    if name in ("yaml.load", "yaml.load_all"):
        arguments = [*call.args[1:2], *_keyword(call, "Loader")] if call else []
        if not any(_name(argument, names) in loaders for argument in arguments):
            yield f"{name} without a subclass of SafeLoader"
    for applies, message, is_allowed in CONDITIONS:
        if applies(name) and not (call and is_allowed(call)):
            yield f"{name}: {message}"


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return name → what it was imported as: np → numpy, load → torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _name(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name of an expression, with imported names in full, or its text."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ast.unparse(node)


def _keyword(call: ast.Call, name: str) -> list[ast.expr]:
    return [keyword.value for keyword in call.keywords if keyword.arg == name]


def _is(call: ast.Call, name: str, value: bool) -> bool:
    return any(isinstance(v, ast.Constant) and v.value is value for v in _keyword(call, name))


def _absent_or_false(call: ast.Call, name: str) -> bool:
    has_dict = any(keyword.arg is None for keyword in call.keywords)  # **dict can hide the keyword
    return _is(call, name, value=False) or not (has_dict or _keyword(call, name))


CONDITIONS: tuple[tuple[Callable[[str], bool], str, Callable[[ast.Call], bool]], ...] = (
    (
        lambda name: name == "torch.load" or name.endswith((".get_state_dict", "_dict_from_url")),
        "weights_only=True is missing",
        lambda call: _is(call, "weights_only", value=True),
    ),
    (
        lambda name: name == "numpy.load",
        "allow_pickle must stay off",
        lambda call: len(call.args) <= 2 and _absent_or_false(call, "allow_pickle"),
    ),
    (
        lambda name: (
            name
            in {f"subprocess.{f}" for f in ("run", "Popen", "call", "check_call", "check_output")}
        ),
        "shell must stay off",
        lambda call: _absent_or_false(call, "shell"),
    ),
)
