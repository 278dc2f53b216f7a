"""The key of `call_once`, under which an outcome is kept, and the checks of a key and its function."""

from __future__ import annotations

import inspect

from leaderlock.once.outcomes import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FOR_GOOD = "null"
"""The key of an outcome that was given no key, in JSON."""


class OnceKey:
    """The key of one decorated function.

    Args:
        key: the key that `call_once` was given.
        given: whether `call_once` was given a key at all.

    Raises:
        TypeError: the key is unset, or JSON cannot hold it, or the function has parameters and the key
            does not depend on them.
    """

    def __init__(self, function: Callable[..., object], key: object, given: bool) -> None:
        self._name = getattr(function, "__qualname__", None) or repr(function)
        self._of_arguments = key if callable(key) else None
        if self._of_arguments is None:
            self._fixed = self._encoded(key) if given else _FOR_GOOD
            self._refuse_parameters(function)

    def of(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """The key, in JSON, for the outcome of a call with these arguments."""
        if self._of_arguments is not None:
            return self._encoded(self._of_arguments(*args, **kwargs))
        if args or kwargs:
            raise TypeError(
                f"{self._name} takes no arguments: every caller gets the result of one call "
                f"(call_once with key=FUNCTION tells calls apart)"
            )
        return self._fixed

    def _encoded(self, key: object) -> str:
        if key is None or key == "":
            source = "the key function returned" if self._of_arguments else "call_once got"
            raise TypeError(
                f"{source} key={key!r} for {self._name}: is a variable unset? With os.environ.get(...) "
                f"an unset variable would be the same key in every release, and the function would "
                f"never run again. Use os.environ[...], or leave key= out to run it once for good"
            )
        return encode(key, "the key")

    def _refuse_parameters(self, function: Callable[..., object]) -> None:
        try:
            parameters = inspect.signature(function).parameters
        except ValueError:  # a function written in C may have no signature
            raise TypeError(
                f"call_once cannot see which parameters {self._name} has: wrap it in a function that "
                f"has none, or give key= a function of the arguments"
            ) from None
        bound = getattr(function, "keywords", {})  # functools.partial's
        free = [str(parameter) for name, parameter in parameters.items() if name not in bound]
        if free:
            raise TypeError(
                f"call_once runs {self._name}({', '.join(free)}) once for a key, so that a call with "
                f"other arguments would get the first call's result: give key= a function of the "
                f"arguments, key=lambda {', '.join(_bare(parameters))}: ..., or decorate a function "
                f"without parameters"
            )


def _bare(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """The parameters as a lambda names them, without types and defaults."""
    stars: dict[object, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    return [stars.get(parameter.kind, "") + name for name, parameter in parameters.items()]
