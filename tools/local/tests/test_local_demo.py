"""How the command line tells faults of the demo, which uses mailboatctl's clients."""

from pathlib import Path

import pytest
import typer
from mailboat_local import main as command
from mailboat_local.main import main
from mailboatctl.errors import ApiRefused, CheckFailed, CommandError, Unreachable


@pytest.mark.parametrize(
    ("error", "status"),
    [(CheckFailed("no [trace] id"), 1), (ApiRefused(403, "no [trace] id"), 1), (Unreachable("no [trace] id"), 3)],
)
def test_a_fault_of_the_demo_is_one_text(
    error: CommandError,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing = typer.Typer()

    @failing.command()
    def demo() -> None:
        raise error

    monkeypatch.setattr(command, "app", failing)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mailboat-local"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (status, "mailboat-local: no [trace] id\n")
