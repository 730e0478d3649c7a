"""python -m mailbench [options] WORKLOAD [name=value ...]; one JSON line per run."""
import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import resource
import statistics
import sys
import time

from . import imap, limits, procs, report
from .corpus import Corpus
from .target import Target
from .workloads import WORKLOADS

try:
    import uvloop
except ImportError:
    uvloop = None


PORTS = ("smtp", "lmtp", "imap", "pop3", "submission", "sink", "imaps", "pop3s", "submissions")


class Params:
    def __init__(self, d):
        self.d = dict(d)
        self.used = {}

    def str(self, k, default):
        self.used[k] = self.d.get(k, default)
        return self.used[k]

    def int(self, k, default):
        return int(self.str(k, default))

    def float(self, k, default):
        return float(self.str(k, default))

    def bool(self, k, default):
        return str(self.str(k, default)).lower() in ("1", "true", "yes")

    def bytes(self, k, default):
        return self.str(k, default).encode()


class Measure:
    def __init__(self):
        self.ops, self.lat, self.wall, self.cpu = 0, [], None, {}


class Ctx:
    def __init__(self, target, params, seed, nonce):
        self.t, self.p, self.seed, self.nonce = target, params, seed, nonce
        self.measures = []
        self._corpora = {}

    def corpus(self, size):
        if size not in self._corpora:
            self._corpora[size] = Corpus(size, self.seed, self.nonce)
        return self._corpora[size]

    @staticmethod
    def percentiles(lat):
        if not lat:
            return {}
        s = sorted(lat)
        at = lambda q: round(s[min(len(s) - 1, int(q * len(s)))] * 1e3, 3)
        return {"p50_ms": at(.5), "p90_ms": at(.9), "p99_ms": at(.99), "max_ms": at(1)}

    @contextlib.contextmanager
    def measure(self):
        m = Measure()
        cpu0, all0 = self.t.procs.cpu(), procs.machine()
        own0, t0 = time.process_time(), time.perf_counter()
        yield m
        full = time.perf_counter() - t0
        own = time.process_time() - own0
        cpu1, all1 = self.t.procs.cpu(), procs.machine()
        m.wall, m.full = m.wall or full, full
        m.cpu = {k: max(0.0, cpu1[k] - cpu0.get(k, 0)) for k in cpu1}
        m.own = own
        # what neither the server nor this client used, in cores: other work, and kernel threads (disk)
        m.noise = max(0.0, (all1[0] - all0[0]) - sum(m.cpu.values()) - own) / full if m.cpu else None
        m.steal = (all1[1] - all0[1]) / full
        self.measures.append(m)


def result(name, args, ctx, run, extra):
    m = ctx.measures[-1]
    out = {"workload": name, "target": ctx.t.name, "run": run, "params": ctx.p.used, "ops": m.ops,
           "wall_s": round(m.wall, 4), "full_s": round(m.full, 4), "rate": round(m.ops / m.wall, 2) if m.wall else None}
    if len(m.lat) > 1:
        out.update(ctx.percentiles(m.lat))
    cpu = sum(m.cpu.values())
    if m.cpu:
        out["cpu_s"] = {k: round(v, 3) for k, v in m.cpu.items()}
        out["cpu_s_per_1000"] = round(cpu / m.ops * 1000, 4) if m.ops else None
    out.update(client_cpu_s=round(m.own, 3), noise_cores=m.noise and round(m.noise, 2), steal=round(m.steal, 3))
    out.update(extra or {})
    if args.quickack:
        out["quickack"] = True
    if args.label:
        out["label"] = args.label
    out["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return out


class Lock:
    """Lock file shared with other measurements; kept over short runs until `hold` seconds have passed."""

    def __init__(self, path, hold):
        self.path, self.hold, self.f, self.since = path, hold, None, 0

    def __enter__(self):
        if self.path and not self.f:
            self.f = open(self.path, "a")
            fcntl.flock(self.f, fcntl.LOCK_EX)
            self.since = time.monotonic()

    def __exit__(self, *exc):
        if self.f and (exc[0] or time.monotonic() - self.since > self.hold):
            self.f.close()
            self.f = None
            time.sleep(0.2)


def run(name, fn, args, params, target):
    lines = []
    for n in range(1, args.runs + 1):
        ctx = Ctx(target, Params(params), args.seed, args.nonce if args.nonce is not None else int(time.time() * 1000))
        with args.locker:
            try:
                extra = asyncio.run(asyncio.wait_for(fn(ctx), args.timeout))
                out = result(name, args, ctx, n, extra)
            except (Exception, SystemExit) as e:
                out = {"workload": name, "target": target.name, "run": n, "params": ctx.p.used,
                       "error": "%s: %s" % (type(e).__name__, str(e)[:300]), "label": args.label}
        line = json.dumps(out, ensure_ascii=False)
        print(line, flush=True)
        if args.out:
            with open(args.out, "a") as f:
                f.write(line + "\n")
        lines.append(out)
        time.sleep(args.pause)
    good = [l["rate"] for l in lines if l.get("rate")]
    if len(good) > 1:
        print("# %s %s: median rate %.1f (min %.1f, max %.1f) over %d runs" % (
            target.name, name, statistics.median(good), min(good), max(good), len(good)), file=sys.stderr)
    return all("error" not in l for l in lines)


def main():
    ap = argparse.ArgumentParser(prog="mailbench", description=__doc__,
                                 epilog="workloads: %s; also: suite FILE, report FILE..., limits, ceiling, list" % ", ".join(WORKLOADS))
    ap.add_argument("--target", help="TOML file, see target.py")
    ap.add_argument("--host")
    ap.add_argument("--user", help="name or pattern with {n}")
    ap.add_argument("--password")
    ap.add_argument("--users", type=int)
    ap.add_argument("--tls", choices=("no", "starttls", "implicit"), help="how the connections are secured")
    ap.add_argument("--ca", help="trust this certificate authority; without it the certificate isn't checked")
    for k in PORTS:
        ap.add_argument("--%s-port" % k, type=int)
    ap.add_argument("--name")
    ap.add_argument("--runs", type=int, default=1)
    ap.add_argument("--pause", type=float, default=0.5, help="seconds between runs")
    ap.add_argument("--timeout", type=float, default=300, help="seconds a run may take")
    ap.add_argument("--lock", help="hold this lock file during each run")
    ap.add_argument("--hold", type=float, default=0, help="keep the lock between runs for up to this many seconds")
    ap.add_argument("--out", help="append the JSON lines to this file too")
    ap.add_argument("--quickack", action="store_true",
                    help="acknowledge each segment at once: takes the server's Nagle delays (40 ms) out of the figures")
    ap.add_argument("--label", help="kept in each line")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--nonce", type=int, help="stamped into the mail; default: the time")
    ap.add_argument("workload")
    ap.add_argument("params", nargs="*")
    args = ap.parse_intermixed_args()
    args.locker = Lock(args.lock, args.hold)
    imap.QUICKACK = args.quickack
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    if uvloop and not os.environ.get("MAILBENCH_NO_UVLOOP"):
        uvloop.install()
    if args.workload == "list":
        for k, f in WORKLOADS.items():
            print("%-22s %s" % (k, (f.__doc__ or "").split("\n")[0]))
        return 0
    if args.workload == "report":
        return report.main(args.params)
    if args.workload == "limits":
        return limits.main(args, dict(x.split("=", 1) for x in args.params))
    if args.workload == "ceiling":
        from . import nullserver
        return nullserver.ceiling(args, run)
    target = Target(args.target, host=args.host, user=args.user, password=args.password, users=args.users, name=args.name, tls=args.tls, ca=args.ca,
                    **{k + "_port": getattr(args, k + "_port") for k in PORTS})
    if args.workload == "suite":
        ok = True
        with open(args.params[0]) as f:
            for line in f:
                words = line.split("#")[0].split()
                if words:
                    runs, name, *params = words
                    args.runs = int(runs)
                    ok &= run(name, WORKLOADS[name], args, dict(x.split("=", 1) for x in params), target)
        return 0 if ok else 1
    return 0 if run(args.workload, WORKLOADS[args.workload], args, dict(x.split("=", 1) for x in args.params), target) else 1


if __name__ == "__main__":
    sys.exit(main())
