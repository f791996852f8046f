"""Every snippet of README.md and docs/ runs, and what the docs list exists in the code."""

from __future__ import annotations

import importlib.util
import os
import re
import tomllib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import click
import pytest
import yaml
from click.testing import CliRunner
from support import quick_start

from populate_scripts.cli import main

ROOT = Path(__file__).parents[1]
COMMANDS = ROOT / "docs" / "reference" / "commands.md"  # generated when the site is built
PARTS = ("start", "science", "operation", "reference")
#: Whose Python is run as a notebook, on mice of its own: tests/schemas/test_two_regions.py.
OF_OTHER_MICE = ("two_regions.md",)
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    *(page for part in PARTS for page in sorted((ROOT / "docs" / part).rglob("*.md")) if page != COMMANDS),
]


def snippets(language: str) -> list:
    found = []
    for page in PAGES:
        if language == "python" and page.name in OF_OTHER_MICE:
            continue
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)):
            found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


@pytest.fixture(scope="module")
def decoded(demo_sessions):
    """Tracked cells and curves of the demo, which most pages take for granted; those that the tests of the page ask."""
    from pipeline.decoding import NDCSettings
    from schemas.decoding.run import run_ndc
    from schemas.tracking import TrackingRun

    asked = NDCSettings("choice", ks=(4, 16), r=3, n_label_shuffles=19, n_bootstrap=20)
    assert run_ndc(demo_sessions, TrackingRun.register("SP999"), [asked]).failures == []


@pytest.mark.one_backend
@pytest.mark.parametrize("code", snippets("python"))
@pytest.mark.filterwarnings("ignore:.*null labels p is:UserWarning")  # snippets take few, to be quick
def test_python_snippets_run(code, decoded):
    exec(compile(code, "snippet", "exec"), {})


@pytest.fixture(scope="module")
def labelled(demo_sessions):
    """Labels of one's own, which the snippets in Python give on one backend only."""
    from schemas.labels import LabelSet
    from schemas.session import trials_of

    key = LabelSet.add("of_docs", {eid: trials_of(eid)["choice"] > 0 for eid in demo_sessions})
    yield
    (LabelSet & {"label_set": key["label_set"]}).delete()


@pytest.mark.parametrize("code", snippets("sql"))
def test_sql_snippets_give_rows(code, database, decoded, labelled):
    from schemas.server.settings import prefix

    for statement in code.replace("meso_views", f"{prefix()}views").split(";"):
        if statement.strip():
            assert database.query(statement).fetchall(), statement


def script(name: str) -> ModuleType:
    """Import a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_tables_is_up_to_date(database):
    generate = script("generate")
    assert (ROOT / "docs" / "reference" / "tables.md").read_text() == generate.tables_page(), "run: make pages"
    picture = ElementTree.fromstring(generate.tables_picture())
    assert {"Session", "ROI", "NDCResult"} < {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert (ROOT / "docs" / "images" / "tables.svg").read_text() == generate.tables_picture(), "run: make pages"


@pytest.mark.slow
def test_pages_are_written_from_a_database_of_their_own(tmp_path):
    """It was the user's embedded one, which it declared or upgraded, or the server that the settings name."""
    for part in ("reference", "images", "science"):
        (tmp_path / part).mkdir()
    users = {"MESO_DATA_DIR": str(tmp_path / "users"), "DJ_HOST": "127.0.0.1", "DJ_PORT": "1", "PYTHONPATH": str(ROOT)}
    script = [str(ROOT / "docs" / "generate.py"), str(tmp_path)]
    done = quick_start.run(script, env=os.environ | users, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "users").exists()
    for page in ("reference/settings.md", "reference/tables.md", "images/tables.svg", "science/two_regions.ipynb"):
        assert (tmp_path / page).read_text() == (ROOT / "docs" / page).read_text(), "run: make pages"


def command_paths(group: click.Group, *before: str) -> list[tuple[str, ...]]:
    paths = []
    for name, command in group.commands.items():
        inner = isinstance(command, click.Group)
        paths += command_paths(command, *before, name) if inner else [(*before, name)]
    return paths


def test_page_of_commands_has_every_option_that_help_shows():
    page = script("write_commands").commands_page()
    sections = dict(part.split("\n", 1) for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:])
    paths = command_paths(main)
    assert list(sections) == [" ".join(["meso", *path]) for path in paths]
    for path in paths:
        shown = CliRunner().invoke(main, [*path, "--help"]).output
        options = set(re.findall(r"^ {2,6}(--?[\w-]+)", shown, flags=re.MULTILINE))
        assert options >= {"-h"}
        described = set(re.findall(r"^`(--?[\w-]+)", sections[" ".join(["meso", *path])], flags=re.MULTILINE))
        assert options == described, path


def test_page_of_settings_is_up_to_date():
    generate = script("generate")
    assert (ROOT / "docs" / "reference" / "settings.md").read_text() == generate.settings_page(), "run: make pages"


def test_notebooks_are_those_of_their_pages():
    generate = script("generate")
    for name in generate.NOTEBOOKS:
        page = (ROOT / "docs" / f"{name}.md").read_text()
        assert (ROOT / "docs" / f"{name}.ipynb").read_text() == generate.notebook(page), "run: make pages"


def test_targets_of_links_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http") and page.parent.joinpath(target).resolve() != COMMANDS:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_first_page_links_all_others_of_its_parts():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    parts = {name: pages for part in nav for name, pages in part.items()}
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page for name in ("Start", "Science") for entry in parts[name] for page in entry.values()]
    assert [page for page in pages if page != "index.md" and f"({page})" not in text] == []


def test_every_command_is_documented():
    text = "\n".join(page.read_text() for page in [*PAGES, ROOT / "CONTRIBUTING.md"])
    for name, command in main.commands.items():
        assert command.help, name
        assert f"meso {name}" in text, f"meso {name} is in no page"


def test_settings_table_names_every_variable():
    used = set()
    for folder in ("pipeline", "schemas", "populate_scripts"):
        for file in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"[\"'](MESO_[A-Z_]+)[\"']", file.read_text()))
    text = (ROOT / "docs" / "operation" / "database.md").read_text()
    assert {name for name in used if name not in text} == set()


def test_version_and_date_are_the_same_in_all_files():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert citation["version"] == version
    assert heads[:2] == ["Unreleased", f"{version} - {citation['date-released']}"]
