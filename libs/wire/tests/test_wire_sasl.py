"""SASL PLAIN and LOGIN, and strict base64."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.sasl import Challenge, Credentials, SaslError, SaslFault, decode_base64, start


def run(mechanism: bytes, *responses: bytes | None) -> list[Challenge | Credentials]:
    exchange = start(mechanism)
    assert exchange is not None
    return [exchange.step(response) for response in responses]


def b64(data: bytes) -> bytes:
    return b64encode(data)


BOB = Credentials("bob", "se cret")


@pytest.mark.parametrize(
    ("mechanism", "responses", "results"),
    [
        (b"PLAIN", [b64(b"\0bob\0se cret")], [BOB]),
        (b"plain", [None, b64(b"\0bob\0se cret")], [Challenge(b""), BOB]),
        (b"PLAIN", [b64(b"ann\0bob\0se cret")], [Credentials("bob", "se cret", "ann")]),
        (b"PLAIN", [b64("\0é\0ü".encode())], [Credentials("é", "ü")]),
        (b"LOGIN", [None, b64(b"bob"), b64(b"se cret")], [Challenge(b"Username:"), Challenge(b"Password:"), BOB]),
        (b"LOGIN", [b64(b"bob"), b64(b"se cret")], [Challenge(b"Password:"), BOB]),
    ],
)
def test_exchanges(mechanism, responses, results):
    assert run(mechanism, *responses) == results


@pytest.mark.parametrize(
    ("mechanism", "responses", "fault"),
    [
        (b"PLAIN", [b"*"], SaslFault.CANCELLED),
        (b"LOGIN", [None, b"*"], SaslFault.CANCELLED),
        (b"LOGIN", [b64(b"bob"), b"*"], SaslFault.CANCELLED),
        (b"PLAIN", [b""], SaslFault.MALFORMED),
        (b"PLAIN", [b64(b"bob\0secret")], SaslFault.MALFORMED),
        (b"PLAIN", [b64(b"\0\0secret")], SaslFault.MALFORMED),
        (b"PLAIN", [b64(b"\0bob\0")], SaslFault.MALFORMED),
        (b"PLAIN", [b64(b"\0bob\0a\0b")], SaslFault.MALFORMED),
        (b"PLAIN", [b64(b"\0bob\0\xff")], SaslFault.MALFORMED),
        (b"LOGIN", [b64(b"bo\0b")], SaslFault.MALFORMED),
        (b"LOGIN", [b"", b64(b"x")], SaslFault.MALFORMED),
        (b"LOGIN", [b64(b"bob"), b""], SaslFault.MALFORMED),
        (b"PLAIN", [b64(b"\0bob\0" + b"x" * 1025)], SaslFault.TOO_LONG),
        (b"PLAIN", [b"A" * 4100], SaslFault.TOO_LONG),
        (b"LOGIN", [b64(b"x" * 1025)], SaslFault.TOO_LONG),
    ],
)
def test_broken_exchanges(mechanism, responses, fault):
    with pytest.raises(SaslError) as caught:
        run(mechanism, *responses)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "line",
    [b"AB", b"ABC", b"A===", b"AB=C", b"AB== ", b" AAAA", b"AAAA\n", b"AA-_", b"AB==AAAA", b"AC==", b"AAB=", b"===="],
)
def test_base64_is_strict(line):
    with pytest.raises(SaslError):
        decode_base64(line)


@given(st.binary(max_size=200))
def test_base64_round_trip(data):
    assert decode_base64(Challenge(data).encoded()) == data


def test_unknown_mechanisms_and_reprs():
    assert start(b"XOAUTH2") is None
    assert "se cret" not in repr(BOB)
