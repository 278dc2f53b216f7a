"""The extension of leaderlock-native; all else stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "leaderlock_native._keeper",
            [f"keeper/{name}.c" for name in ("module", "birth", "life", "confinement", "trial")],
            depends=["keeper/keeper.h", "keeper/system_calls.h"],
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
            py_limited_api=True,
        )
    ],
    # One wheel for every CPython from 3.10 on.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
