"""Bodies as text, previews, dates, ids and base subjects."""

import base64
import binascii
import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailboat_mime import (
    base_subject,
    decode_part,
    fold,
    holds,
    message_id,
    preview,
    references,
    scan,
    sent_date,
    sent_time,
    subject_of,
    text_of,
    thread_id,
    unicode_domains,
)
from mailboat_mime.text import _FOLD_APART, html_to_text


def lf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (b"aGVs\r\nbG8=\r\n", b"Base64", b"hello"),
        (b"aGVsbG8", b"base64", b"hello"),
        (b"a G*V-sbG8=\r\nfooter", b"base64", b"hello"),
        (b"aGVsbG8A\xff\0", b"base64", b"hello\0"),
        (b"a", b"base64", b""),
        (b"aGVsb", b"base64", b"hel"),
        (b"====", b"base64", b""),
        (b"a=3Db=\r\nc=C3=BC =\r\n", b"Quoted-Printable", b"a=bc\xc3\xbc "),
        (b"a=zz=", b"quoted-printable", b"a=zz"),
        (b"a=3d", b"quoted-printable", b"a="),
        (b"a=3D", b"7bit", b"a=3D"),
        (b"a=3D", b"x-unknown", b"a=3D"),
        (b"", b"base64", b""),
    ],
)
def test_decode_part(body: bytes, encoding: bytes, expected: bytes) -> None:
    assert decode_part(body, encoding) == expected


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_encodings_round_trip(data: bytes) -> None:
    assert decode_part(base64.encodebytes(data).replace(b"\n", b"\r\n"), b"base64") == data
    assert decode_part(binascii.b2a_qp(data, istext=False), b"quoted-printable") == data


@given(st.binary(max_size=200), st.sampled_from([b"base64", b"quoted-printable", b"8bit", b"\xff"]))
@settings(max_examples=200, deadline=None)
def test_any_body_decodes(data: bytes, encoding: bytes) -> None:
    assert len(decode_part(data, encoding)) <= len(data)


HTML = "Content-Type: text/html; charset=utf-8\n\n"
ALTERNATIVE = (
    "Content-Type: multipart/alternative; boundary=b\n\n--b\n"
    + HTML
    + "<p>Rich <b>te</b>xt</p>\n--b\n\nPlain\n text\n--b--\n"
)


@pytest.mark.parametrize(
    ("message", "shown", "searched"),
    [
        (lf("\nHello,\n\n  world \n"), "Hello, world", "Hello,\r\n\r\n  world \r\n"),
        (lf(HTML + "<style>x{}</style>a<br>b &amp; &#252;<!-- c --><script>1<2</script>d"), "a b & üd", "a\nb & üd"),
        (lf(ALTERNATIVE), "Plain text", "\nRich text\n\nPlain\r\n text"),
        (lf("Content-Type: text/plain; charset=iso-8859-1\n\n") + b"\xfc", "ü", "ü"),
        (lf("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw7w="), "ü", "ü"),
        (lf("Content-Type: text/plain\nContent-Disposition: attachment\n\nx"), "", "x"),
        (lf("Content-Type: image/png\n\nx"), "", ""),
        (lf("Content-Type: message/rfc822\n\nSubject: =?utf-8?q?s=C3=BC?=\n\nin"), "", "Subject: sü\nin"),
        (lf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n \n--b\n" + HTML + "<p>x\n--b--"), "x", " \n\nx"),
        (lf("\na\0b\x1b\x7fc\n"), "a b c", "a\0b\x1b\x7fc\r\n"),
        (b"", "", ""),
    ],
)
def test_preview_and_text(message: bytes, shown: str, searched: str) -> None:
    part = scan(message)
    assert preview(part, message) == shown
    assert text_of(part, message) == searched


def test_preview_is_at_most_200_characters_of_long_text() -> None:
    message = lf("Content-Type: text/plain; charset=utf-8\n\n" + "ü" * 100_000)
    assert preview(scan(message), message) == "ü" * 200
    message = lf(HTML + "<style>" + "x" * 20_000 + "</style>" + "word " * 100)
    assert preview(scan(message), message) == ("word " * 40).strip()
    message = lf("\n" + " \n" * 2000 + "late")
    assert preview(scan(message), message) == "late"


def test_text_is_bounded_and_never_cuts_a_character() -> None:
    message = lf("Content-Type: multipart/mixed; boundary=b\n\n" + "--b\n\n日本語日本語\n" * 50 + "--b--")
    part = scan(message)
    for limit in (0, 1, 5, 20, 100):
        text = text_of(part, message, limit)
        assert len(text) <= limit
        assert set(text) <= set("日本語\n")
    long = lf("Content-Type: text/plain; charset=utf-8\n\nx") + "ü".encode() * 10_000
    assert set(text_of(scan(long), long, 2000)) == set("xü")


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>a</p>", "\na\n"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("a<!-- x", "a"),
        ("a<script>x", "a"),
        ("a<SCRIPT>x</Script >b", "ab"),
        ("a<a href='x'>b</a>", "ab"),
        ("&lt;b&gt;", "<b>"),
        ("a<b", "a<b"),
        ("<title>x</title>İ<style>y</style>z", "İz"),
    ],
)
def test_html_to_text(markup: str, expected: str) -> None:
    assert html_to_text(markup) == expected


@pytest.mark.parametrize("piece", ["<", "<script>", "<!--", "<a ", "</p", "&", "&#", "-->", "<style></style>"])
def test_hostile_html_is_read(piece: str) -> None:
    message = lf(HTML) + piece.encode() * 100_000
    assert len(preview(scan(message), message)) <= 200


@given(
    st.lists(st.sampled_from(["<", ">", "script", "!--", "-->", "</", "style", "p", "&lt", ";", "İ", " "])).map("".join)
)
@settings(max_examples=200, deadline=None)
def test_any_html_is_text(markup: str) -> None:
    message = lf(HTML) + markup.encode()
    assert text_of(scan(message), message) == html_to_text(markup)


def test_text_of_attachments_is_their_name_and_description() -> None:
    message = lf(
        "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\nContent-Type: application/pdf\n"
        "Content-Disposition: attachment; filename*=utf-8''na%C3%AFve.pdf\n"
        "Content-Description: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b--\nafter"
    )
    assert text_of(scan(message), message) == "naïve.pdf\nGrüße"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("STRASSE", "straße"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("u\u0308ber", "Über"),
        ("ﬁne", "FINE"),
        ("ｶﾞ", "ガ"),
        ("Ｆｕｌｌ", "full"),
        ("ÅNGSTRÖM", "\u212bngstro\u0308m"),
    ],
)
def test_fold_makes_equal(left: str, right: str) -> None:
    assert fold(left) == fold(right)


@given(st.text("aeksſKﬁſ½\u0301…ß ÜüЖ日İ;\u037e\ud800", max_size=12), st.text("aeks.i fü;1", max_size=3))
def test_holds_is_what_folding_says(text: str, wanted: str) -> None:
    assert holds(text, fold(wanted)) == (fold(wanted) in fold(text))


def test_letters_that_fold_apart_from_ascii_do() -> None:
    apart = [letter for letter in map(chr, range(0x80, 0x20000)) if _FOLD_APART.fullmatch(letter)]
    assert len(apart) > 30_000
    assert not [letter for letter in apart if any(each.isascii() for each in fold(letter))]
    assert not [letter for letter in apart if fold(f"e{letter}") != "e" + fold(letter)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a@xn--bcher-kva.example", "a@bücher.example"),
        ("a@www.XN--BCHER-KVA.xn--p1ai", "a@www.bücher.рф"),
        ("xn--", "xn--"),
        ("xn--99999999999", "xn--99999999999"),
        ("axn--bcher-kva", "axn--bcher-kva"),
        ("xn--" + "a" * 64, "xn--" + "a" * 64),
    ],
)
def test_unicode_domains(text: str, shown: str) -> None:
    assert unicode_domains(text) == shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", (1996, 7, 17)),
        ("1 Jan 2026 00:30:00 +1400", (2026, 1, 1)),
        ("31 Dec 2025 23:30:00 -1200", (2025, 12, 31)),
        ("Mon,  2 nov 2026 10:00 +0000", (2026, 11, 2)),
        ("Monday, 2-Nov-26 10:00:00 GMT", (2026, 11, 2)),
        ("2 November 2026", (2026, 11, 2)),
        ("Mon, (x) 2 (y) Nov (z) 2026 10:00:00", (2026, 11, 2)),
        ("2 Nov 99 1:2:3", (1999, 11, 2)),
        ("2 Nov 49 1:2:3", (2049, 11, 2)),
        ("2 Nov 126 1:2:3", (2026, 11, 2)),
        ("Mon Nov  2 10:00:00 2026", (2026, 11, 2)),
        ("Mon Nov 2 10:00:00 UTC 2026", (2026, 11, 2)),
        ("November 2, 2026", (2026, 11, 2)),
        ("2026-11-02T10:00:00Z", (2026, 11, 2)),
        ("Mon,\r\n 2 Nov\r\n\t2026 10:00:00 +0000", (2026, 11, 2)),
        ("31 Feb 2026", None),
        ("2 Foo 2026", None),
        ("0 Jan 2026", None),
        ("yesterday", None),
        ("", None),
        ("1 Jan 0", None),
    ],
)
def test_sent_date(value: str, expected: tuple[int, int, int] | None) -> None:
    block = f"From: x\r\nDate: {value}\r\n\r\n".encode()
    assert sent_date(block) == (datetime.date(*expected) if expected else None)


def test_no_date() -> None:
    assert sent_date(b"From: x\r\n\r\n") is None


@given(st.lists(st.sampled_from(["1", "9", "Jan", " ", "-", ",", "(", ")", ":", "2026", "\xe9"])).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_date_is_read_or_not(value: str) -> None:
    found = sent_date(b"Date: " + value.encode() + b"\r\n\r\n")
    assert found is None or 0 < found.year <= 9999


@pytest.mark.parametrize(
    ("block", "identity", "refs"),
    [
        (b"Message-ID: <a@b>\r\n\r\n", b"<a@b>", ()),
        (b"Message-ID: x <a@b> y\r\nReferences: <1@x>\r\n <2@x> junk <1@x>\r\n\r\n", b"<a@b>", (b"<1@x>", b"<2@x>")),
        (b"Message-Id: no brackets\r\nIn-Reply-To: <1@x> <2@x>\r\n\r\n", b"no brackets", (b"<1@x>",)),
        (b'Message-ID:\r\nReferences: none\r\nIn-Reply-To: "x" of <3@x>\r\n\r\n', None, (b"<3@x>",)),
        (b"\r\n", None, ()),
    ],
)
def test_ids(block: bytes, identity: bytes | None, refs: tuple[bytes, ...]) -> None:
    assert message_id(block) == identity
    assert references(block) == refs


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (b"hello", "hello"),
        (b"Re: hello", "hello"),
        (b"RE : re:FW: Fwd:  hello  (fwd) (FWD)", "hello"),
        (b"Re[2]: [list] hello", "hello"),
        (b"[list] Re: [tag] hello", "hello"),
        (b"[a] [b]", "[b]"),
        (b"[only]", "[only]"),
        (b"[fwd: [x] Re: hello (fwd)]", "hello"),
        (b"[Fwd: [fwd: hello]]", "hello"),
        (b"Re: [fwd: hello]", "hello"),
        (b"hello  \r\n\t world", "hello world"),
        (b"=?utf-8?q?Re=3A_Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"Regarding: x", "Regarding: x"),
        (b"Re:", ""),
        (b"", ""),
        (b"[unclosed Re: x", "[unclosed Re: x"),
        (b"[fwd:]", ""),
        (b"[fwd: Re: [fwd: hello] (fwd)]", "hello"),
        (b"[fwd: hello] more", "more"),
        (b"[fwd: hello] (fwd)", "hello"),
        (b"hello (fwd) (fwd) world", "hello (fwd) (fwd) world"),
        (b"\thello\t\tworld\t", "hello world"),
        (b"hello\xc2\xa0", "hello\xa0"),
        (b"[a] [b] Re [c] : [d] hello", "hello"),
        (b"F: hello", "F: hello"),
        (b"Fwdd: hello", "Fwdd: hello"),
        (b"=?utf-8?b?UmU6?= =?utf-8?q?_=5Blist=5D?= hello =?us-ascii?q?=28fwd=29?=", "hello"),
    ],
)
def test_base_subject(subject: bytes, expected: str) -> None:
    assert base_subject(subject) == expected


@pytest.mark.parametrize(
    ("subject", "is_reply"),
    [
        (b"hello", False),
        (b"[list] hello", False),
        (b"[only]", False),
        (b"Re: hello", True),
        (b"[list] fw[2]: hello", True),
        (b"hello (fwd)", True),
        (b"[fwd: hello]", True),
        (b"[fwd: hello] more", False),
        (b"=?utf-8?q?re=3A_hello?=", True),
        (b"reply: hello", False),
    ],
)
def test_a_reply_is_told_by_its_subject(subject: bytes, is_reply: bool) -> None:
    assert subject_of(subject).is_reply is is_reply


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"31 Dec 2000 16:01:33 -0800", 978_307_293),
        (b"1 Jan 2001 00:01:33 +0000", 978_307_293),
        (b"Mon, 1 Jan 2001 00:01:33 GMT (comment)", 978_307_293),
        (b"1 Jan 01 00:01:33", 978_307_293),
        (b"31 Dec 2000 19:01:33 EST", 978_307_293),
        (b"1 Jan 2001 0:01 UT", 978_307_260),
        (b"1 Jan 2001 00:01:33 K", 978_307_293),
        (b"1 Jan 2001 00:01:33 +0060", 978_307_293),
        (b"1 Jan 2001 05:31:33 +05:30", 978_307_293),
        (b"Mon Jan  1 00:01:33 2001", 978_307_293),
        (b"Mon Jan  1 01:01:33 2001 +0100", 978_307_293),
        (b"2001-01-01T01:01:33.250+01:00", 978_307_293),
        (b"1 Jan 2001 25:01:33 +0000", 978_307_200),
        (b"1 Jan 2001", 978_307_200),
        (b"31 Dec 1969 23:59:59 +0000", -1),
        (b"yesterday 10:00", None),
        (b"31 Feb 2001 10:00:00 +0000", None),
    ],
)
def test_sent_time(value: bytes, expected: int | None) -> None:
    assert sent_time(value) == expected


@pytest.mark.parametrize("piece", [b"re:", b"[a]", b"[fwd:", b"(fwd)", b"[", b"]", b" ", b"=?utf-8?q?a?= "])
def test_hostile_subjects_are_bounded(piece: bytes) -> None:
    assert len(base_subject(piece * 50_000)) <= 1024


@given(st.lists(st.sampled_from(["Re", ":", "fwd", "(fwd)", "[", "]", "[fwd:", " ", "x"])).map("".join))
@settings(max_examples=300, deadline=None)
def test_base_subject_is_its_own_base(subject: str) -> None:
    base = base_subject(subject.encode())
    assert base_subject(base.encode()) == base


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (b"Message-ID: <a@x>\r\n\r\n", b"Message-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\n\r\n", True),
        (b"Message-ID: <a@x>\r\n\r\n", b"Message-ID: <c@x>\r\nReferences: <a@x>\r\n <b@x>\r\n\r\n", True),
        (b"Message-ID: <a@x>\r\n\r\n", b"Message-ID: <b@x>\r\n\r\n", False),
        (b"Message-ID: <a@x>\r\n\r\n", b"Subject: a\r\n\r\n", False),
    ],
)
def test_thread_ids(first: bytes, second: bytes, same: bool) -> None:
    assert (thread_id(first) == thread_id(second)) is same


def test_a_message_without_ids_is_a_thread_of_its_own() -> None:
    assert thread_id(b"Subject: x\r\n\r\n") is None
