"""Logs of all kinds are followed line by line and made readable."""

import io
from pathlib import Path

import pytest
from mailboat_local.layout import Layout
from mailboat_local.logs import Follower, Line, Printer, readable
from rich.console import Console


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain words", Line("", "plain words")),
        ("[1, 2]", Line("", "[1, 2]")),
        ("{broken", Line("", "{broken")),
        (
            '{"timestamp":"2026-01-02T03:04:05.678901Z","level":"warning","event":"slow call","method":"Head","ms":12}',
            Line("warning", "03:04:05.678 slow call method=Head ms=12"),
        ),
        (
            '{"t":{"$date":"2026-01-02T03:04:05.678+00:00"},"s":"W","c":"STORAGE","msg":"Low","attr":{"free":{"mb":3}}}',
            Line("warning", 'Low free={"mb":3}'),
        ),
        ('{"t":{"$date":"x"},"s":"I","msg":"Started"}', Line("info", "Started")),
    ],
)
def test_readable(line: str, expected: Line) -> None:
    assert readable(line) == expected


def test_following(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    one, two = layout.log_file("a-1"), layout.log_file("b-1")
    one.write_text("old\n")
    follower = Follower(layout, ["a-1", "b-1"], from_end=True)
    assert list(follower.new_lines()) == []
    one.write_text("old\nnew\nhal")
    two.write_text("first\n")
    assert list(follower.new_lines()) == [("a-1", "new"), ("b-1", "first")]
    one.write_text("old\nnew\nhalf\n")
    assert list(follower.new_lines()) == [("a-1", "half")]
    one.write_text("rotated\n")
    assert list(follower.new_lines()) == [("a-1", "rotated")]


def test_quiet_servers_show_trouble_only() -> None:
    text = io.StringIO()
    printer = Printer(Console(file=text, width=200), ["imap_gateway-1", "mongod-1", "rabbitmq-1"], quiet_servers=True)
    printer.show("mongod-1", '{"t":{},"s":"I","msg":"chatter"}')
    printer.show("mongod-1", '{"t":{},"s":"E","msg":"trouble"}')
    printer.show("rabbitmq-1", "2026-01-01 [info] <0.1.0> chatter")
    printer.show("rabbitmq-1", "2026-01-01 [error] <0.1.0> trouble")
    printer.show("imap_gateway-1", '{"event":"hello [not markup]","level":"info"}')
    assert text.getvalue().splitlines() == [
        "mongod-1       | trouble",
        "rabbitmq-1     | 2026-01-01 [error] <0.1.0> trouble",
        "imap_gateway-1 | hello [not markup]",
    ]
