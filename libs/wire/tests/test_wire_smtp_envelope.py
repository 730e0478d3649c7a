"""Addresses and the arguments of MAIL and RCPT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_wire.smtp import (
    Address,
    Body,
    MailFrom,
    Notify,
    OriginalRecipient,
    RcptTo,
    Ret,
    SmtpError,
    decode_xtext,
    domain_to_unicode,
    encode_xtext,
    normalise_domain,
    parse_address,
    parse_mail,
    parse_path,
    parse_rcpt,
)

ALICE = Address("alice", "example.test")

PATHS = [
    (b"<alice@example.test>", ALICE),
    (b"<alice@EXAMPLE.Test> X=1", ALICE),
    (b"<Alice@example.test>", Address("Alice", "example.test")),
    (b"<>", None),
    (b"<postMaster>", Address("postmaster", "")),
    (b"<a.b+c=d!#$%&'*/?^_`{|}~-@x>", Address("a.b+c=d!#$%&'*/?^_`{|}~-", "x")),
    (b'<"alice"@example.test>', ALICE),
    (b'<"a b"@x.y>', Address("a b", "x.y")),
    (b'<"a\\"\\\\>@b"@x.y>', Address('a"\\>@b', "x.y")),
    (b"<@one.test,@two.test:alice@example.test>", ALICE),
    (b"<a@[127.0.0.1]>", Address("a", "[127.0.0.1]")),
    (b"<a@[IPV6:0:0::1]>", Address("a", "[IPv6:::1]")),
    ("<пример@пример.рф>".encode(), Address("пример", "xn--e1afmkfd.xn--p1ai")),
    ("<a@BÜCHER.example>".encode(), Address("a", "xn--bcher-kva.example")),
    ("<e\u0301@x.y>".encode(), Address("é", "x.y")),
    (b"<a@XN--BCHER-KVA.example>", Address("a", "xn--bcher-kva.example")),
    (b"<a@my_host.x>", Address("a", "my_host.x")),
    (b"<" + b"a" * 255 + b"@x.y>", Address("a" * 255, "x.y")),
]


@pytest.mark.parametrize(("text", "address"), PATHS)
def test_paths(text, address):
    assert parse_path(text)[0] == address


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"alice@example.test",
            b"<alice@example.test",
            b"<alice>",
            b"<@example.test>",
            b"<alice@>",
            b"<a b@x>",
            b"<a@b@c>",
        ),
        *(
            b"<a..b@x>",
            b"<.a@x>",
            b"<a.@x>",
            b"<a@.x>",
            b"<a@x.>",
            b"<a@x..y>",
            b"<a@-x>",
            b"<a@x->",
            b'<"a@x>',
            b'<""@x>',
            b'<"a"b@x>',
        ),
        *(
            b"<a@[1.2.3]>",
            b"<a@[1.2.3.4>",
            b"<a@[IPv6:x]>",
            b"<a@[fe80::1]>",
            b"<a@[IPv6:fe80::1%eth0]>",
            b"<a@x y>",
            b"<a@x\0>",
        ),
        *(
            b"<a\xff@x>",
            b"<a\r\n@x>",
            "<a\u2028b@x>".encode(),
            "<a\u00a0b@x>".encode(),
            '<"a\u0085b"@x>'.encode(),
            b"<" + b"a" * 256 + b"@x>",
        ),
        *(
            b"<a@" + b"x" * 64 + b".y>",
            b"<a@" + b"x." * 130 + b"y>",
            b"<" + b"a" * 2000 + b"@x>",
            b"<@a:>",
            b"<@a,b:c@d>",
            b"< >",
            b"<a\\@b@c>",
        ),
    ],
)
def test_bad_paths(text):
    with pytest.raises(SmtpError) as caught:
        parse_path(text)
    assert caught.value.code == 501


@given(
    st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30),
    st.sampled_from(["x", "a-b.example", "[IPv6:::1]", "xn--bcher-kva.example"]),
)
def test_an_address_is_read_back_as_it_was_written(local, domain):
    try:
        address = parse_address(f"{local}@{domain}")
    except ValueError:
        escaped = local.replace("\\", "\\\\").replace('"', '\\"')
        address = parse_address(f'"{escaped}"@{domain}')
    assert parse_address(str(address)) == address
    assert parse_path(f"<{address}>".encode()) == (address, b"")


@given(st.binary(max_size=40))
def test_any_bytes_give_a_path_or_an_error(data):
    for text in (data, b"<" + data + b">"):
        try:
            address, rest = parse_path(text)
            assert address is None or parse_address(str(address)) == address or not address.domain
            assert text.endswith(rest)
        except SmtpError as error:
            assert error.reply().startswith("501 5.")


def test_facts_of_an_address():
    address = Address("Ann+News+x", "example.test")
    assert address.split_tag() == ("Ann", "News+x")
    assert Address("+x", "y").split_tag() == ("+x", None)
    assert Address("x", "y").split_tag() == ("x", None)
    assert address.folded() == "ann+news+x@example.test"
    assert str(Address("postmaster", "")) == "postmaster"
    assert Address("a", "[127.0.0.1]").is_literal
    assert not Address("é", "x").is_ascii


def test_domains_for_people_and_machines():
    assert normalise_domain("Bücher.Example") == "xn--bcher-kva.example"
    assert domain_to_unicode("xn--bcher-kva.example") == "bücher.example"
    assert domain_to_unicode("xn--\x7f.x") == "xn--\x7f.x"
    with pytest.raises(ValueError, match="domain"):
        normalise_domain("")


MAILS = [
    (b"FROM:<alice@example.test>", MailFrom(ALICE)),
    (b"from: <alice@example.test>  SIZE=12", MailFrom(ALICE, size=12)),
    (b"FROM:<> BODY=8bitmime", MailFrom(None, body=Body.EIGHT_BIT_MIME)),
    (
        b"FROM:<alice@example.test> RET=HDRS ENVID=QQ314159+2B size=0 AUTH=<>",
        MailFrom(ALICE, size=0, ret=Ret.HDRS, envid="QQ314159+", auth=""),
    ),
    ("FROM:<é@x.y> SMTPUTF8".encode(), MailFrom(Address("é", "x.y"), smtputf8=True)),
    (b"FROM:<a@x.y> AUTH=e+3Dmc2@example.test", MailFrom(Address("a", "x.y"), auth="e=mc2@example.test")),
    (b"FROM:<a@x.y> BODY=BINARYMIME", MailFrom(Address("a", "x.y"), body=Body.BINARY_MIME)),
]


@pytest.mark.parametrize(("argument", "expected"), MAILS)
def test_mail(argument, expected):
    assert parse_mail(argument) == expected


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", "501 5.5.4 Expected FROM:<address>"),
        (b"TO:<a@b>", "501 5.5.4 Expected FROM:<address>"),
        (b"FROM:a@b", "501 5.5.2 Address must be in angle brackets"),
        (b"FROM:<a@b@c>", "501 5.1.7 Bad address syntax"),
        (b"FROM:<a@b>SIZE=1", "501 5.5.4 Bad parameter syntax"),
        (b"FROM:<a@b> SIZE", "501 5.5.4 Bad SIZE parameter"),
        (b"FROM:<a@b> SIZE=x", "501 5.5.4 Bad SIZE parameter"),
        (b"FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4 Parameter given twice"),
        (b"FROM:<a@b> SIZE=" + b"9" * 21, "501 5.5.4 Bad SIZE parameter"),
        (b"FROM:<a@b> BODY=9BIT", "501 5.5.4 Bad BODY parameter"),
        (b"FROM:<a@b> BODY=\xff", "501 5.5.4 Bad BODY parameter"),
        (b"FROM:<a@b> SMTPUTF8=1", "501 5.5.4 Bad SMTPUTF8 parameter"),
        (b"FROM:<a@b> RET=ALL", "501 5.5.4 Bad RET parameter"),
        (b"FROM:<a@b> ENVID=", "501 5.5.4 Bad parameter syntax"),
        (b"FROM:<a@b> ENVID", "501 5.5.4 Bad ENVID parameter"),
        (b"FROM:<a@b> ENVID=a+0A", "501 5.5.4 Bad ENVID parameter"),
        (b"FROM:<a@b> ENVID=a+zz", "501 5.5.4 Bad ENVID parameter"),
        (b"FROM:<a@b> AUTH", "501 5.5.4 Bad AUTH parameter"),
        (b"FROM:<a@b> AUTH=+0D+0A", "501 5.5.4 Bad AUTH parameter"),
        (b"FROM:<a@b> NOTIFY=NEVER", "555 5.5.4 Unsupported parameter"),
        (b"FROM:<a@b> =x", "501 5.5.4 Bad parameter syntax"),
        ("FROM:<é@x.y>".encode(), "550 5.6.7 Address needs SMTPUTF8"),
    ],
)
def test_bad_mail(argument, reply):
    with pytest.raises(SmtpError) as caught:
        parse_mail(argument)
    assert caught.value.reply() == reply


RCPTS = [
    (b"TO:<alice@example.test>", RcptTo(ALICE)),
    (b"to:<alice@example.test> NOTIFY=never", RcptTo(ALICE, Notify.NEVER)),
    (b"TO:<alice@example.test> NOTIFY=SUCCESS,DELAY", RcptTo(ALICE, Notify.SUCCESS | Notify.DELAY)),
    (
        b"TO:<alice@example.test> ORCPT=rfc822;Bob+2Bx@y.z",
        RcptTo(ALICE, None, OriginalRecipient("rfc822", "Bob+x@y.z", "rfc822;Bob+2Bx@y.z")),
    ),
    (
        b"TO:<alice@example.test> ORCPT=UTF-8;\\x{3B1}@y.z",
        RcptTo(ALICE, None, OriginalRecipient("utf-8", "α@y.z", "utf-8;\\x{3B1}@y.z")),
    ),
    (b"TO:<Postmaster>", RcptTo(Address("postmaster", ""))),
]


@pytest.mark.parametrize(("argument", "expected"), RCPTS)
def test_rcpt(argument, expected):
    assert parse_rcpt(argument) == expected


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"TO:<>", "501 5.1.3 Null recipient"),
        (b"TO:<a@b> SIZE=1", "555 5.5.4 Unsupported parameter"),
        (b"TO:<a@b> NOTIFY=NEVER,DELAY", "501 5.5.4 Bad NOTIFY parameter"),
        (b"TO:<a@b> NOTIFY", "501 5.5.4 Bad NOTIFY parameter"),
        (b"TO:<a@b> ORCPT=x", "501 5.5.4 Bad ORCPT parameter"),
        (b"TO:<a@b> ORCPT=rfc822;a+0D", "501 5.5.4 Bad ORCPT parameter"),
        (b"TO:<a@b> ORCPT=utf-8;\\x{D800}", "501 5.5.4 Bad ORCPT parameter"),
        (b"TO:<a@b> ORCPT=utf-8;\\x{FFFFFF}", "501 5.5.4 Bad ORCPT parameter"),
        (b"TO:<a@b> ORCPT=rfc822;" + b"a" * 501, "501 5.5.4 Bad ORCPT parameter"),
        ("TO:<é@x.y>".encode(), "553 5.6.7 Address needs SMTPUTF8"),
    ],
)
def test_bad_rcpt(argument, reply):
    with pytest.raises(SmtpError) as caught:
        parse_rcpt(argument)
    assert caught.value.reply() == reply


def test_utf8_recipients_within_a_utf8_transaction():
    assert parse_rcpt("TO:<é@x.y>".encode(), smtputf8=True).recipient == Address("é", "x.y")


@given(st.text())
def test_xtext_round_trip(text):
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert decode_xtext(encode_xtext(text).encode("ascii")) == text
