"""The near side of a synchronisation: a tree of Maildirs, as local programs read and change it."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack import message


class Maildirs:
    """Folders below a directory, each a Maildir. `/` in a folder's name makes a directory in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)

    def messages(self, folder: str) -> dict[str, Path]:
        """Subject → file."""
        files = [*self.root.joinpath(folder, "cur").glob("*"), *self.root.joinpath(folder, "new").glob("*")]
        return {self.subject(path): path for path in files}

    @staticmethod
    def subject(path: Path) -> str:
        lines = path.read_text().splitlines()
        return next(line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: "))

    def flag(self, folder: str, subject: str, flags: str) -> None:
        """Give a file the flags of the Maildir format: F flagged, R replied, S seen, T trashed."""
        path = self.messages(folder)[subject]
        path.rename(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,{flags}")

    def add(self, folder: str, subject: str) -> None:
        """A new message, as a local program files it."""
        for name in ("cur", "new", "tmp"):
            (self.root / folder / name).mkdir(parents=True, exist_ok=True)
        (self.root / folder / "new" / f"{subject}.local").write_bytes(message(subject).replace(b"\r\n", b"\n"))

    def remove(self, folder: str, subject: str) -> None:
        """The file is gone, as after a local expunge."""
        self.messages(folder)[subject].unlink()
