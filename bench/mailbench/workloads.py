"""The workloads. Each is `async def name(ctx)`, runs once and returns a dict.

`with ctx.measure() as m:` brackets exactly the timed section; m.ops is the
number of operations in it and m.lat a list of their latencies in seconds.
Parameters come from ctx.p (name=value on the command line) with the defaults
given in the code.
"""
import asyncio
import itertools
import random
import re
import time

from .corpus import RARE_BODY, RARE_SUBJECT
from .dns import Dns, address
from .imap import FETCH, Imap, ImapError
from .pop3 import Pop3
from .smtp import Sink, Smtp

WORKLOADS = {}
now = time.perf_counter


def workload(f):
    WORKLOADS[f.__name__] = f
    return f


async def imap(ctx, n=0):
    port, ssl, starttls = ctx.t.secure("imap")
    return await Imap.connect(ctx.t.host, port, ctx.t.user(n), ctx.t.password, ssl=ssl, starttls=starttls)


async def smtp(ctx, kind="smtp", user=0):
    """A session on port `kind`. With auth=yes: on the submission port, logged in as user number `user`."""
    auth = None
    if ctx.p.bool("auth", False):
        kind, auth = "submission", (ctx.t.user(user), ctx.t.password)
    lmtp = kind == "lmtp"
    port, ssl, starttls = (ctx.t.port(kind), None, None) if lmtp or (kind == "smtp" and ctx.t.tls == "implicit") else ctx.t.secure(kind)
    return await Smtp.connect(ctx.t.host, port, lmtp=lmtp, pipelining=ctx.p.bool("pipelining", True), ssl=ssl, starttls=starttls, auth=auth)


FROM = re.compile(rb"^From: .*$", re.M)


def owned(message, address):
    """The message as its author submits it: a submission server refuses somebody else's From."""
    return FROM.sub(b"From: " + address + b"\r", message, count=1)


async def make_mailbox(c, name, fresh=False):
    if fresh:
        await c.cmd(b'DELETE "%s"' % name, check=False)
    await c.cmd(b'CREATE "%s"' % name, check=False)


async def status(c, mailbox=b"INBOX"):
    r = await c.cmd(b'STATUS "%s" (MESSAGES)' % mailbox)
    return int(re.search(rb"MESSAGES (\d+)", r.data).group(1))


async def closed_loop(conns, count, job):
    """`count` jobs over the given connections, each as fast as it can; latencies."""
    it, lat = iter(range(count)), []

    async def run(c):
        for i in it:
            t = now()
            await job(c, i)
            lat.append(now() - t)
    await asyncio.gather(*(run(c) for c in conns))
    return lat


# --- filling mailboxes -------------------------------------------------------

@workload
async def populate(ctx):
    """Bring mailbox up to count messages by APPEND; not a measurement."""
    box, count, n, user = ctx.p.bytes("mailbox", "bench10k"), ctx.p.int("count", 10000), ctx.p.int("conns", 4), ctx.p.int("user", 0)
    conns = [await imap(ctx, user) for _ in range(n)]
    await make_mailbox(conns[0], box)
    have = await status(conns[0], box)
    corpus = ctx.corpus(ctx.p.str("size", "4k"))
    flags = (b"", b"\\Seen", b"\\Seen", b"\\Seen \\Answered", b"\\Flagged")
    with ctx.measure() as m:
        m.lat = await closed_loop(conns, max(0, count - have), lambda c, i: c.append(box, corpus.make(have + i), flags[i % 5]))
        m.ops = len(m.lat)
    total = await status(conns[0], box)
    for c in conns:
        await c.logout()
    return {"mailbox_messages": total}


@workload
async def populate_copy(ctx):
    """Fill mailbox `to` by COPY of all of `mailbox`, `times` times."""
    c = await imap(ctx, ctx.p.int("user", 0))
    to = ctx.p.bytes("to", "bench100k")
    await make_mailbox(c, to)
    total = (await c.cmd(b'SELECT "%s"' % ctx.p.bytes("mailbox", "bench10k"))).exists()
    with ctx.measure() as m:
        for _ in range(ctx.p.int("times", 10)):
            await c.cmd(b'COPY 1:* "%s"' % to)
            m.ops += total
    have = await status(c, to)
    await c.logout()
    return {"mailbox_messages": have}


# --- SMTP --------------------------------------------------------------------

@workload
async def smtp_ingest(ctx):
    """Closed loop of messages over reused connections; then wait until IMAP shows them all."""
    lmtp = ctx.p.bool("lmtp", False)
    nconn, count, size = ctx.p.int("conns", 10), ctx.p.int("count", 1000), ctx.p.str("size", "4k")
    users = ctx.p.int("users", min(ctx.t.users, 10))
    rcpt = [ctx.t.user(u).encode() for u in range(users)]
    corpus = ctx.corpus(size)
    bodies = None if size == "4k" else [corpus.make(i) for i in range(count)]
    watch = []
    if ctx.p.bool("drain", True):
        watch = [await imap(ctx, u) for u in range(users)]
    before = [await status(c) for c in watch]
    conns = [await smtp(ctx, "lmtp" if lmtp else "smtp", u) for u in range(nconn)]
    own = {c: ctx.t.user(u).encode() for u, c in enumerate(conns)} if ctx.p.bool("auth", False) else {}

    async def send(c, i):
        message = bodies[i] if bodies else corpus.make(i)
        if c in own:
            message = owned(message, own[c])
        await c.send(own.get(c) or b"load%d@load.example" % (i % 50), [rcpt[i % users]], message)
    extra = {}
    with ctx.measure() as m:
        start = now()
        m.lat = await closed_loop(conns, count, send)
        m.ops, m.wall = count, now() - start
        if watch:
            left = list(range(users))
            want = [before[u] + count // users + (u < count % users) for u in left]
            deadline = now() + 120
            while left and now() < deadline:
                left = [u for u in left if await status(watch[u]) < want[u]]
                if left:
                    await asyncio.sleep(0.1)
            extra = {"delivered_rate": round(count / (now() - start), 1), "undelivered_users": len(left)}
    for c in conns:
        await c.quit()
    for c in watch:
        await c.logout()
    return {"mb_per_s": round(count * corpus.mean / 1e6 / m.wall, 2), "pipelining": conns[0].pipelining, **extra}


@workload
async def smtp_e2e(ctx):
    """One message at a time: from the 250 after DATA to the EXISTS pushed to an IDLE client."""
    lmtp = ctx.p.bool("lmtp", False)
    count, pause = ctx.p.int("count", 100), ctx.p.float("pause", 0.02)
    user = ctx.t.user(0).encode()
    corpus = ctx.corpus(ctx.p.str("size", "4k"))
    watcher = await imap(ctx)
    await watcher.cmd(b"SELECT INBOX")
    seen = asyncio.Queue()
    await watcher.idle(lambda line, t: seen.put_nowait(t) if line.endswith(b" EXISTS") else None)
    s = await smtp(ctx, "lmtp" if lmtp else "smtp")
    total = []
    with ctx.measure() as m:
        for i in range(count):
            t0 = now()
            auth = ctx.p.bool("auth", False)
            await s.send(user if auth else b"load@load.example", [user], owned(corpus.make(i), user) if auth else corpus.make(i))
            t1 = now()
            t2 = await asyncio.wait_for(seen.get(), 30)
            m.lat.append(max(0.0, t2 - t1))
            total.append(t2 - t0)
            await asyncio.sleep(pause)
            while not seen.empty():
                seen.get_nowait()
        m.ops = count
    await watcher.done()
    await watcher.logout()
    await s.quit()
    return {"rate": None, "from_mail_to_push": ctx.percentiles(total)}


class Destinations:
    """Where a relay's mail goes: with `dns_port` in the target, `domains` domains with a mail host each, found by MX;
    else one sink for all, which the relay is set to.
    """

    def __init__(self, ctx, domains):
        self.t, self.domains = ctx.t, domains
        self.sink, self.dns = Sink(), None

    async def __aenter__(self):
        hosts = ["127.0.0.1"]
        if "dns_port" in self.t.d:
            self.dns = await Dns.start(self.t.port("dns"), self.domains)
            hosts = [address(n) for n in range(self.domains)]
        await self.sink.start(hosts, self.t.port("sink"))
        return self

    async def __aexit__(self, *exc):
        self.sink.close()
        if self.dns is not None:
            self.dns.close()

    def rcpt(self, i):
        return b"r%d@d%d.sink.example" % (i, i % self.domains)

    def waits(self, accepted):
        """Seconds from each message's 250 to its first RCPT at a mail host; 0 where the attempt was faster."""
        return [max(0.0, self.sink.attempts[i] - at) for i, at in accepted.items()]


async def submitters(ctx, count):
    """(connections, what sends message i over one of them)."""
    corpus = ctx.corpus(ctx.p.str("size", "4k"))
    conns = [await smtp(ctx, "submission", u) for u in range(count)]
    own = {c: ctx.t.user(u).encode() for u, c in enumerate(conns)} if ctx.p.bool("auth", False) else {}

    async def send(c, i, rcpt):
        message = owned(corpus.make(i), own[c]) if own else corpus.make(i)
        await c.send(own.get(c) or b"user@bench.example", [rcpt], message)
    return conns, send


@workload
async def outbound(ctx):
    """Submit messages to a relay, time until every one has reached our own sinks; the CPU covers `settle` seconds more."""
    count, domains = ctx.p.int("count", 2000), ctx.p.int("domains", 50)
    accepted = {}
    async with Destinations(ctx, domains) as to:
        conns, submit = await submitters(ctx, ctx.p.int("conns", 10))

        async def send(c, i):
            await submit(c, i, to.rcpt(i))
            accepted[i] = now()
        with ctx.measure() as m:
            start = now()
            done = asyncio.ensure_future(to.sink.wait(count, ctx.p.float("timeout", 180)))
            m.lat = await closed_loop(conns, count, send)
            in_s = now() - start
            await done
            m.ops, m.wall = count, now() - start
            await asyncio.sleep(ctx.p.float("settle", 3))  # what the relay still notes of the last ones is its work too
        for c in conns:
            await c.quit()
        sink, waits = to.sink, ctx.percentiles(to.waits(accepted))
    return {"accept_rate": round(count / in_s, 1), "first_at_sink_ms": round((sink.times[0] - start) * 1e3, 1),
            **{"attempt_" + k: v for k, v in waits.items()},
            "sink_connections": sink.connections, "sink_messages": sink.messages, "double": sink.double}


@workload
async def outbound_latency(ctx):
    """One message every `gap` seconds into an idle relay: from its 250 to the first RCPT at the mail host."""
    count, domains, gap = ctx.p.int("count", 200), ctx.p.int("domains", 50), ctx.p.float("gap", 0.2)
    accepted = {}
    async with Destinations(ctx, domains) as to:
        (c,), submit = await submitters(ctx, 1)
        with ctx.measure() as m:
            start = now()
            done = asyncio.ensure_future(to.sink.wait(count, gap * count + ctx.p.float("timeout", 60)))
            for i in range(count):
                await asyncio.sleep(max(0.0, start + i * gap - now()))
                await submit(c, i, to.rcpt(i))
                accepted[i] = now()
            await done
            m.ops, m.lat = count, to.waits(accepted)
        await c.quit()
        return {"sink_connections": to.sink.connections, "double": to.sink.double}


# --- IMAP --------------------------------------------------------------------

@workload
async def imap_login(ctx):
    """TCP connect + greeting + LOGIN + LOGOUT."""
    nconn, count = ctx.p.int("conns", 4), ctx.p.int("count", 200)

    async def one(_, i):
        c = await imap(ctx, i % min(10, ctx.t.users))
        await c.logout()
    with ctx.measure() as m:
        m.lat = await closed_loop(range(nconn), count, one)
        m.ops = count


@workload
async def imap_append(ctx):
    """APPEND, each connection its own user."""
    nconn, count = ctx.p.int("conns", 4), ctx.p.int("count", 500)
    corpus = ctx.corpus(ctx.p.str("size", "4k"))
    conns = [await imap(ctx, u) for u in range(nconn)]
    for c in conns:
        await make_mailbox(c, b"bench-append", fresh=True)
    with ctx.measure() as m:
        m.lat = await closed_loop(conns, count, lambda c, i: c.append(b"bench-append", corpus.make(i)))
        m.ops = count
    for c in conns:
        await c.cmd(b"DELETE bench-append", check=False)
        await c.logout()
    return {"mb_per_s": round(count * corpus.mean / 1e6 / m.wall, 2)}


async def _fetch(ctx, items, limit=0, repeat=1):
    repeat = ctx.p.int("repeat", repeat)
    c = await imap(ctx, ctx.p.int("user", 0))
    total = (await c.cmd(b'EXAMINE "%s"' % ctx.p.bytes("mailbox", "bench10k"))).exists()
    last = min(total, ctx.p.int("limit", limit) or total)
    with ctx.measure() as m:
        for _ in range(repeat):
            t = now()
            r = await c.cmd(b"FETCH 1:%d %s" % (last, items))
            m.lat.append(now() - t)
            m.ops += last
    got = len(FETCH.findall(r.data))
    if got != last:
        raise ImapError("FETCH gave %d of %d messages" % (got, last))
    await c.logout()
    return {"bytes": len(r.data), "mb_per_s": round(repeat * len(r.data) / 1e6 / m.wall, 2)}


@workload
async def imap_fetch_flags(ctx):
    """FETCH 1:* (UID FLAGS)."""
    return await _fetch(ctx, b"(UID FLAGS)", repeat=3)


@workload
async def imap_fetch_env(ctx):
    """FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)."""
    return await _fetch(ctx, b"(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")


@workload
async def imap_fetch_hdr(ctx):
    """FETCH 1:* header fields, as mail clients do on first opening a mailbox."""
    return await _fetch(ctx, b"(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID)])")


@workload
async def imap_fetch_body(ctx):
    """FETCH BODY.PEEK[] of the first `limit` messages."""
    return await _fetch(ctx, b"(UID BODY.PEEK[])", 2000)


@workload
async def imap_select(ctx):
    """SELECT, each on a fresh connection (connect and login not timed)."""
    box = ctx.p.bytes("mailbox", "bench10k")
    n = 0
    with ctx.measure() as m:
        for _ in range(ctx.p.int("count", 10)):
            c = await imap(ctx, ctx.p.int("user", 0))
            t = now()
            n = (await c.cmd(b'SELECT "%s"' % box)).exists()
            m.lat.append(now() - t)
            m.ops += 1
            await c.logout()
    return {"rate": None, "exists": n}


@workload
async def imap_search(ctx):
    """UID SEARCH by flag, by subject header, by text; one latency each."""
    c = await imap(ctx, ctx.p.int("user", 0))
    total = (await c.cmd(b'EXAMINE "%s"' % ctx.p.bytes("mailbox", "bench10k"))).exists()
    out = {"rate": None, "exists": total}
    kinds = [("flags", b"UNSEEN"), ("subject", b"SUBJECT " + RARE_SUBJECT.encode()), ("text", b"TEXT " + RARE_BODY.encode())]
    only = ctx.p.str("kind", "")
    with ctx.measure() as m:
        for kind, key in kinds:
            if only and kind not in only.split("+"):
                continue
            t = now()
            r = await c.cmd(b"UID SEARCH " + key)
            m.lat.append(now() - t)
            m.ops += 1
            hits = r.data.split(b"SEARCH", 1)[-1].split() if b"SEARCH" in r.data else []
            out[kind + "_ms"] = round(m.lat[-1] * 1e3, 2)
            out[kind + "_hits"] = len(hits)
    await c.logout()
    return out


async def _thousand(ctx, c, box, count):
    """A fresh mailbox with `count` messages copied from bench10k; selected."""
    await c.cmd(b'SELECT "%s"' % ctx.p.bytes("mailbox", "bench10k"))
    await make_mailbox(c, box, fresh=True)
    await c.cmd(b'COPY 1:%d "%s"' % (count, box))
    n = (await c.cmd(b'SELECT "%s"' % box)).exists()
    if n != count:
        raise ImapError("%r holds %d, not %d" % (box, n, count))


@workload
async def imap_store(ctx):
    """STORE 1:1000 +FLAGS (\\Flagged), then -FLAGS."""
    count = ctx.p.int("count", 1000)
    c = await imap(ctx, ctx.p.int("user", 0))
    await _thousand(ctx, c, b"bench-store", count)
    with ctx.measure() as m:
        for what in (b"+FLAGS (\\Flagged)", b"-FLAGS (\\Flagged)"):
            t = now()
            await c.cmd(b"STORE 1:%d %s" % (count, what))
            m.lat.append(now() - t)
            m.ops += count
    await c.cmd(b"UNSELECT", check=False)
    await c.cmd(b"DELETE bench-store", check=False)
    await c.logout()


@workload
async def imap_store_one(ctx):
    """STORE of one message at a time (a client marking mail as read)."""
    count = ctx.p.int("count", 200)
    c = await imap(ctx, ctx.p.int("user", 0))
    await _thousand(ctx, c, b"bench-store", count)
    with ctx.measure() as m:
        m.lat = await closed_loop([c], count, lambda c, i: c.cmd(b"STORE %d +FLAGS (\\Seen $bench)" % (i + 1)))
        m.ops = count
    await c.cmd(b"UNSELECT", check=False)
    await c.cmd(b"DELETE bench-store", check=False)
    await c.logout()


@workload
async def imap_copy(ctx):
    """COPY of 1000 messages to another mailbox."""
    count = ctx.p.int("count", 1000)
    c = await imap(ctx, ctx.p.int("user", 0))
    await c.cmd(b'SELECT "%s"' % ctx.p.bytes("mailbox", "bench10k"))
    await make_mailbox(c, b"bench-copy", fresh=True)
    with ctx.measure() as m:
        await c.cmd(b"COPY 1:%d bench-copy" % count)
        m.ops = count
    got = await status(c, b"bench-copy")
    await c.cmd(b"DELETE bench-copy", check=False)
    await c.logout()
    return {"copied": got}


@workload
async def imap_move(ctx):
    """MOVE of 1000 messages to another mailbox."""
    count = ctx.p.int("count", 1000)
    c = await imap(ctx, ctx.p.int("user", 0))
    await _thousand(ctx, c, b"bench-src", count)
    await make_mailbox(c, b"bench-move", fresh=True)
    with ctx.measure() as m:
        await c.cmd(b"MOVE 1:%d bench-move" % count)
        m.ops = count
    got = await status(c, b"bench-move")
    await c.cmd(b"UNSELECT", check=False)
    await c.cmd(b"DELETE bench-src", check=False)
    await c.cmd(b"DELETE bench-move", check=False)
    await c.logout()
    return {"moved": got}


@workload
async def imap_expunge(ctx):
    """EXPUNGE of 1000 messages marked deleted."""
    count = ctx.p.int("count", 1000)
    c = await imap(ctx, ctx.p.int("user", 0))
    await _thousand(ctx, c, b"bench-expunge", count)
    await c.cmd(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
    with ctx.measure() as m:
        await c.cmd(b"EXPUNGE")
        m.ops = count
    left = await status(c, b"bench-expunge")
    await c.cmd(b"UNSELECT", check=False)
    await c.cmd(b"DELETE bench-expunge", check=False)
    await c.logout()
    return {"left": left}


@workload
async def imap_idle_push(ctx):
    """APPEND on one connection: from its tagged OK to EXISTS pushed to an IDLE one."""
    corpus = ctx.corpus("4k")
    a, b = await imap(ctx), await imap(ctx)
    await make_mailbox(a, b"bench-push", fresh=True)
    await b.cmd(b"SELECT bench-push")
    seen = asyncio.Queue()
    await b.idle(lambda line, t: seen.put_nowait(t) if line.endswith(b" EXISTS") else None)
    with ctx.measure() as m:
        for i in range(ctx.p.int("count", 50)):
            await a.append(b"bench-push", corpus.make(i))
            t1 = now()
            m.lat.append(max(0.0, await asyncio.wait_for(seen.get(), 30) - t1))
            m.ops += 1
            await asyncio.sleep(0.02)
            while not seen.empty():
                seen.get_nowait()
    await b.done()
    await b.logout()
    await a.cmd(b"DELETE bench-push", check=False)
    await a.logout()
    return {"rate": None}


@workload
async def imap_idle_connections(ctx):
    """Memory and CPU of the server for `conns` connections that sit in IDLE."""
    n, secs = ctx.p.int("conns", 1000), ctx.p.float("seconds", 10)
    base = ctx.t.procs.memory()
    conns, sem = [], asyncio.Semaphore(ctx.p.int("parallel", 8))

    async def one(i):
        async with sem:
            c = await imap(ctx, i % ctx.t.users)
            await c.cmd(b"SELECT INBOX")
            await c.idle(lambda line, t: None)
            conns.append(c)
    t = now()
    await asyncio.gather(*(one(i) for i in range(n)))
    opened = now() - t
    await asyncio.sleep(2)
    with ctx.measure() as m:
        await asyncio.sleep(secs)
        m.ops = n
    after = ctx.t.procs.memory()
    alive = sum(not c.transport.is_closing() for c in conns)
    for c in conns:
        c.close()
    await asyncio.sleep(1)
    out = {"rate": None, "open_per_s": round(n / opened, 1), "alive": alive, "memory_before": base, "memory_with": after}
    out["pss_mb_per_1000"] = round(sum(after[k]["pss_mb"] - base[k]["pss_mb"] for k in after) * 1000 / n, 1)
    out["cpu_percent_idle"] = round(100 * sum(m.cpu.values()) / m.wall, 2)
    return out


@workload
async def mixed(ctx):
    """imaptest-like mix: each client runs LIST, STATUS, SELECT, FETCH, body FETCH, STORE, APPEND, delete, EXPUNGE."""
    clients, secs = ctx.p.int("clients", 20), ctx.p.float("seconds", 30)
    users = min(ctx.t.users, ctx.p.int("users", 10))
    corpus = ctx.corpus("4k")
    box = b"bench-mixed"
    for u in range(users):
        c = await imap(ctx, u)
        await make_mailbox(c, box)
        for i in range(max(0, 100 - await status(c, box))):
            await c.append(box, corpus.make(i))
        await c.logout()
    lat, errors = {}, []
    ids = itertools.count(1000)

    async def client(k):
        rng = random.Random(k)
        c = None
        while now() < deadline:
            if c is None:
                t = now()
                c = await imap(ctx, k % users)
                lat.setdefault("LOGIN", []).append(now() - t)

            async def do(name, line, literal=None):
                t = now()
                r = await c.cmd(line, literal, check=False)
                lat.setdefault(name, []).append(now() - t)
                if r.status != b"OK":
                    errors.append((name, r.status, r.text[:80]))
                return r
            if rng.random() < 0.5:
                await do("LIST", b'LIST "" "*"')
            if rng.random() < 0.5:
                await do("STATUS", b"STATUS %s (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)" % box)
            n = max(1, (await do("SELECT", b"SELECT " + box)).exists() // 2)
            a = rng.randint(1, n)
            await do("FETCH", b"FETCH %d:%d (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE)" % (a, min(n, a + 20)))
            if rng.random() < 0.3:
                await do("BODY", b"FETCH %d BODY.PEEK[]" % rng.randint(1, n))
            if rng.random() < 0.5:
                await do("STORE", b"STORE %d %sFLAGS (\\Flagged)" % (rng.randint(1, n), rng.choice((b"+", b"-"))))
            await do("DELETE", b"STORE %d +FLAGS.SILENT (\\Deleted)" % rng.randint(1, n))
            await do("EXPUNGE", b"EXPUNGE")
            await do("APPEND", b"APPEND %s" % box, corpus.make(next(ids)))
            if rng.random() < 0.05:
                await do("LOGOUT", b"LOGOUT")
                c.transport.close()
                c = None
        if c:
            await c.logout()
    with ctx.measure() as m:
        deadline = now() + secs
        await asyncio.gather(*(client(k) for k in range(clients)))
        m.lat = [x for v in lat.values() for x in v]
        m.ops = len(m.lat)
    return {"errors": len(errors), "error_sample": repr(errors[:2]) if errors else "",
            "commands": {k: {"n": len(v), **ctx.percentiles(v)} for k, v in sorted(lat.items())}}


# --- POP3 --------------------------------------------------------------------

@workload
async def pop3_fill(ctx):
    """Bring INBOX of user `user` up to count messages; not a measurement."""
    ctx.p.d.setdefault("mailbox", "INBOX")
    ctx.p.d.setdefault("user", str(ctx.t.users - 1))
    return await populate(ctx)


@workload
async def pop3_retr(ctx):
    """RETR of 1000 messages, one connection, no pipelining; and STAT/UIDL/LIST latency."""
    count = ctx.p.int("count", 1000)
    user = ctx.t.user(ctx.p.int("user", ctx.t.users - 1))
    t = now()
    port, ssl, starttls = ctx.t.secure("pop3")
    c = await Pop3.connect(ctx.t.host, port, user, ctx.t.password, ssl=ssl, starttls=starttls)
    login = now() - t
    out = {"login_ms": round(login * 1e3, 1)}
    for verb, multi in ((b"STAT", False), (b"UIDL", True), (b"LIST", True)):
        t = now()
        r = await c.cmd(verb, multi)
        out[verb.decode().lower() + "_ms"] = round((now() - t) * 1e3, 2)
        if verb == b"STAT":
            out["messages"] = int(r.split()[1])
    size = 0

    async def retr(c, i):
        nonlocal size
        size += len(await c.cmd(b"RETR %d" % (i + 1), True))
    with ctx.measure() as m:
        m.lat = await closed_loop([c], min(count, out["messages"]), retr)
        m.ops = len(m.lat)
    c.transport.close()
    return {"mb_per_s": round(size / 1e6 / m.wall, 2), **out}
