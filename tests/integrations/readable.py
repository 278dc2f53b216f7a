"""This installation, which may lie in root's home, for servers whose workers become another user."""

from __future__ import annotations

import shlex
import stat
import sys
from pathlib import Path

TREES = [Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]]


def readable_by_all(directory: Path) -> list[str]:
    """What to put before a command, so that it, and whom it starts, see the installation open to all.

    For them alone an open directory lies over each closed one, with the installation in it as before.
    Needs root; `directory` is for places to keep the installation meanwhile.
    """
    closed: dict[Path, Path] = {}  # the outermost one, by what cannot be reached for it
    for tree in TREES:
        for place in tree.parents:
            if not place.stat().st_mode & stat.S_IXOTH:
                closed[tree] = place
    keep, put_back = [], []
    for number, tree in enumerate(closed):
        kept = directory / f"kept-{number}"
        kept.mkdir()
        keep.append(["mount", "--bind", tree, kept])
        put_back += [["mkdir", "-p", tree], ["mount", "--bind", kept, tree]]
    cover = [
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place] for place in set(closed.values())
    ]
    script = [shlex.join(map(str, words)) for words in [*keep, *cover, *put_back]]
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*script, 'exec "$@"']), "sh"]
