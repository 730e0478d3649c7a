"""Ports never collide, and the runner refuses settings that nobody knows."""

import itertools

import pytest
from mailboat_local.layout import BASE_PORTS, MAX_REPLICAS, SERVICES, StackError, StackSettings, ports_of

KNOWN = frozenset({"MB_LOG_LEVEL", "MB_DRAIN_SECONDS"})


@pytest.mark.parametrize(
    ("service", "replica", "expected"),
    [
        ("smtp_ingress", 1, {"smtp": 2025, "submission": 2587, "submissions": 2465, "admin": 11101}),
        ("imap_gateway", 1, {"imap": 2143, "imaps": 2993, "admin": 11102}),
        ("pop3_gateway", 1, {"pop3": 2110, "pop3s": 2995, "admin": 11103}),
        ("storage_api", 1, {"rest": 2080, "internal": 2081, "admin": 11104}),
        ("storage_worker", 1, {"admin": 11105}),
        ("delivery_worker", 1, {"admin": 11106}),
        ("mongod", 1, {"mongodb": 29017}),
        ("rabbitmq", 1, {"amqp": 7672, "distribution": 27672}),
        ("epmd", 1, {"epmd": 6369}),
        ("imap_gateway", 2, {"imap": 2243, "imaps": 3093, "admin": 11202}),
    ],
)
def test_documented_ports(service: str, replica: int, expected: dict[str, int]) -> None:
    assert ports_of(service, replica, 2000) == expected


def test_stacks_with_offsets_a_thousand_apart_share_no_port() -> None:
    used = [
        port
        for offset in range(2000, 12001, 1000)
        for service in BASE_PORTS
        for replica in range(1, MAX_REPLICAS + 1 if service in SERVICES else 2)
        for port in ports_of(service, replica, offset).values()
    ]
    assert len(used) == len(set(used))


def test_defaults() -> None:
    assert StackSettings.from_environment({"PATH": "/bin", "MB_API_TOKEN": "t"}, KNOWN) == StackSettings()


def test_settings_of_services_are_passed_on() -> None:
    settings = StackSettings.from_environment({"MB_REPLICAS": "2", "MB_LOG_LEVEL": "debug"}, KNOWN)
    assert (settings.replicas, settings.passed_on) == (2, {"MB_LOG_LEVEL": "debug"})


def test_all_faults_are_told_at_once() -> None:
    wrong = {"MB_REPLICA": "2", "MB_PORT_OFFSET": "many", "MB_REPLICAS": "0"}
    with pytest.raises(StackError) as caught:
        StackSettings.from_environment(wrong, KNOWN)
    text = str(caught.value)
    for part in ("MB_REPLICA: no such setting; did you mean MB_REPLICAS?", "MB_PORT_OFFSET='many'", "MB_REPLICAS='0'"):
        assert part in text


def test_last_two_digits_differ() -> None:
    bases = list(itertools.chain.from_iterable(ports.values() for ports in BASE_PORTS.values()))
    assert len({base % 100 for base in bases}) == len(bases) - 1, "only AMQP and Erlang's distribution share theirs"
