"""Colours and fonts of the drawing, for light and dark."""

from __future__ import annotations

FONTS = (
    "system-ui, 'Segoe UI', Roboto, Ubuntu, Cantarell, 'Noto Sans', 'Liberation Sans', 'DejaVu Sans', "
    "FreeSans, Helvetica, Arial, sans-serif"
)
"""Fonts of the text: a browser uses the first one that is installed."""

STYLE = f"""\
.timeline {{ font-family: {FONTS}; font-size: 13px; }}
.timeline text {{ fill: #1f2933; }}
.timeline .tl-faint {{ fill: #52606d; }}
.timeline .tl-paper {{ fill: #ffffff; }}
.timeline .tl-grid {{ stroke: #cbd2d9; stroke-width: 1; }}
.timeline .tl-leads {{ fill: #1a7f4b; stroke: #1a7f4b; }}
.timeline .tl-order {{ fill: #2f6fa7; stroke: #2f6fa7; }}
.timeline .tl-died {{ fill: #b4541a; stroke: #b4541a; }}
.timeline .tl-mark {{ fill: none; stroke-width: 2; }}
.timeline .tl-gap {{ fill: #d92d20; fill-opacity: 0.3; stroke: #d92d20; stroke-width: 1; }}
.timeline .tl-unknown {{ fill: none; stroke: #52606d; stroke-width: 1; stroke-dasharray: 3 2; }}
@media (prefers-color-scheme: dark) {{
.timeline text {{ fill: #e6e9ec; }}
.timeline .tl-faint {{ fill: #a5b0bb; }}
.timeline .tl-paper {{ fill: #14181d; }}
.timeline .tl-grid {{ stroke: #3b4651; }}
.timeline .tl-leads {{ fill: #4cc38a; stroke: #4cc38a; }}
.timeline .tl-order {{ fill: #6cb0e6; stroke: #6cb0e6; }}
.timeline .tl-died {{ fill: #f0a35e; stroke: #f0a35e; }}
.timeline .tl-gap {{ fill: #ff7b72; stroke: #ff7b72; }}
.timeline .tl-unknown {{ stroke: #a5b0bb; }}
}}
"""
"""The style sheet of the drawings, also for a page whose drawings have none; styles drawings only."""
