"""The completion scripts of bash, zsh and fish, made from the tables of the options."""

from __future__ import annotations

from leaderlock.engines.catalogue import ENGINES

SCHEMES = tuple(f"{scheme}://" for scheme in ENGINES if scheme != "postgres")
"""The beginnings of an election's URL; of the two names of PostgreSQL's scheme, the usual one."""

MAIN_OPTIONS = (("--help", "show what there is"), ("--version", "show the version"))


def filled(template: str, **parts: str) -> str:
    """The template with each @NAME@ replaced."""
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template
