"""The documentation site: `make docs` builds it into site/."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

from leaderlock import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "leaderlock"
author = "The leaderlock authors"
release = version = __version__
language = "en-GB"

# Options are typed as they stand: no "--workers" is to become a dash.
smartquotes_action = "qe"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
default_role = "py:obj"  # `release` in a docstring leads to what it names, if there is such a thing

# Directories of the repository, which GitHub shows and the site does not have.
nitpick_ignore_regex = [("myst", r"(\.\./)+(benchmarks|contrib|examples|tests)(/[\w/]*)?")]

# The headings of a page can be linked to by the names that GitHub gives them.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# What is copied is the commands, without prompt and output.
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "leaderlock"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False


class Help(Directive):
    """What a command of leaderlock says about itself: ``.. help:: run``."""

    optional_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Ask it, as a reader would."""
        words = [*self.arguments, "--help"]
        command = [sys.executable, "-m", "leaderlock", *words]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [nodes.literal_block(said, said, language="text")]


def with_octal_modes(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str, result: str
) -> tuple[str, str] | None:
    """Show a file's mode as it was written: 0o600, and not 384."""
    if not signature:
        return None
    return re.sub(r"(?<=\bmode: int = )\d+", lambda mode: oct(int(mode[0])), signature), result


def without_directories(app: Sphinx, page: nodes.document, name: str) -> None:
    """Make plain text of what leads to a directory of the repository."""
    for link in list(page.findall(nodes.reference)):
        if link.get("refid", "").startswith("../"):
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Add what this site alone has."""
    app.add_directive("help", Help)
    app.connect("autodoc-process-signature", with_octal_modes)
    app.connect("doctree-resolved", without_directories)
