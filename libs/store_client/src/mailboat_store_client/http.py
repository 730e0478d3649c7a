"""The store over HTTP: what every gateway uses. The ports' semantics, carried by `channel`.

store = HttpStore(settings.storage_url, SecretFile(settings.internal_token_file).text)
await store.start()
life.add_check("storage", lambda: store.up)
life.on_close(store.close)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from mailboat.storage.v1 import delivery_pb2 as delivery
from mailboat.storage.v1 import directory_pb2 as directory
from mailboat.storage.v1 import mailbox_read_pb2 as read
from mailboat.storage.v1 import mailbox_write_pb2 as write
from mailboat.storage.v1 import trace_pb2 as trace
from mailboat_common.config import SecretFile, StorageClientSettings
from mailboat_common.errors import Internal, Unavailable
from mailboat_common.lifecycle import Lifecycle
from mailboat_common.log import get_logger

from . import codec, codec_account, codec_append, codec_delivery, codec_trace
from .balance import Balancer
from .channel import CALL_SECONDS, Channel
from .columns import U32, pack_ids, pack_numbers
from .framing import frame
from .http_queue import HttpQueue
from .types import (
    NO_ACCOUNT,
    AccountId,
    Announcement,
    Answered,
    AppendMessage,
    AppendResult,
    AuthResult,
    BodyField,
    BodyId,
    BodyInfo,
    CopyResult,
    DeliverResult,
    Delta,
    Envelope,
    FlagMode,
    MailboxChanges,
    MailboxHead,
    MailboxId,
    MailboxTree,
    MaildropLease,
    Quota,
    ReplaceResult,
    Resolution,
    SpecialUse,
    StoreResult,
    Vanished,
)

R = TypeVar("R")
log = get_logger(__name__)


async def open_store(life: Lifecycle, settings: StorageClientSettings) -> HttpStore:
    """The store of a service, for its life: a condition of its readiness, closed at its end."""
    store = HttpStore(settings.storage_url, SecretFile(settings.internal_token_file).text)
    await store.start()
    life.on_close(store.close)
    life.add_check("storage", lambda: store.up)
    return store


class HttpStore:
    """All ports, over one channel. `start` before the first call."""

    def __init__(self, urls: Sequence[str], token: Callable[[], str], *, call_seconds: float = CALL_SECONDS) -> None:
        self._channel = Channel(Balancer(urls), token, call_seconds=call_seconds)
        self.directory = HttpDirectory(self._channel)
        self.read = HttpMailboxRead(self._channel)
        self.write = HttpMailboxWrite(self._channel)
        self.delivery = HttpDelivery(self._channel)
        self.queue = HttpQueue(self._channel)
        self.trace = HttpTrace(self._channel)

    async def start(self) -> None:
        """Resolves the addresses and begins to watch them; storage_api need not answer yet."""
        await self._channel.start()

    @property
    def up(self) -> bool:
        """Whether storage_api answered the last time; for readiness checks, free."""
        return self._channel.up

    async def ready(self) -> bool:
        """Whether storage_api answers now."""
        return await self._channel.ready()

    async def close(self) -> None:
        """Ends the connections; calls that run fail as Unavailable."""
        await self._channel.close()


class HttpDirectory:
    """The Directory port."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def resolve(
        self, addresses: Sequence[str], *, sender: str = "", account_id: AccountId = NO_ACCOUNT
    ) -> list[Resolution]:
        request = directory.ResolveRequest(addresses=addresses, sender=sender, account_id=account_id)
        answer = await self._channel.call("DirectoryService/Resolve", (request.SerializeToString(),))
        return _decoded(lambda: codec.from_resolutions(directory.ResolveResponse.FromString(answer)))

    async def authenticate(self, login: str, password: str, *, protocol: str, client: str) -> AuthResult:
        request = directory.AuthenticateRequest(login=login, password=password, protocol=protocol, client=client)
        key = login.casefold().encode("utf-8", "surrogatepass")
        answer = await self._channel.call("DirectoryService/Authenticate", (request.SerializeToString(),), key)
        return _decoded(lambda: codec_account.from_auth_result(directory.AuthenticateResponse.FromString(answer)))

    async def owns(self, account_id: AccountId, addresses: Sequence[str]) -> list[bool]:
        request = directory.OwnsRequest(account_id=account_id, addresses=addresses)
        answer = await self._channel.call("DirectoryService/Owns", (request.SerializeToString(),))
        return _decoded(lambda: list(directory.OwnsResponse.FromString(answer).owned))


class HttpMailboxRead:
    """The MailboxRead port."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def tree(self, account_id: AccountId) -> MailboxTree:
        answer = await self._call("Tree", read.TreeRequest(account_id=account_id))
        return _decoded(lambda: codec.from_tree(read.TreeResponse.FromString(answer)))

    async def head(self, account_id: AccountId, name: str) -> MailboxHead:
        answer = await self._call("Head", read.HeadRequest(account_id=account_id, name=name))
        return _decoded(lambda: codec.from_head(read.HeadResponse.FromString(answer).head))

    async def changes(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> MailboxChanges:
        request = read.ChangesRequest(account_id=account_id, mailbox_id=mailbox_id, since=since)
        answer = await self._call("Changes", request)
        return _decoded(lambda: codec.from_changes(read.ChangesResponse.FromString(answer)))

    async def vanished(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> Vanished:
        request = read.VanishedRequest(account_id=account_id, mailbox_id=mailbox_id, since=since)
        answer = await self._call("Vanished", request)
        return _decoded(lambda: codec.from_vanished(read.VanishedResponse.FromString(answer)))

    async def poll(self, wanted: Sequence[tuple[AccountId, MailboxId, int]]) -> list[tuple[MailboxId, int]]:
        answer = await self._call("Poll", codec.to_poll(wanted))
        return _decoded(lambda: codec.from_moved(read.PollResponse.FromString(answer)))

    async def annotations(self, account_id: AccountId, name: str) -> dict[str, bytes]:
        answer = await self._call("Annotations", read.AnnotationsRequest(account_id=account_id, name=name))
        return _decoded(lambda: codec_account.from_annotations(read.AnnotationsResponse.FromString(answer)))

    async def quota(self, account_id: AccountId) -> Quota:
        answer = await self._call("Quota", read.QuotaRequest(account_id=account_id))
        return _decoded(lambda: codec_account.from_quota(read.QuotaResponse.FromString(answer)))

    async def body_infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        request = read.BodyInfosRequest(account_id=account_id, body_ids=pack_ids(body_ids), fields=fields.value)
        answer = await self._call("BodyInfos", request)
        return _decoded(lambda: codec.from_body_infos(read.BodyInfosResponse.FromString(answer), body_ids))

    async def contents(self, account_id: AccountId, body_ids: Sequence[BodyId], max_bytes: int) -> list[bytes | None]:
        request = read.ContentsRequest(account_id=account_id, body_ids=pack_ids(body_ids), max_bytes=max_bytes)
        answer = await self._call("Contents", request)
        return _decoded(lambda: codec.from_contents(answer))

    def read(
        self, account_id: AccountId, body_id: BodyId, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        def request(received: int) -> bytes:
            left = None if length is None else length - received
            asked = read.ReadRequest(account_id=account_id, body_id=body_id, offset=offset + received, length=left)
            return asked.SerializeToString()

        return self._channel.stream("MailboxReadService/Read", request)

    async def maildrop_retention(self, account_id: AccountId | None) -> int | None:
        answer = await self._call("MaildropRetention", read.MaildropRetentionRequest(account_id=account_id or b""))
        return _decoded(lambda: codec.from_retention(read.MaildropRetentionResponse.FromString(answer)))

    async def _call(self, method: str, request: Message) -> bytes:
        return await self._channel.call("MailboxReadService/" + method, (request.SerializeToString(),))


class HttpMailboxWrite:
    """The MailboxWrite port."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self, account_id: AccountId, name: str, *, key: bytes, special_use: SpecialUse | None = None
    ) -> MailboxHead:
        use = special_use.value if special_use else ""
        request = write.CreateRequest(account_id=account_id, name=name, key=key, special_use=use)
        answer = await self._call("Create", account_id, request)
        return _decoded(lambda: codec.from_head(write.CreateResponse.FromString(answer).head))

    async def rename(self, account_id: AccountId, name: str, new_name: str, *, key: bytes) -> None:
        request = write.RenameRequest(account_id=account_id, name=name, new_name=new_name, key=key)
        await self._call("Rename", account_id, request)

    async def delete(self, account_id: AccountId, name: str, *, key: bytes) -> None:
        await self._call("Delete", account_id, write.DeleteRequest(account_id=account_id, name=name, key=key))

    async def subscribe(self, account_id: AccountId, name: str, subscribed: bool, *, key: bytes) -> None:
        request = write.SubscribeRequest(account_id=account_id, name=name, subscribed=subscribed, key=key)
        await self._call("Subscribe", account_id, request)

    async def annotate(
        self, account_id: AccountId, name: str, values: Mapping[str, bytes | None], *, key: bytes
    ) -> None:
        request = codec_account.to_annotate(account_id, name, values, key)
        await self._call("Annotate", account_id, request)

    async def append(
        self, account_id: AccountId, name: str, messages: Sequence[AppendMessage], *, key: bytes
    ) -> AppendResult:
        body = codec_append.to_append(account_id, name, messages, key)
        answer = await self._channel.call("MailboxWriteService/Append", body, account_id)
        return _decoded(lambda: codec_append.from_append_result(write.AppendResponse.FromString(answer)))

    async def store_flags(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        uids: Sequence[int],
        mode: FlagMode,
        flags: Sequence[str],
        *,
        key: bytes,
        unchanged_since: int | None = None,
    ) -> StoreResult:
        request = write.StoreFlagsRequest(
            account_id=account_id,
            mailbox_id=mailbox_id,
            uids=pack_numbers(U32, uids),
            mode=codec.FLAG_MODES[mode],
            flags=flags,
            key=key,
            unchanged_since=unchanged_since,
        )
        answer = await self._call("StoreFlags", account_id, request)
        return _decoded(lambda: codec.from_store_result(write.StoreFlagsResponse.FromString(answer)))

    async def expunge(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        uids: Sequence[int] | None,
        *,
        key: bytes,
        only_deleted: bool = True,
    ) -> Delta:
        request = write.ExpungeRequest(
            account_id=account_id,
            mailbox_id=mailbox_id,
            uids=b"" if uids is None else pack_numbers(U32, uids),
            all=uids is None,
            key=key,
            only_deleted=only_deleted,
        )
        answer = await self._call("Expunge", account_id, request)
        return _decoded(lambda: codec.from_delta(write.ExpungeResponse.FromString(answer).delta))

    async def copy(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        packed = pack_numbers(U32, uids)
        request = write.CopyRequest(account_id=account_id, mailbox_id=mailbox_id, uids=packed, target=target, key=key)
        answer = await self._call("Copy", account_id, request)
        return _decoded(lambda: codec.from_copy_result(write.CopyResponse.FromString(answer)))

    async def move(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        packed = pack_numbers(U32, uids)
        request = write.MoveRequest(account_id=account_id, mailbox_id=mailbox_id, uids=packed, target=target, key=key)
        answer = await self._call("Move", account_id, request)
        return _decoded(lambda: codec.from_copy_result(write.MoveResponse.FromString(answer)))

    async def replace(
        self, account_id: AccountId, mailbox_id: MailboxId, uid: int, target: str, message: AppendMessage, *, key: bytes
    ) -> ReplaceResult:
        body = codec_append.to_replace(account_id, mailbox_id, uid, target, message, key=key)
        answer = await self._channel.call("MailboxWriteService/Replace", body, account_id)
        return _decoded(lambda: codec_append.from_replace_result(write.ReplaceResponse.FromString(answer)))

    async def claim_recent(self, account_id: AccountId, mailbox_id: MailboxId) -> int:
        request = write.ClaimRecentRequest(account_id=account_id, mailbox_id=mailbox_id)
        answer = await self._call("ClaimRecent", account_id, request)
        return _decoded(lambda: write.ClaimRecentResponse.FromString(answer).first_recent)

    async def lease_maildrop(self, account_id: AccountId, holder: str, seconds: int) -> MaildropLease:
        request = write.LeaseMaildropRequest(account_id=account_id, holder=holder, seconds=seconds)
        answer = await self._call("LeaseMaildrop", account_id, request)
        return _decoded(lambda: codec.from_lease(write.LeaseMaildropResponse.FromString(answer)))

    async def renew_maildrop(self, account_id: AccountId, token: bytes, seconds: int) -> MaildropLease:
        request = write.RenewMaildropRequest(account_id=account_id, token=token, seconds=seconds)
        answer = await self._call("RenewMaildrop", account_id, request)
        return _decoded(lambda: codec.from_lease(write.RenewMaildropResponse.FromString(answer)))

    async def release_maildrop(self, account_id: AccountId, token: bytes) -> None:
        request = write.ReleaseMaildropRequest(account_id=account_id, token=token)
        await self._call("ReleaseMaildrop", account_id, request)

    async def record_retrieved(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], *, key: bytes
    ) -> None:
        packed = pack_numbers(U32, uids)
        request = write.RecordRetrievedRequest(account_id=account_id, mailbox_id=mailbox_id, uids=packed, key=key)
        await self._call("RecordRetrieved", account_id, request)

    async def _call(self, method: str, account_id: AccountId, request: Message) -> bytes:
        body = (request.SerializeToString(),)
        return await self._channel.call("MailboxWriteService/" + method, body, account_id)


class HttpDelivery:
    """The Delivery port. A message goes to the address of its first recipient's account."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def deliver(self, envelope: Envelope, content: bytes) -> DeliverResult:
        head = codec_delivery.to_envelope(envelope, len(content)).SerializeToString()
        first = envelope.recipients[0].account_id if envelope.recipients else NO_ACCOUNT
        key = first or envelope.account_id or envelope.trace_id.encode()
        answer = await self._channel.call("DeliveryService/Deliver", frame(head, (content,)), key)
        return _decoded(lambda: codec_delivery.from_deliver_result(delivery.DeliverResponse.FromString(answer)))

    async def confirm(self, trace_ids: Sequence[str], answered: Sequence[Answered] = ()) -> None:
        message = delivery.ConfirmRequest(trace_ids=trace_ids, answered=codec_delivery.to_answered(answered))
        request = message.SerializeToString()
        try:
            await self._channel.call("DeliveryService/Confirm", (request,), repeat=False)
        except Unavailable as error:
            # Lost without harm: a client that comes back with the same bytes is then told of a duplicate.
            log.warning("confirmations lost", trace_ids=trace_ids, cause=error.private)


class HttpTrace:
    """The Trace port."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def announced(self, announcements: Sequence[Announcement], *, by: str) -> int:
        request = codec_trace.to_announced(announcements, by).SerializeToString()
        answer = await self._channel.call("TraceService/Announced", (request,), repeat=False)
        return _decoded(lambda: trace.AnnouncedResponse.FromString(answer).traced)


def _decoded(decode: Callable[[], R]) -> R:
    try:
        return decode()
    except (DecodeError, ValueError, UnicodeDecodeError) as error:
        raise Internal(f"storage's answer doesn't parse: {error!r}") from error
