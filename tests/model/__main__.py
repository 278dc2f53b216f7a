"""``make model``: checks the model whole and with each step left out, and writes the table of both."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.model.checking import ENDS, LEADS, SAFETY, VARIANTS, check

TABLE = Path(__file__).parents[2] / "docs" / "model-results.md"

_PROPERTIES = {
    SAFETY: "one leader of a file, and rising terms",
    LEADS: "somebody leads in the end",
    ENDS: "a leader of a deleted file ends",
}

_HEAD = """# The lock as a model: the results

`make model` writes this page. It looks at every state of the model in `tests/model/lock.pml`: two
processes, a crash before any step, and what the row names. Each row leaves out one step;
its property must then fail. `tests/model/README.md` names the function of each step.

| left out | property | states | holds |
| --- | --- | ---: | --- |
"""


def main() -> int:
    rows, wrong = [], 0
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as directory:
            result = check(variant, Path(directory))
        wrong += result.holds == bool(variant.drops)
        answer = "yes" if result.holds else "**no**"
        row = f"| {variant.words} | {_PROPERTIES[variant.prop]} | {result.states:,} | {answer} |"
        print(row, flush=True)
        rows.append(row)
    TABLE.write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
