"""What README and CHANGELOG say is so."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import Bridge, Consent, Shops, errors
from bridge.browser.script import SCRIPT
from bridge.cli import commands
from bridge.destinations import Meta, Segment
from bridge.outbox import SQLiteOutbox
from bridge.settings import OPTIONS
from bridge.site import SiteOptions
from tests.factories import SECRET, make_client, unix_now
from tests.servers import ROOT

README = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in DOCS}
PAGES |= {
    name: (ROOT / name).read_text()
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
}


# What pyright's strict mode must not say of examples: their functions have no types, they import
# modules of the reader's own, and what they define is for the reader to use.
OF_EXAMPLES = dict.fromkeys(
    (
        "reportMissingImports",
        "reportMissingParameterType",
        "reportMissingTypeStubs",
        "reportUnknownArgumentType",
        "reportUnknownMemberType",
        "reportUnknownParameterType",
        "reportUnknownVariableType",
        "reportUnusedClass",
        "reportUnusedFunction",
        "reportUnusedImport",
        "reportUnusedVariable",
    ),
    False,
)


def between(mark: str) -> str:
    return (
        PAGES["docs/options.md"].partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0]
    )


def find_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def list_anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and Zensical make them."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", each.lower()).strip().replace(" ", "-") for each in headings}


async def test_integration_of_the_readme_runs(outbox: SQLiteOutbox) -> None:
    [code] = [block for block in find_blocks(README, "python") if "FastAPI" in block]
    code = code.replace("TOKEN)]", "TOKEN)], outbox=OUTBOX")
    names: dict[str, Any] = {
        "SECRET": SECRET,
        "PIXEL_ID": "1",
        "TOKEN": "token",
        "OUTBOX": outbox,
        "__name__": "shop",
    }
    exec(compile(code, "README.md", "exec", dont_inherit=True), names)
    client = make_client(names["app"])
    response = await client.post("/orders", json={"id": "A-1", "total": 12.5})
    assert response.status_code == 200
    assert [c.waiting for c in (await outbox.count(unix_now(), with_delivered=True)).values()] == [
        1
    ]
    tag = re.findall(r'<script src="(.*?)"', README)[0]
    assert (await client.get(tag)).headers["content-type"].startswith("text/javascript")
    await names["bridge"].stop(deadline=0)


def test_first_screen_names_the_two_commands() -> None:
    first_screen = README[:2500]
    for command in ("scripts/demo", "scripts/test"):
        assert command in first_screen
        assert (ROOT / command).stat().st_mode & 0o111
    assert "scripts/test" in (ROOT / ".ci/run").read_text()


def test_every_option_is_in_the_table_and_no_other() -> None:
    rows = [
        f"| `{o.variable}` | `{o.of}({o.argument}=)` | {o.meaning} | {o.default} |" for o in OPTIONS
    ]
    table = between("options").strip().splitlines()[2:]
    assert table == rows


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        (Bridge, {"destinations", "ignore", "consent", "catalog", "dashboard"}),
        (Shops, {"load", "find"}),
        (Meta, set()),
        (Segment, {"pixel_id", "integrations", "alias", "maps_limits"}),
        (Consent, {"resolve", "meanings"}),
    ],
)
def test_every_argument_has_a_variable(kind: type, without: set[str]) -> None:
    """All but functions and objects, which an environment cannot hold."""
    arguments = set(inspect.signature(kind).parameters) - without
    if kind is Bridge:
        arguments = arguments - {"options"} | set(SiteOptions.__annotations__) - without
    if kind is Shops:
        arguments -= set(inspect.signature(Bridge).parameters)  # which have one
    assert arguments == {option.argument for option in OPTIONS if option.of == kind.__name__}


def test_architecture_is_the_contract() -> None:
    subprocess.run([ROOT / "scripts/architecture", "--check"], check=True)


def test_public_names_are_pinned() -> None:
    assert bridge.__all__ == sorted(bridge.__all__)
    for name in bridge.__all__:
        assert getattr(bridge, name).__doc__


def test_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {bridge.__version__}" in changelog or "## Unreleased" in changelog


def test_readme_is_short() -> None:
    assert len(README.encode()) <= 7000


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in list_anchors(target.read_text()), link


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_page_says_first_what_it_is_for(path: Path) -> None:
    title, _, first = path.read_text().split("\n", 3)[:3]
    assert title.startswith("# ")
    assert first[:1].isalpha()


def test_site_shows_every_page() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert sorted(re.findall(r"- (\S+\.md)", nav)) == [path.name for path in DOCS]
    index = PAGES["docs/index.md"]
    assert {path.name for path in DOCS} - {"index.md"} <= set(re.findall(r"\(([\w-]+\.md)", index))


@pytest.mark.parametrize("name", PAGES)
def test_python_of_the_docs_is_python(name: str) -> None:
    """It compiles, and what it imports from us is there."""
    for code in find_blocks(PAGES[name], "python"):
        if code.startswith(">>>"):
            continue
        tree = compile(code, name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bridge"):
                module = importlib.import_module(node.module or "")
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def complete(code: str) -> str:
    """``code`` as a module: what it leaves to the reader may be anything but our own."""
    tree = compile(code, "", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    used, bound = set[str](), set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.Name(name, ast.Load()):
                used.add(name)
            case ast.Name(name) | ast.arg(name):
                bound.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound.add(node.name)
            case ast.alias():
                bound.add((node.asname or node.name).partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case _:
                pass
    ours = {"bridge": "docs_bridge.Bridge", "shops": "docs_bridge.Shops"}
    given = [
        f"from bridge import {name}"
        if name in bridge.__all__
        else f"{name}: {ours.get(name, 'Any')}"
        for name in sorted(used - bound)
    ]
    lines = ["from typing import Any", "import bridge as docs_bridge", *given]
    return "\n".join([*lines, "async def example() -> None:", textwrap.indent(code, "    ")])


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A folder with all Python of the docs in ``docs_examples``."""
    folder = tmp_path / "docs_examples"
    folder.mkdir()
    for page, text in PAGES.items():
        for number, code in enumerate(find_blocks(text, "python")):
            if not code.startswith(">>>"):
                name = re.sub(r"\W", "_", f"{Path(page).stem}_{number}")
                (folder / f"{name}.py").write_text(complete(code))
    return tmp_path


def check_types(*command: str | Path, **environ: str) -> None:
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_python_of_the_docs_has_the_right_types(examples: Path) -> None:
    config = f"--config-file={ROOT / 'pyproject.toml'}"
    mypy = [sys.executable, "-m", "mypy", config, "-p", "docs_examples"]
    check_types(*mypy, MYPYPATH=f"{examples}:{ROOT}")


def test_pyright_agrees_about_the_docs_and_our_types(examples: Path) -> None:
    """In its strict mode, as VS Code's users may have it, and with us as an installed package."""
    config = examples / "pyrightconfig.json"
    rules = {"typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": True}
    config.write_text(json.dumps({**rules, **OF_EXAMPLES}))
    shutil.copy(ROOT / "tests/test_typing.py", examples)
    pyright = ROOT / "node_modules/.bin/pyright"
    check_types(pyright, "--project", config, "--pythonpath", sys.executable, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("suffix", ["js", "ts"])
def test_javascript_of_the_docs_fits_its_types(tmp_path: Path, suffix: str) -> None:
    """On a page with ``// @ts-check`` and in a TypeScript project, with ``bridge.d.ts`` alone."""
    blocks = [
        b for page in PAGES.values() for kind in ("js", "ts") for b in find_blocks(page, kind)
    ]
    calls = re.findall(r"^\| `(bridge\.\w+)\(", PAGES["docs/page.md"], re.MULTILINE)
    assert len(blocks) >= 2
    assert len(calls) >= 4
    files = [tmp_path / f"{number}.{suffix}" for number in range(len(blocks) + 1)]
    for file, code in zip(files, [*blocks, "\n".join(calls)], strict=True):
        file.write_text(code)
    options = "--ignoreConfig --noEmit --strict --allowJs --checkJs --moduleDetection force"
    tsc = ROOT / "node_modules/.bin/tsc"
    subprocess.run([tsc, *options.split(), ROOT / "static/bridge.d.ts", *files], check=True)


def test_every_error_is_described() -> None:
    names = [name for name, each in vars(errors).items() if inspect.isclass(each)]
    assert [name for name in names if f"`{name}`" not in PAGES["docs/events.md"]] == []


def test_every_command_is_described() -> None:
    names = [str(each.name) for each in commands.registered_commands]
    names += [str(each.name) for each in commands.registered_groups]
    page = PAGES["docs/command-line.md"]
    assert [name for name in names if f"`pixel-bridge {name}" not in page] == []


def test_built_package_works_in_an_empty_environment(tmp_path: Path) -> None:
    def run(*command: str | Path) -> str:
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    # The wheel is built from the sdist.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("pixel_bridge-*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    static = {
        f"bridge/static/{p.relative_to(ROOT / 'static')}" for p in (ROOT / "static").rglob("*.*")
    }
    assert static <= shipped
    assert "bridge/py.typed" in shipped
    assert not [name for name in shipped if name.startswith(("tests", "example_app"))]

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    package = f"{wheel}[cli]"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package)
    command = tmp_path / "venv" / "bin" / "pixel-bridge"
    assert run(command, "--version") == f"pixel-bridge {bridge.__version__}\n"
    printed = run(
        python, "-c", "import bridge.browser.script as s; print(s.__file__, len(s.SCRIPT))"
    )
    file, length = printed.split()
    assert Path(file).is_relative_to(tmp_path)
    assert int(length) == len(SCRIPT)
