"""What reaches standard output."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.text import Text

from kerasweep.cli.output import program, reserved, show, write, write_json


def test_json_is_one_strict_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_json(
        {
            "nan": math.nan,
            "inf": -math.inf,
            "numpy": (np.float32(0.5), np.int64(3)),
            "path": Path("models"),
            "name": "größe",
            "flag": True,
            "none": None,
        }
    )
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "nan": None,
        "inf": None,
        "numpy": [0.5, 3],
        "path": "models",
        "name": "größe",
        "flag": True,
        "none": None,
    }


def test_a_pipe_gets_whole_lines_without_colour_or_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    show(Text("x" * 300 + "   ", style="bold red"))
    assert capsys.readouterr().out == "x" * 300 + "\n"


def test_a_terminal_is_told_nothing_to_obey(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\r\x9b31m\x7f[red]\tend"
    spelt = r"\x1b]0;title\x07\x1b[2J\r\x9b31m\x7f[red]"
    write(f"{hostile}\n")
    assert capsys.readouterr().out == f"{spelt}\tend\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(Text(hostile, style="bold"))
    shown = capsys.readouterr().out
    assert spelt.replace(r"\x07", "").replace(r"\r", "") in shown  # which rich leaves out
    assert shown.startswith("\x1b[1m")  # rich's own styles stay
    assert not {"\x1b[2J", "\x1b]0", "\x9b", "\x7f"} & {shown[i : i + n] for i in range(len(shown)) for n in (1, 3, 4)}
    write_json({hostile: 1})
    assert json.loads(capsys.readouterr().out) == {hostile: 1}


def test_a_reader_that_left_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        write("nobody reads this\n", stream)
        write("nor this\n", stream)


def test_what_others_print_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with reserved():
        print("Saved artifact at …", file=sys.stdout)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Saved artifact at …\n"


class TestProgram:
    def test_the_bare_command_only_where_the_shell_finds_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command = tmp_path / ".venv" / "bin" / "kerasweep"
        command.parent.mkdir(parents=True)
        command.touch(mode=0o755)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", str(command.parent))
        monkeypatch.setattr(sys, "argv", [str(command), "run"])
        assert program() == "kerasweep"
        monkeypatch.setenv("PATH", str(tmp_path))
        assert program() == ".venv/bin/kerasweep"
        monkeypatch.setattr(sys, "argv", ["__main__.py"])
        assert program() == f"{sys.executable} -m kerasweep"
