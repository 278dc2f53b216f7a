"""The code blocks of a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Block:
    """A block of code; a fence may say more than the language: ``python file=job.py``."""

    document: str
    line: int
    language: str
    content: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    for token in MarkdownIt().parse(document.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"} and token.map is not None:
            language, *options = token.info.split() or [""]
            yield Block(
                str(document.relative_to(ROOT)),
                token.map[0] + 1,
                language,
                token.content,
                dict(option.split("=", 1) for option in options if "=" in option),
            )
