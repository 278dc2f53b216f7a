"""HTML with automatic escaping: only this module turns plain text into markup."""

from __future__ import annotations

from html import escape

from leaderlock.wording import printable


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | bool | None) -> Markup:
    """An element.

    Args:
        name: the name of the element.
        children: the content. Text that is not `Markup` is escaped, and unprintable characters are
            made visible.
        attributes: the values are escaped in the same way. True makes an attribute without a value;
            None or False omits the attribute. ``class_`` is ``class``, and ``aria_label`` is
            ``aria-label``.
    """
    shown = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in ("meta", "link"):
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: tuple[str, ...] | list[str]) -> Markup:
    """Concatenate the children; each is escaped unless it is markup."""
    return Markup("".join(child if isinstance(child, Markup) else _text(child) for child in children))


def _attribute(name: str, value: str | bool) -> str:
    return f" {name}" if value is True else f' {name}="{_text(str(value))}"'


def _text(text: str) -> str:
    return escape(printable(text))
