"""8-bit bodies made 7-bit: what a MIME library reads out of them stays the same."""

from __future__ import annotations

import email
import email.policy

import pytest
from delivery_worker.convert import headers_are_ascii, to_seven_bit
from hypothesis import given
from hypothesis import strategies as st

TEXT = "Viele Grüße aus dem schönen Mainz am Rhein\r\n"
RUSSIAN = "Привет из Москвы\r\n"
NESTED = (
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "Präambel\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n"
    f"--i\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{TEXT}"
    f"--i\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{RUSSIAN}"
    "--i--\r\n--o\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    "\u00e4\u00f6\r\n--o\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    f"Subject: inner\r\nContent-Type: text/plain; charset=utf-8\r\ncontent-transfer-encoding: 8BIT\r\n\r\n{TEXT}"
    "\r\n--o\r\n\r\nonly seven bits\r\n--o--\r\nEpilög\r\n"
).encode()


def leaves(message: bytes) -> list[tuple[str, bytes]]:
    parsed = email.message_from_bytes(message, policy=email.policy.compat32)
    return [
        (part.get_content_type(), part.get_payload(decode=True)) for part in parsed.walk() if not part.is_multipart()
    ]


def test_nested_parts_are_converted_each_by_its_kind() -> None:
    seven = to_seven_bit(NESTED)
    assert seven is not None
    assert seven.isascii()
    assert leaves(seven) == leaves(NESTED)
    assert seven.count(b"Content-Transfer-Encoding: 7bit") == 2
    assert seven.count(b"quoted-printable") == 2
    assert seven.count(b"base64") == 2
    assert b"8bit" not in seven.lower()
    assert b"Pr??ambel" in seven
    assert max(map(len, seven.split(b"\r\n"))) < 100


def test_what_is_seven_bit_stays_as_it_is() -> None:
    plain = b"Content-Transfer-Encoding: 8bit\r\n\r\nhello\r\n"
    assert to_seven_bit(plain) is plain


@pytest.mark.parametrize(
    "message",
    [
        f"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n{TEXT}--b--\r\n",
        f"Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\n{TEXT}--b--\r\n",
        f"Content-Type: multipart/mixed\r\n\r\n{TEXT}",
        f"Content-Transfer-Encoding: base64\r\n\r\n{TEXT}",
        f"Content-Transfer-Encoding: x-own\r\n\r\n{TEXT}",
        f"Content-Type: message/partial; id=1; number=1\r\n\r\n{TEXT}",
    ],
)
def test_what_may_not_be_touched_is_not(message: str) -> None:
    assert to_seven_bit(message.encode()) is None


def test_a_signed_part_of_seven_bits_does_not_hinder_the_others() -> None:
    message = (
        "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
        f"--b\r\n\r\nplain\r\n--b--\r\n--o\r\nContent-Type: text/plain\r\n\r\n{TEXT}--o--\r\n"
    ).encode()
    seven = to_seven_bit(message)
    assert seven is not None
    assert b"--b\r\n\r\nplain\r\n--b--\r\n" in seven


@pytest.mark.parametrize(
    ("message", "ascii_only"),
    [
        (b"Subject: x\r\n\r\n\xc3\xbc\r\n", True),
        (b"Subject: \xc3\xbc\r\n\r\nx\r\n", False),
        (b"Content-Type: message/rfc822\r\n\r\nSubject: \xc3\xbc\r\n\r\nx\r\n", False),
    ],
)
def test_which_headers_need_smtputf8(message: bytes, ascii_only: bool) -> None:
    assert headers_are_ascii(message) is ascii_only


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=200)))
def test_any_text_survives(lines: list[str]) -> None:
    body = "".join(line + "\r\n" for line in lines).encode()
    message = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body
    seven = to_seven_bit(message)
    assert seven is not None
    assert seven.isascii()
    ((_, found),) = leaves(seven)
    assert found.replace(b"\r\n", b"\n") == body.replace(b"\r\n", b"\n")
