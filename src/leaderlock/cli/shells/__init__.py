"""The completion scripts of bash, zsh and fish, made from the tables of the options."""

from __future__ import annotations

MAIN_OPTIONS = (("--help", "show what there is"), ("--version", "show the version"))


def filled(template: str, **parts: str) -> str:
    """The template with each @NAME@ replaced."""
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template
