"""Sizes, settings and the import file, as tables."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboatctl import accounts_csv, settings
from mailboatctl.errors import WrongUse
from mailboatctl.sizes import LARGEST, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5G", 5 << 30), ("5g", 5 << 30), ("5 GiB", 5 << 30), ("5GB", 5 << 30), ("1.5T", 3 << 39), ("500M", 500 << 20),
        ("64k", 64 << 10), ("812", 812), ("none", 0), (" None ", 0),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "G", "-1", "0", "5X", "1e9", "5G5", "９G", "99999999T", "1.2.3M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"no size|out of range"):
        parse_size(text)


@given(st.integers(min_value=1, max_value=LARGEST))
def test_shown_sizes_can_be_read_again(size: int) -> None:
    again = parse_size(show_size(size))
    assert abs(again - size) <= size * 0.06


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/credentials.env").write_text("# made by make up\nMB_API_URL=http://file:1/\nMB_API_TOKEN=f=1\n")
    assert settings.load({}, tmp_path) == settings.ApiSettings("http://file:1", "f=1")
    mixed = settings.load({"MB_API_URL": "https://env", "MB_API_TOKEN": ""}, tmp_path)
    assert mixed == settings.ApiSettings("https://env", "f=1")
    assert "f=1" not in repr(mixed)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MB_API_URL": "http://a"},
        {"MB_API_URL": "a", "MB_API_TOKEN": "t"},
        {"MB_API_URL": "http://a", "MB_API_TOKEN": "a\nb"},
    ],
)
def test_settings_that_make_no_sense(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(WrongUse):
        settings.load(environ, tmp_path)


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/credentials.env").write_text("MB_API_URL=http://file:1\nMB_API_TOKEN=of-the-stack\n")
    path = tmp_path / "token"
    path.write_text("mounted\n")
    environ = {"MB_API_URL": "http://env", "MB_API_TOKEN_FILE": str(path)}
    assert settings.load(environ, tmp_path / "elsewhere") == settings.ApiSettings("http://env", "mounted")
    assert settings.load(environ, tmp_path) == settings.ApiSettings("http://env", "mounted")
    assert settings.load(environ | {"MB_API_TOKEN": "direct"}, tmp_path).token == "direct"
    assert settings.load({"MB_API_TOKEN_FILE": ""}, tmp_path).token == "of-the-stack"


@pytest.mark.parametrize(
    "content", [None, b"", b" \n", b"two words", b"two\nlines", b"\xff\xfe", "tok\u00e9n".encode()]
)
def test_a_token_file_that_is_of_no_use(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUse, match=r"MB_API_TOKEN_FILE: .*token (cannot be read|does not hold)") as caught:
        settings.load({"MB_API_URL": "http://a", "MB_API_TOKEN_FILE": str(path)}, tmp_path)
    assert "two" not in str(caught.value)


ARGON2ID = "$argon2id$v=19$m=19456,t=2,p=1$c29t$WLY6"


def rows(text: str) -> list[dict[str, object]]:
    return [row.request() for row in accounts_csv.read(io.StringIO(text, newline=""))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a@x.test,secret", {"password": "secret"}),
        ("a@x.test,secret,", {"password": "secret"}),
        ("a@x.test,secret,5G", {"password": "secret", "quota_bytes": 5 << 30}),
        ('a@x.test,"se,""cret ",1M', {"password": 'se,"cret ', "quota_bytes": 1 << 20}),
        (f"a@x.test,{ARGON2ID}", {"password_hash": ARGON2ID}),
        (f"a@x.test,{ARGON2ID},1M", {"password_hash": ARGON2ID, "quota_bytes": 1 << 20}),
        (f'a@x.test,"{ARGON2ID}",1M', {"password_hash": ARGON2ID, "quota_bytes": 1 << 20}),
        (f"a@x.test,{{ARGON2ID}}{ARGON2ID},", {"password_hash": ARGON2ID}),
        ("a@x.test,{BCRYPT}$2b$10$abc", {"password_hash": "{BCRYPT}$2b$10$abc"}),
        ("a@x.test,{SHA512-CRYPT}$6$salt$abc", {"password_hash": "{SHA512-CRYPT}$6$salt$abc"}),
        ("a@x.test,$2y$10$abc", {"password_hash": "{BCRYPT}$2y$10$abc"}),
        ("a@x.test,$6$salt$abc", {"password_hash": "{SHA512-CRYPT}$6$salt$abc"}),
        ("a@x.test,{PLAIN}$6$mine", {"password": "$6$mine"}),
    ],
)
def test_import_rows(line: str, expected: dict[str, object]) -> None:
    for text in (line, f"{line}\r\n", f"address,password,quota\n\n{line}\n"):
        assert rows(text) == [{"address": "a@x.test"} | expected]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a@x.test\n", "line 1: address,password,quota expected, 1 values"),
        ("a@x.test,p,1G,more\n", "line 1: address,password,quota expected, 4 values"),
        ("b@x.test,p\nax.test,p\n", "line 2: 'ax.test' is no address"),
        ("@x.test,p\n", "line 1: '@x.test' is no address"),
        ("a@x.test,\n", "line 1: the password is empty"),
        ("a@x.test,{PLAIN}\n", "line 1: the password is empty"),
        ("a@x.test,p,much\n", "line 1: 'much' is no size"),
        ("a@x.test,p\nA@X.test,q\n", "line 2: A@X.test is on line 1 already"),
        ('a@x.test,"p', "not CSV"),
    ],
)
def test_import_faults_name_the_line_and_no_password(text: str, fault: str) -> None:
    with pytest.raises(WrongUse) as caught:
        rows(text)
    assert fault in str(caught.value)


def test_many_faults_are_cut() -> None:
    with pytest.raises(WrongUse, match="and 5 more"):
        rows("nobody,p\n" * 25)


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused(text: str) -> None:
    try:
        rows(text)
    except WrongUse as error:
        assert str(error).startswith("Nothing was imported")
