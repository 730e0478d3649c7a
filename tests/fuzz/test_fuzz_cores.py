"""The cores without input and output: broken commands and messages at random, from a seed, and whatever hypothesis finds.

A failure prints its seed and case; `--fuzz-seed` plays it again.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import cores
from tests.fuzz.hostile_text import HEADER, OCTETS, POP3, SMTP, Hostile, cases, imap_commands, replayable

COMMANDS = 12


def stream_of(name: str, hostile: Hostile) -> bytes:
    """Octets for one core."""
    match name:
        case "imap":
            return hostile.imap(COMMANDS)
        case "pop3":
            return hostile.pop3(COMMANDS)
        case "smtp_data":
            end = hostile.rng.choice((b"\r\n.\r\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b""))
            return hostile.message() + end + hostile.smtp(3)
    lines = (
        b"250-a SIZE 99999999999999999999\r\n",
        b"250 2.0.0 ok\r\n",
        b"421 4.3.2 x\n",
        b"25\r\n",
        b"550-" + b"x" * 600,
    )
    return hostile.broken(b"".join(hostile.rng.choices(lines, k=5)))


@pytest.mark.parametrize("name", cores.STREAMS)
def test_broken_commands_give_events_however_they_come(name: str, seed: int, fuzz_seconds: float) -> None:
    for number, hostile in cases(seed, fuzz_seconds / 2):
        data = stream_of(name, hostile)
        with replayable(number, data):
            cores.streams(name, data, list(hostile.pieces(data)))


def test_broken_arguments_give_a_value_or_the_error(seed: int, fuzz_seconds: float) -> None:
    for number, hostile in cases(seed, fuzz_seconds / 4):
        data = hostile.smtp(1)
        with replayable(number, data):
            cores.smtp_arguments(data.partition(b" ")[2])
            cores.smtp_arguments(data.partition(b":")[2].removesuffix(b"\r\n"))


def test_broken_messages_are_shown_within_bounds(seed: int, fuzz_seconds: float) -> None:
    for number, hostile in cases(seed, fuzz_seconds / 2):
        data = hostile.message()
        with replayable(number, data):
            cores.message(data, list(hostile.pieces(data)))


TOKENS = st.sampled_from((*OCTETS, *SMTP, *POP3, *HEADER, *imap_commands(), b"a ", b"\r\n", b"\r\n", b" "))
ANY = st.lists(TOKENS | st.binary(max_size=8), max_size=25).map(b"".join)
UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", cores.STREAMS)
@UNHURRIED
@given(data=ANY, cut=st.integers(0, 400))
def test_any_octets_give_events_however_they_come(name: str, data: bytes, cut: int) -> None:
    cores.streams(name, data, [data[:cut], data[cut:]])


@UNHURRIED
@given(data=ANY, cut=st.integers(0, 400))
def test_any_octets_are_a_message_and_an_argument(data: bytes, cut: int) -> None:
    cores.message(data, [data[:cut], data[cut:]])
    cores.smtp_arguments(data)
