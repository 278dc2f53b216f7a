"""`leaderlock history`: the real program tells of real terms."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

import leaderlock
from leaderlock import LeaderLock
from leaderlock.history.reading import history_of
from leaderlock.history.summary import Summary
from tests.processes import holder
from tests.test_run import run

SCHEMA = Path(leaderlock.__file__).parent / "history.schema.json"


def rows_of(text: str) -> list[list[str]]:
    """The table's rows, cut at its columns' gaps."""
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


@pytest.fixture
def used(path: Path) -> Path:
    """A lock that was released once, then killed, and is held by this process again."""
    with LeaderLock(path):
        pass
    with holder(path) as leader:
        leader.kill()
    return path


def test_it_tells_of_each_term_the_newest_last(used: Path) -> None:
    with LeaderLock(used):
        result = run("history", str(used))
    assert (result.returncode, result.stderr) == (0, "")
    first, *rest = result.stdout.splitlines()
    assert first == str(used)
    headings, *rows = rows_of(result.stdout)
    assert headings == ["term", "leader", "start", "length", "ended", "gap before"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[4] for row in rows] == ["released", "killed", "leads"]
    assert rows[0][1] == rows[2][1] == f"{os.getpid()} on {os.uname().nodename}"
    assert rows[0][5] == "–"
    assert rows[2][5].startswith("< ")
    assert rest[-1].startswith("3 terms, 2 failovers, longest gap ")
    assert rest[-1].endswith(" of the time without a leader.")


def test_the_last_ones_only(used: Path) -> None:
    text = run("history", "--last", "1", str(used)).stdout
    assert [row[0] for row in rows_of(text)[1:]] == ["2"]
    assert "Nobody leads now, for < " in text
    assert [
        term["term"]
        for term in json.loads(run("history", "--last=1", "--json", str(used)).stdout)["terms"]
    ] == [2]


def test_json_is_as_its_schema_says_and_the_same_as_in_python(used: Path) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    with LeaderLock(used):
        document = json.loads(run("history", "--json", str(used)).stdout)
        assert document == history_of(used).as_json()
    jsonschema.validate(document, schema)
    members = set(schema["$defs"]["term"]["properties"])
    assert all(set(term) == members for term in document["terms"])
    document["terms"][0]["ended"] = "vanished"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_damaged_entries_are_counted_and_said(used: Path) -> None:
    content = bytearray(used.read_bytes())
    content[-40:-30] = b"x" * 10
    used.write_bytes(content)
    text = run("history", str(used)).stdout
    assert "1 entry is damaged and left out" in text
    assert len(rows_of(text)) == 2


def test_a_lock_that_nobody_of_ours_has_held_has_no_terms(path: Path) -> None:
    path.touch()
    result = run("history", str(path))
    assert (result.returncode, result.stdout) == (0, f"{path}\nNo terms are known.\n")


def test_the_svg_is_the_drawing_and_nothing_is_printed(used: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.svg"
    result = run("history", "--plot", str(picture), str(used))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    titles = [
        element.text or "" for element in ET.parse(picture).iter("{http://www.w3.org/2000/svg}title")
    ]
    assert f"Terms of {used}" in titles
    assert sum(title.startswith("term ") for title in titles) == 2


def test_the_png_has_its_text_and_its_bars(used: Path, tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "x.png"
    result = run("history", "--plot", str(picture), str(used))
    assert (result.returncode, result.stderr) == (0, "")
    with Image.open(picture) as image:
        assert image.format == "PNG"
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
        # Dark pixels in the corner where the title stands.
        title = image.convert("L").crop((0, 20, 400, 50))
        assert min(title.tobytes()) < 80
    assert {(47, 111, 167), (180, 84, 26)} <= colours  # given up in good order, and killed


def test_without_the_renderer_the_error_names_the_extra(used: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['resvg_py'] = None; import leaderlock.cli as c; sys.exit(c.main())"
    command = [sys.executable, "-c", code, "history", "--plot", str(tmp_path / "x.png"), str(used)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 125
    assert result.stderr.count("\n") == 1
    assert "pip install 'leaderlock[plot]'" in result.stderr
    assert not (tmp_path / "x.png").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_a_font_the_text_would_vanish_so_that_is_an_error(used: Path, tmp_path: Path) -> None:
    script = (
        'for d in /usr/share/fonts /usr/local/share/fonts; do mount -t tmpfs none "$d"; done; exec "$@"'
    )
    command = [sys.executable, "-m", "leaderlock", "history", str(used), "--plot"]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command, str(tmp_path / "x.png")],
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 125
    assert (
        "none is installed: install one (Debian: fonts-dejavu-core), or draw an .svg" in result.stderr
    )


def on_a_terminal(*arguments: str, before: str = "", columns: int = 120) -> str:
    """What the program writes to a terminal."""
    code = f"import sys\n{before}\nimport leaderlock.cli as c; sys.exit(c.main())"
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.Popen(command, stdout=side, stderr=side, env=environment)
    os.close(side)
    written = b""
    try:
        while piece := os.read(main, 65536):
            written += piece
    except OSError:  # EIO: the other side is closed
        pass
    os.close(main)
    assert process.wait(60) == 0
    return written.decode()


def test_a_terminal_gets_colours_with_rich_and_plain_text_without(used: Path) -> None:
    with LeaderLock(used):
        coloured = on_a_terminal("history", str(used))
        plain = on_a_terminal("history", str(used), before="sys.modules['rich'] = None")
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    for text in (coloured, plain):
        assert "killed" in text
        assert "3 terms, 2 failovers" in text


@pytest.mark.parametrize("before", ["", "sys.modules['rich'] = None"], ids=["rich", "plain"])
@pytest.mark.parametrize("columns", [100, 80, 60, 52])
def test_no_line_is_wider_than_the_terminal_and_no_date_is_cut(
    used: Path, columns: int, before: str
) -> None:
    short = used.with_name("s.lock")
    used.rename(short)
    with LeaderLock(short):
        shown = on_a_terminal(
            "history",
            short.name,
            before=f"import os; os.chdir({str(short.parent)!r})\n{before}",
            columns=columns,
        )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines[1:])) <= columns
    dates = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "\n".join(lines))
    assert len(dates) == 3
    for told in ("released", "killed", "leads", str(os.getpid())):
        assert any(told in line for line in lines)


def test_waiters_for_a_call_are_no_failovers_and_a_clean_stop_ends_the_count(path: Path) -> None:
    lock = LeaderLock(path)
    for _ in range(4):
        with lock:
            pass
    history = history_of(path)
    stopped = history.terms[-1].until
    assert stopped is not None
    summary, later = Summary(history, stopped), Summary(history, stopped + 1e6)
    assert summary.failovers == 0
    assert later.as_text() == summary.as_text()
    with holder(path) as leader:
        leader.kill()
    history = history_of(path)
    assert Summary(history, stopped + 1e6).leaderless_most > 0.9  # nobody stopped it on purpose
    assert Summary(history, stopped + 1e6).failovers == 1


def test_what_a_host_is_called_moves_no_terminal(used: Path, tmp_path: Path) -> None:
    odd = tmp_path / "[red]\x1b[2J\n.lock"
    with LeaderLock(odd):
        pass
    assert "\x1b" not in run("history", str(odd)).stdout
    assert "\x1b[2J" not in on_a_terminal("history", str(odd))
    assert "[red]" in on_a_terminal("history", str(odd))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "one lock is needed"),
        (("a", "b"), "one lock is enough"),
        (("",), "PATH must name a file"),
        (("--last", "0", "a"), "a number of terms, 1 or more, is needed"),
        (("--last", "x", "a"), "a number of terms, 1 or more, is needed"),
        (("--plot", "x.gif", "a"), "ends in .svg or .png"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], text: str) -> None:
    result = run("history", *arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_cannot_be_read_or_written_is_an_error_of_one_line(used: Path, tmp_path: Path) -> None:
    for arguments, text in (
        ((str(tmp_path / "missing"),), "does not exist: nobody has used this lock yet"),
        ((str(tmp_path),), "is a directory: give the path of a regular file"),
        ((str(used), "--plot", str(tmp_path / "no" / "x.svg")), "x.svg: No such file or directory"),
    ):
        result = run("history", *arguments)
        assert (result.returncode, result.stdout) == (125, "")
        assert text in result.stderr
        assert result.stderr.count("\n") == 1
