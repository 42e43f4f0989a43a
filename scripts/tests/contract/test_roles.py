"""What every role owes its users: a typed interface that is written down three times and agrees with itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    """Import a module that stands beside this file, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


interface = _load("role_interface")
ROOT: Path = interface.ROOT
ROLES: list[Any] = interface.all_roles()
ROLE_NAMES: list[str] = [role.name for role in ROLES]

each_role = pytest.mark.parametrize("role", ROLES, ids=ROLE_NAMES)


def test_there_are_roles() -> None:
    assert {"postgresql", "backup_volume", "pgbackrest", "pgdr", "backup_schedule"} <= set(ROLE_NAMES)


@each_role
def test_every_entry_point_has_tasks(role: Any) -> None:
    assert "main" in role.entry_points
    for name in role.entry_points:
        assert (role.folder / "tasks" / f"{name}.yml").exists(), f"{role.name}: no tasks for entry point {name}"


@each_role
def test_every_option_is_typed_and_described(role: Any) -> None:
    for name, option in _all_options(role):
        assert option.get("type"), f"{name} has no type"
        assert option.get("description"), f"{name} has no description"
        assert not (option.get("required") and "default" in option), f"{name} is required and has a default"
        if option["type"] == "list":
            assert option.get("elements"), f"{name} does not say of what it is a list"


@each_role
def test_an_option_means_the_same_in_every_entry_point(role: Any) -> None:
    for entry_point, options in role.entry_points.items():
        for name, option in options.items():
            same = {key: value for key, value in option.items() if key != "required"}
            other = {key: value for key, value in role.options[name].items() if key != "required"}
            assert same == other, f"{name} differs in entry point {entry_point}"


@each_role
def test_specs_and_defaults_agree_in_names_and_values(role: Any) -> None:
    in_specs = {name: option["default"] for name, option in role.options.items() if "default" in option}
    assert in_specs == role.defaults, f"roles/{role.name}: argument_specs.yml (left) and defaults/main.yml (right)"


@each_role
def test_every_option_belongs_to_its_role(role: Any) -> None:
    strange = [name for name in role.options if not name.startswith(f"{role.name}_")]
    assert strange == []


@each_role
def test_the_readme_has_a_row_for_each_variable_with_its_default(role: Any) -> None:
    assert role.readme.exists(), f"roles/{role.name} has no README.md"
    rows = interface.readme_rows(role.readme.read_text(encoding="utf-8"))
    shown = {name: _default_cell(name, cells) for name, cells in rows.items() if name.startswith(role.name)}
    wanted = {name: interface.default_text(option) for name, option in role.options.items()}
    assert shown == wanted, f"roles/{role.name}/README.md (left); role_interface.py --write renews it"


@each_role
def test_a_generated_table_is_up_to_date(role: Any) -> None:
    text = role.readme.read_text(encoding="utf-8") if role.readme.exists() else ""
    if interface.START in text:
        written = text.split(interface.START, 1)[1].split(interface.END, 1)[0].strip()
        assert written == interface.table(role), f"roles/{role.name}/README.md: run role_interface.py --write"


@each_role
def test_the_role_uses_no_input_that_it_does_not_declare(role: Any) -> None:
    allowed = {*role.options, *_own_words(role)}
    for path in role.files("tasks", "templates", "vars", "defaults", "handlers"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            used = _words(role.name, line)
            assert used <= allowed, f"{path.relative_to(ROOT)}:{number}: not declared: {sorted(used - allowed)}"


def test_every_entry_point_that_is_used_is_declared() -> None:
    declared = {role.name: set(role.entry_points) for role in ROLES}
    for path, task in _tasks():
        for action in ("import_role", "include_role"):
            call = task.get(f"ansible.builtin.{action}")
            if isinstance(call, dict) and call.get("name") in declared:
                point = Path(call.get("tasks_from", "main")).stem
                assert point in declared[call["name"]], f"{path.relative_to(ROOT)}: {call['name']} has no {point}"


def test_inventories_and_playbooks_set_only_declared_variables() -> None:
    declared = {name for role in ROLES for name in role.options}
    unknown = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name in _variables()
        if _owner(name) is not None and name not in declared
    ]
    assert unknown == []


def test_an_inventory_does_not_set_what_the_policy_decides() -> None:
    wired = set(interface.read_yaml(ROOT / "playbooks/group_vars/all/wiring.yml"))
    twice = [f"{path.relative_to(ROOT)}: {name}" for path, name in _inventory_variables() if name in wired]
    assert twice == [], "playbooks/group_vars would win silently over these"


@pytest.mark.parametrize(
    "plugin",
    sorted([*ROOT.glob("playbooks/filter_plugins/*.py"), *ROOT.glob("roles/*/filter_plugins/*.py")]),
    ids=lambda path: path.stem,
)
def test_a_filter_plugin_loads_nothing_heavy(plugin: Path) -> None:
    """Ansible loads filter files in the process of every task: 0.4 s for pydantic would triple a second run."""
    program = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, str(plugin)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "it imports pydantic before it is used"


def _all_options(role: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in role.options.items():
        yield name, option
        for inner, detail in (option.get("options") or {}).items():
            yield f"{name}.{inner}", detail


def _default_cell(name: str, cells: list[str]) -> str:
    assert len(cells) >= 3, f"{name}: a row has variable, entry points, default, meaning"
    return cells[1]


def _own_words(role: Any) -> set[str]:
    """Words that begin like an input and are none: tags, modules, filters and tests that the role brings."""
    lines = [line for path in role.files("tasks") for line in path.read_text(encoding="utf-8").splitlines()]
    tags = " ".join(line for line in lines if re.match(r"\s*tags:", line))
    modules = {path.stem for path in role.files("library")}
    plugins = " ".join(path.read_text(encoding="utf-8") for path in role.files("filter_plugins", "test_plugins"))
    return modules | set(re.findall(rf"\b{role.name}_[a-z0-9_]+", f"{tags} {plugins}"))


def _words(prefix: str, line: str) -> set[str]:
    """Words of a line that look like inputs of a role; comments and tags are none."""
    text = re.sub(r"^\s*tags:.*|(^|\s)#.*", "", line)
    # Not part of a longer name, and no name of a module in a collection.
    return set(re.findall(rf"(?<![A-Za-z0-9_.]){prefix}_[a-z0-9_]+", text))


def _owner(variable: str) -> str | None:
    """The role whose prefix a variable has."""
    return next((name for name in ROLE_NAMES if variable.startswith(f"{name}_")), None)


def _variables() -> Iterator[tuple[Path, str]]:
    yield from _inventory_variables()
    for path in sorted(ROOT.glob("playbooks/group_vars/**/*.yml")):
        yield from ((path, name) for name in interface.read_yaml(path) or {})
    for path, task in _tasks():
        yield from ((path, name) for name in task.get("vars") or {})


def _inventory_variables() -> Iterator[tuple[Path, str]]:
    for folder in ("group_vars", "host_vars"):
        for path in sorted(ROOT.glob(f"inventories/*/{folder}/**/*.yml*")):
            content = interface.read_yaml(path)
            yield from ((path, name) for name in content or {} if isinstance(content, dict))
    for path in sorted(ROOT.glob("inventories/*/hosts.yml")):
        yield from ((path, name) for name in _inline(interface.read_yaml(path)))


def _inline(group: Any) -> Iterator[str]:
    """Names of variables in an inventory file: of groups and of hosts."""
    for content in (group or {}).values():
        if isinstance(content, dict):
            yield from content.get("vars") or {}
            for host in (content.get("hosts") or {}).values():
                yield from host or {}
            yield from _inline(content.get("children"))


def _tasks() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every play and task of playbooks and scenarios."""
    files = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("molecule/*/*.yml")]
    for path in sorted(file for file in files if file.name != "molecule.yml"):
        yield from ((path, item) for item in _nested(interface.read_yaml(path)))


def _nested(items: Any) -> Iterator[dict[str, Any]]:
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict):
            yield item
            for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always"):
                yield from _nested(item.get(key))
