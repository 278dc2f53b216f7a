"""The face of a room (a package): its public names, each imported at its first use."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def face(
    room: str, module_of: dict[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (PEP 562) for a room that exports these names.

    Args:
        room: the room's ``__name__``.
        module_of: each name, with the room's module that defines the name or is that name itself.
    """

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        import importlib  # noqa: PLC0415  (not needed where every name is imported from its own module)

        module = importlib.import_module(f"{room}.{module_of[name]}")
        value: object = module if module_of[name] == name else getattr(module, name)
        setattr(sys.modules[room], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[room]), *module_of})

    return get, names
