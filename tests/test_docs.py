"""What the documents point at is there, and their code is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("[A-Z]*.md"), *(ROOT / "docs").rglob("*.md")])


def ids(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    for file, name in re.findall(r"([\w/]*test_\w+\.py)::(\w+)", document.read_text()):
        found = list((ROOT / "tests").rglob(Path(file).name))
        assert found, f"{file} is named, and not there"
        assert any(f"def {name}(" in path.read_text() for path in found), f"{file}::{name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_python_block_is_python(document: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S):
        ast.parse(block)
