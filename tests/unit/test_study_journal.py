"""A journal, whatever is cut off it, changed in it, or in the way of it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.errors import StorageError, StudyNotFound
from kerasweep.study import journal
from kerasweep.study.folder import find, studies
from kerasweep.study.journal import Journal

EVENTS: list[dict[str, Any]] = [
    {"event": "study", "version": 1, "id": "näme@12345678", "started": 1.5},
    {"event": "epoch", "rows": [[0, 0.1 + 0.2, 1e-300, None], [1, math.inf, 3.0, 2.0]], "text": 'a "line"\nbreak'},
    {"event": "ended", "ended": [[0, "failed", "ValueError: ','check':'"]]},
    {"event": "over", "status": "finished"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "näme@12345678" / "journal.jsonl"
    file.parent.mkdir()
    with Journal(file) as written:
        for event in EVENTS:
            written.append(event, lasting=event["event"] == "ended")
    return file


def told(contents: journal.Contents) -> list[dict[str, Any]]:
    return [dict(event) for event in contents.events]


def test_what_is_written_is_read_and_a_text_editor_can_read_it_too(path: Path) -> None:
    contents = journal.whole(path)
    assert told(contents) == EVENTS
    assert contents.damage is None
    assert contents.size == path.stat().st_size
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(EVENTS)
    assert "näme@12345678" in lines[0]


def test_writing_goes_on_where_another_process_ended(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b'{"event":"epo')  # it was killed in the middle of a line
    with Journal(path, journal.whole(path)) as written:
        written.append({"event": "session", "at": 2.0})
    assert told(journal.whole(path)) == [*EVENTS, {"event": "session", "at": 2.0}]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_torn_journal_is_what_it_was_before_the_torn_line(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("torn")
    path = folder / "journal.jsonl"
    with Journal(path) as written:
        for event in EVENTS:
            written.append(event)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    tail = data.draw(st.sampled_from([b"", b"\0" * 40, b"{", b'"}', content[: cut // 3].replace(b"\n", b"")]))
    path.write_bytes(content[:cut] + tail)
    contents = journal.read(path)
    whole = content[:cut].count(b"\n")
    assert contents.damage is None
    # What follows may complete the line that was cut off by chance; it never makes another one.
    assert told(contents) in (EVENTS[:whole], EVENTS[: whole + 1])
    with Journal(path, contents) as written:
        written.append({"event": "session"})
    assert told(journal.read(path)) == [*told(contents), {"event": "session"}]


def test_every_changed_byte_is_noticed_and_told_with_its_line(path: Path) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        contents = journal.read(path)
        line = content[:place].count(b"\n")
        assert told(contents) == EVENTS[:line]
        if place == len(content) - 1:  # the last line break: the line does not count yet
            assert contents.damage is None
        else:
            assert contents.damage is not None
            assert contents.damage.startswith(f"line {line + 1} must be as it was written. Received: ")


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_line_is_damage(path: Path, gone: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(
        StorageError, match=rf"line {gone + 1} must be as it was written.*kerasweep repair näme@12345678"
    ):
        journal.whole(path)


def test_repair_keeps_what_is_whole_and_the_file_as_it_was(path: Path) -> None:
    assert journal.repair(path) == (4, 0)
    content = path.read_bytes()
    for round_, aside in enumerate(("journal.jsonl.damaged", "journal.jsonl.damaged-2")):
        damaged = content.replace(b"1e-300", b"1e-301")
        path.write_bytes(damaged)
        assert journal.repair(path) == (1, 3), round_
        assert told(journal.whole(path)) == EVENTS[:1]
        assert path.with_name(aside).read_bytes() == damaged
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "journal.jsonl",
        "journal.jsonl.damaged",
        "journal.jsonl.damaged-2",
    ]


@pytest.mark.parametrize(
    ("content", "rule"),
    [(b"", "must begin with its study. Received: no whole line"), (b"half a line", "must begin with its study")],
)
def test_a_file_without_a_line_is_no_journal(path: Path, content: bytes, rule: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match=rule):
        journal.whole(path)


def test_a_study_that_was_killed_before_its_first_event_is_none(path: Path) -> None:
    root = path.parent.parent
    begun = root / "other@12345678" / "journal.jsonl"
    begun.parent.mkdir()
    begun.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes().split(b"\n")[0][:40])
    assert [each.path for each in studies(root)] == [begun.parent]
    with pytest.raises(StudyNotFound, match="the newest are: other@12345678"):
        find(root, "näme")


def test_another_version_is_not_read(path: Path) -> None:
    path.unlink()
    with Journal(path) as written:
        written.append({"event": "study", "version": 2})
    with pytest.raises(StorageError, match=r"journal.jsonl:1: the journal's version must be 1. Received: 2"):
        journal.whole(path)


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"must be readable\. Received: .*No such file"):
        journal.read(tmp_path / "journal.jsonl")


FULL = """
import resource, signal, sys
from pathlib import Path
from kerasweep.errors import StorageError, StudyNotFound
from kerasweep.study import journal
from kerasweep.study.folder import find, studies
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
written = journal.Journal(path, journal.whole(path))
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, resource.RLIM_INFINITY))
try:
    written.append({"event": "epoch", "text": "x" * 100})
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
written.append({"event": "session"})
"""


def test_a_full_disk_is_told_and_leaves_no_half_line(path: Path) -> None:
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert "must be written. Received: " in done.stdout
    assert "File too large. Nothing that it holds is lost" in done.stdout
    assert "kerasweep resume näme@12345678 carries on" in done.stdout
    assert path.read_bytes().startswith(before)
    assert told(journal.whole(path)) == [*EVENTS, {"event": "session"}]


@pytest.mark.parametrize("stage", ["write", "fsync"])
def test_an_interrupt_within_an_event_leaves_a_journal_that_goes_on(
    path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> int:
        done(*arguments)
        raise KeyboardInterrupt

    done = getattr(os, stage)
    written = Journal(path, journal.whole(path))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, stage, interrupted)
        written.append({"event": "searched"}, lasting=True)
    written.append({"event": "session"})
    written.close()
    assert told(journal.whole(path)) == [*EVENTS, {"event": "session"}]


def test_half_a_character_is_kept_as_it_is(path: Path) -> None:
    with Journal(path, journal.whole(path)) as written:
        written.append({"event": "ended", "ended": [[0, "failed", "OSError: no file caf\udce9.csv"]]})
    path.read_text(encoding="utf-8")  # it is text
    assert told(journal.whole(path))[-1]["ended"] == [[0, "failed", "OSError: no file caf\udce9.csv"]]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a study's journal must be written\. Received: .*No such file"):
        Journal(tmp_path / "nowhere" / "journal.jsonl")
