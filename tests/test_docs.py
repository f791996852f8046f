"""Every snippet of README.md and docs/ is executed; what the docs list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(language: str) -> list:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)):
            found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippets_run(code, demo_sessions):
    exec(compile(code, "snippet", "exec"), {})


@pytest.mark.parametrize("code", snippets("sql"))
def test_sql_snippets_give_rows(code, database, demo_sessions):
    from schemas.server.settings import prefix

    for statement in code.replace("meso_views", f"{prefix()}views").split(";"):
        if statement.strip():
            assert database.query(statement).fetchall(), statement


@pytest.fixture(scope="module")
def generate():
    """The script that writes pages from the code."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_tables_is_up_to_date(database, generate):
    assert (ROOT / "docs" / "tables.md").read_text() == generate.tables_page(), "run: make docs"


def test_page_of_settings_is_up_to_date(generate):
    assert (ROOT / "docs" / "settings.md").read_text() == generate.settings_page(), "run: make docs"


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_is_documented():
    from populate_scripts.cli import main

    text = "\n".join(page.read_text() for page in [*PAGES, ROOT / "CONTRIBUTING.md"])
    for name, command in main.commands.items():
        assert command.help, name
        assert f"meso {name}" in text, f"meso {name} is in no page"


def test_settings_table_names_every_variable():
    used = set()
    for folder in ("pipeline", "schemas", "populate_scripts"):
        for file in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"[\"'](MESO_[A-Z_]+)[\"']", file.read_text()))
    text = (ROOT / "docs" / "database.md").read_text()
    assert {name for name in used if name not in text} == set()
