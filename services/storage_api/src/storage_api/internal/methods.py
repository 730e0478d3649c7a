"""Every internal method: a request's bytes in, a call of the store's port, the answer's bytes out.

To add one: the `.proto` first, then an entry here, its callers in `callers.py`, its client in
`mailboat_store_client.http`. A body that doesn't parse raises BadRequest: the caller's fault (400).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

from google.protobuf.message import DecodeError
from mailboat.storage.v1 import delivery_pb2 as delivery
from mailboat.storage.v1 import directory_pb2 as directory
from mailboat.storage.v1 import mailbox_read_pb2 as read
from mailboat.storage.v1 import mailbox_write_pb2 as write
from mailboat.storage.v1 import queue_pb2 as queue
from mailboat.storage.v1 import trace_pb2 as trace
from mailboat_store_client import codec, codec_account, codec_append, codec_delivery, codec_queue, codec_trace
from mailboat_store_client.columns import U32, unpack, unpack_ids
from mailboat_store_client.framing import cut, unframe
from mailboat_store_client.ports import Store
from mailboat_store_client.types import NO_ACCOUNT, AccountId, BodyField, BodyId, MailboxId, SpecialUse

P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[[Store, bytes], Awaitable[Sequence[bytes]]]

MAX_BODY_INFOS = 1000
MAX_CONTENTS = 1000
MAX_CONTENTS_BYTES = 16 << 20
MAX_ADDRESSES = 1000
MAX_ANNOTATIONS = 1000
MAX_POLL = 20_000
MAX_CONFIRMED = 1000
MAX_CLAIMS = 100
MAX_RENEWED = 10_000
MAX_REPORTS = 1000
MAX_ANNOUNCED = 1000
KEY_BYTES = 16


class BadRequest(Exception):
    """The request isn't what the contract says; its text is for our logs."""


def _given(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the caller sent, parsed; a fault in it is the caller's."""
    try:
        return parse(*args, **kwargs)
    except (ValueError, DecodeError) as error:
        raise BadRequest(f"the request doesn't parse: {error}") from error


def _account(value: bytes) -> AccountId:
    return AccountId(_id(value))


def _mailbox(value: bytes) -> MailboxId:
    return MailboxId(_id(value))


def _id(value: bytes) -> bytes:
    if len(value) != 16:
        raise BadRequest("an id isn't 16 bytes")
    return value


def _key(value: bytes) -> bytes:
    if len(value) != KEY_BYTES:
        raise BadRequest("a mutation without a key of 16 bytes")
    return value


def _at_most(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise BadRequest(f"{count} {what}; a call takes {limit}")


# Directory


async def _resolve(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(directory.ResolveRequest.FromString, body)
    _at_most(len(request.addresses), MAX_ADDRESSES, "addresses")
    account_id = _account(request.account_id) if request.account_id else NO_ACCOUNT
    resolutions = await store.directory.resolve(list(request.addresses), sender=request.sender, account_id=account_id)
    return (codec.to_resolutions(resolutions).SerializeToString(),)


async def _authenticate(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(directory.AuthenticateRequest.FromString, body)
    result = await store.directory.authenticate(
        request.login, request.password, protocol=request.protocol, client=request.client
    )
    return (codec_account.to_auth_result(result).SerializeToString(),)


async def _owns(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(directory.OwnsRequest.FromString, body)
    _at_most(len(request.addresses), MAX_ADDRESSES, "addresses")
    owned = await store.directory.owns(_account(request.account_id), list(request.addresses))
    return (directory.OwnsResponse(owned=owned).SerializeToString(),)


# MailboxRead


async def _tree(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.TreeRequest.FromString, body)
    return (codec.to_tree(await store.read.tree(_account(request.account_id))).SerializeToString(),)


async def _head(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.HeadRequest.FromString, body)
    answer = read.HeadResponse()
    codec.to_head(await store.read.head(_account(request.account_id), request.name), answer.head)
    return (answer.SerializeToString(),)


async def _changes(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.ChangesRequest.FromString, body)
    changes = await store.read.changes(_account(request.account_id), _mailbox(request.mailbox_id), request.since)
    return (codec.to_changes(changes).SerializeToString(),)


async def _vanished(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.VanishedRequest.FromString, body)
    vanished = await store.read.vanished(_account(request.account_id), _mailbox(request.mailbox_id), request.since)
    return (codec.to_vanished(vanished).SerializeToString(),)


async def _poll(store: Store, body: bytes) -> Sequence[bytes]:
    wanted = _given(codec.from_poll, _given(read.PollRequest.FromString, body))
    _at_most(len(wanted), MAX_POLL, "mailboxes")
    return (codec.to_moved(await store.read.poll(wanted)).SerializeToString(),)


async def _annotations(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.AnnotationsRequest.FromString, body)
    annotations = await store.read.annotations(_account(request.account_id), request.name)
    return (codec_account.to_annotations(annotations).SerializeToString(),)


async def _annotate(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.AnnotateRequest.FromString, body)
    _at_most(len(request.changes), MAX_ANNOTATIONS, "annotations")
    changes = codec_account.from_annotate(request)
    await store.write.annotate(_account(request.account_id), request.name, changes, key=_key(request.key))
    return ()


async def _quota(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.QuotaRequest.FromString, body)
    quota = await store.read.quota(_account(request.account_id))
    return (codec_account.to_quota(quota).SerializeToString(),)


async def _body_infos(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.BodyInfosRequest.FromString, body)
    body_ids = [BodyId(body_id) for body_id in _given(unpack_ids, request.body_ids)]
    _at_most(len(body_ids), MAX_BODY_INFOS, "bodies")
    fields = _given(BodyField, request.fields)
    infos = await store.read.body_infos(_account(request.account_id), body_ids, fields)
    return (codec.to_body_infos(infos, fields).SerializeToString(),)


async def _contents(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.ContentsRequest.FromString, body)
    body_ids = [BodyId(body_id) for body_id in _given(unpack_ids, request.body_ids)]
    _at_most(len(body_ids), MAX_CONTENTS, "bodies")
    limit = min(request.max_bytes, MAX_CONTENTS_BYTES)
    return codec.to_contents(await store.read.contents(_account(request.account_id), body_ids, limit))


async def _maildrop_retention(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(read.MaildropRetentionRequest.FromString, body)
    account_id = _account(request.account_id) if request.account_id else None
    return (codec.to_retention(await store.read.maildrop_retention(account_id)).SerializeToString(),)


def read_chunks(store: Store, body: bytes) -> AsyncIterator[bytes]:
    """The one streamed answer: the byte range itself, in chunks."""
    request = _given(read.ReadRequest.FromString, body)
    length = request.length if request.HasField("length") else None
    return store.read.read(_account(request.account_id), BodyId(_id(request.body_id)), request.offset, length)


# MailboxWrite


async def _create(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.CreateRequest.FromString, body)
    use = _given(SpecialUse, request.special_use) if request.special_use else None
    answer = write.CreateResponse()
    head = await store.write.create(_account(request.account_id), request.name, key=_key(request.key), special_use=use)
    codec.to_head(head, answer.head)
    return (answer.SerializeToString(),)


async def _rename(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.RenameRequest.FromString, body)
    await store.write.rename(_account(request.account_id), request.name, request.new_name, key=_key(request.key))
    return ()


async def _delete(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.DeleteRequest.FromString, body)
    await store.write.delete(_account(request.account_id), request.name, key=_key(request.key))
    return ()


async def _subscribe(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.SubscribeRequest.FromString, body)
    await store.write.subscribe(_account(request.account_id), request.name, request.subscribed, key=_key(request.key))
    return ()


async def _append(store: Store, body: bytes) -> Sequence[bytes]:
    request, messages = _given(codec_append.from_append, body)
    result = await store.write.append(_account(request.account_id), request.name, messages, key=_key(request.key))
    return (codec_append.to_append_result(result).SerializeToString(),)


async def _store_flags(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.StoreFlagsRequest.FromString, body)
    result = await store.write.store_flags(
        _account(request.account_id),
        _mailbox(request.mailbox_id),
        _given(unpack, U32, request.uids),
        _given(codec.from_flag_mode, request.mode),
        list(request.flags),
        key=_key(request.key),
        unchanged_since=request.unchanged_since if request.HasField("unchanged_since") else None,
    )
    return (codec.to_store_result(result).SerializeToString(),)


async def _expunge(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.ExpungeRequest.FromString, body)
    answer = write.ExpungeResponse()
    delta = await store.write.expunge(
        _account(request.account_id),
        _mailbox(request.mailbox_id),
        None if request.all else _given(unpack, U32, request.uids),
        key=_key(request.key),
        only_deleted=request.only_deleted,
    )
    codec.to_delta(delta, answer.delta)
    return (answer.SerializeToString(),)


async def _copy(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.CopyRequest.FromString, body)
    result = await store.write.copy(
        _account(request.account_id),
        _mailbox(request.mailbox_id),
        _given(unpack, U32, request.uids),
        request.target,
        key=_key(request.key),
    )
    return (codec.to_copy_result(result).SerializeToString(),)


async def _move(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.MoveRequest.FromString, body)
    result = await store.write.move(
        _account(request.account_id),
        _mailbox(request.mailbox_id),
        _given(unpack, U32, request.uids),
        request.target,
        key=_key(request.key),
    )
    return (codec.to_move_result(result).SerializeToString(),)


async def _replace(store: Store, body: bytes) -> Sequence[bytes]:
    request, message = _given(codec_append.from_replace, body)
    result = await store.write.replace(
        _account(request.account_id),
        _mailbox(request.mailbox_id),
        request.uid,
        request.target,
        message,
        key=_key(request.key),
    )
    return (codec_append.to_replace_result(result).SerializeToString(),)


async def _claim_recent(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.ClaimRecentRequest.FromString, body)
    first = await store.write.claim_recent(_account(request.account_id), _mailbox(request.mailbox_id))
    return (write.ClaimRecentResponse(first_recent=first).SerializeToString(),)


async def _lease_maildrop(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.LeaseMaildropRequest.FromString, body)
    lease = await store.write.lease_maildrop(_account(request.account_id), request.holder, request.seconds)
    answer = write.LeaseMaildropResponse(token=lease.token, expires_at=lease.expires_at)
    return (answer.SerializeToString(),)


async def _renew_maildrop(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.RenewMaildropRequest.FromString, body)
    lease = await store.write.renew_maildrop(_account(request.account_id), request.token, request.seconds)
    answer = write.RenewMaildropResponse(token=lease.token, expires_at=lease.expires_at)
    return (answer.SerializeToString(),)


async def _release_maildrop(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.ReleaseMaildropRequest.FromString, body)
    await store.write.release_maildrop(_account(request.account_id), request.token)
    return ()


async def _record_retrieved(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(write.RecordRetrievedRequest.FromString, body)
    await store.write.record_retrieved(
        _account(request.account_id),
        _mailbox(request.mailbox_id),
        _given(unpack, U32, request.uids),
        key=_key(request.key),
    )
    return ()


# Delivery


async def _deliver(store: Store, body: bytes) -> Sequence[bytes]:
    head, offset = _given(unframe, body)
    request = _given(delivery.DeliverRequest.FromString, head)
    (content,) = _given(cut, body, offset, (request.size,))
    envelope = codec_delivery.from_envelope(request)
    if not envelope.trace_id or not envelope.recipients:
        raise BadRequest("a delivery without a trace id or recipients")
    for recipient in envelope.recipients:
        if not recipient.remote:
            _id(recipient.account_id)
    if envelope.account_id:
        _id(envelope.account_id)
    result = await store.delivery.deliver(envelope, content or b"")
    return (codec_delivery.to_deliver_result(result).SerializeToString(),)


async def _confirm(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(delivery.ConfirmRequest.FromString, body)
    _at_most(max(len(request.trace_ids), len(request.answered)), MAX_CONFIRMED, "transactions")
    await store.delivery.confirm(list(request.trace_ids), codec_delivery.from_answered(request.answered))
    return ()


# Queue


async def _claim(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(queue.ClaimRequest.FromString, body)
    _at_most(len(request.jobs), MAX_CLAIMS, "jobs")
    jobs = _given(codec_queue.from_jobs, request)
    limit = min(request.max_bytes, MAX_CONTENTS_BYTES)
    return codec_queue.to_claims(await store.queue.claim(jobs, request.worker, max_bytes=limit, key=_key(request.key)))


async def _content(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(queue.ContentRequest.FromString, body)
    return (await store.queue.content(*_given(codec_queue.from_claim, request.claim)),)


async def _renew(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(queue.RenewRequest.FromString, body)
    _at_most(len(request.claims), MAX_RENEWED, "claims")
    renewed = await store.queue.renew([_given(codec_queue.from_claim, claim) for claim in request.claims])
    return (queue.RenewResponse(renewed=renewed).SerializeToString(),)


async def _report(store: Store, body: bytes) -> Sequence[bytes]:
    reports = _given(codec_queue.from_reports, _given(queue.ReportRequest.FromString, body))
    _at_most(len(reports), MAX_REPORTS, "reports")
    taken = await store.queue.report(reports)
    return (queue.ReportResponse(taken=taken).SerializeToString(),)


# Trace


async def _announced(store: Store, body: bytes) -> Sequence[bytes]:
    request = _given(trace.AnnouncedRequest.FromString, body)
    announcements = _given(codec_trace.from_announced, request)
    _at_most(len(announcements), MAX_ANNOUNCED, "announcements")
    traced = await store.trace.announced(announcements, by=request.by)
    return (trace.AnnouncedResponse(traced=traced).SerializeToString(),)


READ = "MailboxReadService/Read"

GROWING = frozenset({"DeliveryService/Deliver", "MailboxWriteService/Append", "MailboxWriteService/Replace"})
"""Refused while MongoDB is short of disk space."""

METHODS: dict[str, Method] = {
    "DirectoryService/Resolve": _resolve,
    "DirectoryService/Authenticate": _authenticate,
    "DirectoryService/Owns": _owns,
    "MailboxReadService/Tree": _tree,
    "MailboxReadService/Head": _head,
    "MailboxReadService/Changes": _changes,
    "MailboxReadService/Vanished": _vanished,
    "MailboxReadService/Poll": _poll,
    "MailboxReadService/Annotations": _annotations,
    "MailboxReadService/Quota": _quota,
    "MailboxReadService/BodyInfos": _body_infos,
    "MailboxReadService/Contents": _contents,
    "MailboxReadService/MaildropRetention": _maildrop_retention,
    "MailboxWriteService/Create": _create,
    "MailboxWriteService/Rename": _rename,
    "MailboxWriteService/Delete": _delete,
    "MailboxWriteService/Subscribe": _subscribe,
    "MailboxWriteService/Append": _append,
    "MailboxWriteService/StoreFlags": _store_flags,
    "MailboxWriteService/Expunge": _expunge,
    "MailboxWriteService/Copy": _copy,
    "MailboxWriteService/Move": _move,
    "MailboxWriteService/Annotate": _annotate,
    "MailboxWriteService/Replace": _replace,
    "MailboxWriteService/ClaimRecent": _claim_recent,
    "MailboxWriteService/LeaseMaildrop": _lease_maildrop,
    "MailboxWriteService/RenewMaildrop": _renew_maildrop,
    "MailboxWriteService/ReleaseMaildrop": _release_maildrop,
    "MailboxWriteService/RecordRetrieved": _record_retrieved,
    "DeliveryService/Deliver": _deliver,
    "DeliveryService/Confirm": _confirm,
    "QueueService/Claim": _claim,
    "QueueService/Content": _content,
    "QueueService/Renew": _renew,
    "QueueService/Report": _report,
    "TraceService/Announced": _announced,
}
