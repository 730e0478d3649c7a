"""Values survive the wire: every type there and back, and what doesn't parse is a ValueError."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat.common.v1 import common_pb2 as common
from mailboat.storage.v1 import delivery_pb2 as delivery
from mailboat.storage.v1 import directory_pb2 as directory
from mailboat.storage.v1 import mailbox_read_pb2 as read
from mailboat.storage.v1 import mailbox_write_pb2 as write
from mailboat_common.errors import Internal, Refused, RefusedCode, Unavailable
from mailboat_store_client import codec, codec_account, codec_append, codec_delivery, columns, events, framing
from mailboat_store_client.types import (
    NO_MAILBOX,
    AccountId,
    Answered,
    AppendMessage,
    AppendResult,
    AuthResult,
    AuthStatus,
    BodyField,
    BodyId,
    BodyInfo,
    Columns,
    CopyResult,
    DeliverResult,
    DeliveryStatus,
    Delta,
    Envelope,
    EnvelopeRecipient,
    FlagMode,
    FlagTable,
    MailboxChanged,
    MailboxChanges,
    MailboxHead,
    MailboxId,
    MailboxTree,
    Quota,
    Reception,
    RecipientResult,
    RecipientStatus,
    ReplaceResult,
    Resolution,
    SpecialUse,
    StoreResult,
)

ids = st.binary(min_size=16, max_size=16)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def some_columns(draw: st.DrawFn) -> Columns:
    rows = draw(st.integers(0, 5))
    if not rows:
        return Columns()

    def column(code: str, values: st.SearchStrategy[int]) -> array:
        return array(code, draw(st.lists(values, min_size=rows, max_size=rows)))

    words = draw(st.integers(1, 4))
    return Columns(
        column("I", u32),
        column("Q", u64),
        [column("Q", u64) for _ in range(words)],
        draw(st.binary(min_size=16 * rows, max_size=16 * rows)),
        column("q", i64),
        column("q", i64),
        column("I", u32),
    )


tables = st.builds(FlagTable, st.lists(texts, max_size=3).map(tuple), u32)
heads = st.builds(
    MailboxHead,
    ids.map(MailboxId),
    texts,
    u32,
    u32,
    u64,
    u32,
    u32,
    u32,
    u64,
    tables,
    st.none() | st.sampled_from(SpecialUse),
    st.booleans(),
    u32,
    u32,
)
u32_arrays = st.lists(u32, max_size=5).map(lambda values: array("I", values))
uids = st.lists(u32, max_size=5).map(tuple)
deltas = st.builds(Delta, ids.map(MailboxId), u64, u64, u32, tables, some_columns(), u32_arrays)


def wire(message):
    """A message as the peer sees it."""
    return type(message).FromString(message.SerializeToString())


@given(some_columns())
def test_columns(value: Columns) -> None:
    out = common.Columns()
    codec.to_columns(value, out)
    assert codec.from_columns(wire(out)) == value


@given(st.builds(MailboxChanges, heads, u64, some_columns(), u32_arrays, st.booleans()))
def test_changes(value: MailboxChanges) -> None:
    assert codec.from_changes(wire(codec.to_changes(value))) == value


@given(st.builds(MailboxTree, u64, st.lists(heads, max_size=3).map(tuple), st.lists(texts, max_size=3).map(tuple)))
def test_tree(value: MailboxTree) -> None:
    assert codec.from_tree(wire(codec.to_tree(value))) == value


@given(st.builds(AppendResult, u32, uids, deltas))
def test_append_result(value: AppendResult) -> None:
    assert codec_append.from_append_result(wire(codec_append.to_append_result(value))) == value


@given(st.builds(StoreResult, deltas, uids))
def test_store_result(value: StoreResult) -> None:
    assert codec.from_store_result(wire(codec.to_store_result(value))) == value


@given(st.builds(CopyResult, u32, uids, uids, deltas), deltas)
def test_copy_and_move_results(value: CopyResult, source: Delta) -> None:
    assert codec.from_copy_result(wire(codec.to_copy_result(value))) == value
    moved = CopyResult(value.uid_validity, value.source_uids, value.target_uids, value.target, source)
    assert codec.from_copy_result(wire(codec.to_move_result(moved))) == moved
    assert codec.from_copy_result(wire(codec.to_move_result(value))) == value


@given(st.lists(st.tuples(ids, ids, u64), max_size=4), st.lists(st.tuples(ids, i64), max_size=4))
def test_poll(wanted: list, moved: list) -> None:
    assert codec.from_poll(wire(codec.to_poll(wanted))) == wanted
    assert codec.from_moved(wire(codec.to_moved(moved))) == moved


@given(
    st.lists(
        st.none()
        | st.builds(
            BodyInfo,
            ids.map(BodyId),
            u32,
            u32,
            *[st.none() | st.binary(max_size=9)] * 5,
            preview=st.none() | texts,
            thread=st.none() | ids,
            sort_keys=st.none() | st.binary(max_size=9),
        ),
        max_size=4,
    ),
    st.sampled_from([BodyField.NONE, BodyField.HEADER | BodyField.PREVIEW, ~BodyField.NONE]),
)
def test_body_infos(infos: list[BodyInfo | None], fields: BodyField) -> None:
    body_ids = [info.body_id if info else BodyId(bytes(16)) for info in infos]
    got = codec.from_body_infos(wire(codec.to_body_infos(infos, fields)), body_ids)
    names = {BodyField.HEADER: "header", BodyField.STRUCTURE: "structure", BodyField.ENVELOPE: "envelope"}
    names |= {BodyField.BODYSTRUCTURE: "bodystructure", BodyField.BODY: "body", BodyField.PREVIEW: "preview"}
    names |= {BodyField.THREAD: "thread"}
    names |= {BodyField.SORT_KEYS: "sort_keys"}
    for sent, received in zip(infos, got, strict=True):
        if sent is None or received is None:
            assert sent is received
            continue
        assert (received.body_id, received.size, received.header_size) == (sent.body_id, sent.size, sent.header_size)
        for field, name in names.items():
            assert getattr(received, name) == (getattr(sent, name) if field in fields else None)


@given(st.lists(st.none() | st.binary(max_size=20), max_size=5))
def test_contents(contents: list[bytes | None]) -> None:
    assert codec.from_contents(b"".join(codec.to_contents(contents))) == contents


@given(
    st.lists(
        st.builds(AppendMessage, st.binary(max_size=20), st.lists(texts, max_size=3).map(tuple), st.none() | i64),
        max_size=4,
    )
)
def test_append(messages: list[AppendMessage]) -> None:
    body = b"".join(codec_append.to_append(AccountId(bytes(16)), "Sent", messages, b"k" * 16))
    request, got = codec_append.from_append(body)
    assert (request.account_id, request.name, request.key) == (bytes(16), "Sent", b"k" * 16)
    assert got == messages


@given(st.builds(AppendMessage, st.binary(max_size=20), st.lists(texts, max_size=3).map(tuple), st.none() | i64), u32)
def test_replace(message: AppendMessage, uid: int) -> None:
    mailbox_id = MailboxId(b"m" * 16)
    asked = codec_append.to_replace(AccountId(bytes(16)), mailbox_id, uid, "Drafts", message, key=b"k" * 16)
    request, got = codec_append.from_replace(b"".join(asked))
    assert (request.account_id, request.mailbox_id, request.uid) == (bytes(16), mailbox_id, uid)
    assert (request.target, request.key) == ("Drafts", b"k" * 16)
    assert got == message


@given(st.builds(ReplaceResult, u32, u32, deltas, st.none() | deltas))
def test_replace_result(value: ReplaceResult) -> None:
    assert codec_append.from_replace_result(wire(codec_append.to_replace_result(value))) == value


def test_directory_values() -> None:
    resolutions = [
        Resolution("a@x.test", RecipientStatus.LOCAL, AccountId(b"1" * 16), "tag"),
        Resolution("c@y.test", RecipientStatus.NOT_LOCAL, suppressed=True),
        *(Resolution("b@x.test", status) for status in RecipientStatus),
    ]
    assert codec.from_resolutions(wire(codec.to_resolutions(resolutions))) == resolutions
    for status in AuthStatus:
        result = AuthResult(
            status, AccountId(b"2" * 16) if status is AuthStatus.OK else None, "a@x.test", ("IDLE", "MOVE")
        )
        assert codec_account.from_auth_result(wire(codec_account.to_auth_result(result))) == result


def test_values_of_an_account() -> None:
    quota = Quota(1, 2**50, 3, 0)
    assert codec_account.from_quota(wire(codec_account.to_quota(quota))) == quota
    annotations = {"/private/comment": b"\0\xff", "/shared/comment": b""}
    assert codec_account.from_annotations(wire(codec_account.to_annotations(annotations))) == annotations
    changes = {"/private/comment": None, "/shared/comment": b"", "/private/x": b"y"}
    asked = wire(codec_account.to_annotate(AccountId(bytes(16)), "INBOX", changes, b"k" * 16))
    assert codec_account.from_annotate(asked) == changes


def test_delivery_values() -> None:
    envelope = Envelope(
        "trace",
        "",
        (
            EnvelopeRecipient("a@x.test", AccountId(b"1" * 16), "lists", "NEVER", "rfc822;a@x.test"),
            EnvelopeRecipient("b@x.test", AccountId(b"2" * 16)),
        ),
        b"\1" * 32,
        "submission",
        "192.0.2.1",
        "host",
        "c@x.test",
        True,
        "env",
        "HDRS",
        ("t0", "t1"),
        AccountId(b"3" * 16),
        Reception(1_700_000_000_000, 2**40, 3, 4, 5, 6, "TLSv1.3 TLS_AES_256_GCM_SHA384", 7),
        (Answered("t0", 1_700_000_000_001, "250 2.0.0 Ok: id t0"), Answered("t1", 2, "452 4.2.2 Mailbox is full")),
    )
    assert codec_delivery.from_envelope(wire(codec_delivery.to_envelope(replace(envelope, reception=None), 1))) == (
        replace(envelope, reception=None)
    )
    message = wire(codec_delivery.to_envelope(envelope, 77))
    assert message.size == 77
    assert codec_delivery.from_envelope(message) == envelope
    results = [RecipientResult("a", status, 7, MailboxId(b"m" * 16), "t") for status in DeliveryStatus]
    value = DeliverResult((*results, RecipientResult("b", DeliveryStatus.GONE)))
    assert codec_delivery.from_deliver_result(wire(codec_delivery.to_deliver_result(value))) == value


def test_news() -> None:
    news = MailboxChanged(AccountId(b"a" * 16), MailboxId(b"m" * 16), 7, 8, True)
    assert events.decode(events.encode(news)) == news
    tree = MailboxChanged(AccountId(b"a" * 16), NO_MAILBOX, 0, 8, tree_version=9, account_closed=True)
    assert events.decode(events.encode(tree)) == tree
    for bad in (b"", b"\xff", events.encode(MailboxChanged(AccountId(b"a"), MailboxId(b"m" * 16), 1, 1))):
        with pytest.raises(ValueError, match="MailboxChanged"):
            events.decode(bad)


def test_every_flag_mode_has_a_number() -> None:
    assert {codec.from_flag_mode(codec.FLAG_MODES[mode]) for mode in FlagMode} == set(FlagMode)


@pytest.mark.parametrize("code", list(RefusedCode))
def test_refusals_keep_code_and_texts(code: RefusedCode) -> None:
    error = codec.from_error(wire(codec.to_error(Refused(code, "for all", "for us"))))
    assert isinstance(error, Refused)
    assert (error.code, error.public, error.private) == (code, "for all", "for us")


def test_failures_keep_their_class_and_hide_their_cause() -> None:
    assert isinstance(codec.from_error(codec.to_error(Unavailable("why"))), Unavailable)
    assert isinstance(codec.from_error(codec.to_error(Internal("why"))), Internal)
    assert isinstance(codec.from_error(common.ErrorDetail(code=common.ERROR_CODE_DEADLINE)), Unavailable)
    unknown = common.ErrorDetail.FromString(bytes([8, 99]))  # code 99 of a newer peer
    assert isinstance(codec.from_error(unknown), Internal)


@pytest.mark.parametrize(
    "decode",
    [
        lambda: codec.from_columns(common.Columns(uids=b"\1\0\0\0")),
        lambda: codec.from_columns(common.Columns(uids=b"\1\0\0")),
        lambda: codec.from_poll(read.PollRequest(account_ids=b"x" * 16)),
        lambda: codec.from_poll(read.PollRequest(account_ids=b"x")),
        lambda: codec.from_body_infos(read.BodyInfosResponse(found=b"\1"), []),
        lambda: codec.from_flag_mode(write.FLAG_MODE_UNSPECIFIED),
        lambda: codec_account.from_auth_result(directory.AuthenticateResponse()),
        lambda: codec_delivery.from_deliver_result(
            delivery.DeliverResponse(recipients=[delivery.DeliverResponse.Result()])
        ),
        lambda: codec.from_contents(b"\xff\xff\xff\xff"),
        lambda: framing.unframe(b"\1"),
        lambda: framing.cut(b"abc", 0, [4]),
        lambda: framing.cut(b"abc", 0, [2]),
        lambda: columns.split(columns.pack_numbers("I", [9]), b"abc", b"\0"),
        lambda: columns.split(columns.pack_numbers("I", [2, 1]), b"abc", b"\0\0"),
        lambda: columns.pack_ids([b"short"]),
    ],
)
def test_nonsense_is_a_value_error(decode) -> None:
    with pytest.raises(ValueError):
        decode()
