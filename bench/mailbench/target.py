"""A target is the server under load, described in a small TOML file:

    name = "example"
    host = "127.0.0.1"
    password = "secret"
    user = "user{n}@bench.example"    # n = 1 .. users; also the SMTP recipient
    users = 20
    smtp_port = 2525                  # leave out what the server lacks
    lmtp_port = 2424
    imap_port = 1143
    pop3_port = 1110
    tls = "no"                        # or "starttls", or "implicit" (then the next three ports are used)
    imaps_port = 1993
    pop3s_port = 1995
    submissions_port = 2465           # also for smtp with auth=yes
    ca = "/tmp/example/ca.pem"        # trust this; left out: the certificate isn't checked
    submission_port = 2526            # outbound: accepts mail, relays it to sink_port
    sink_port = 2527
    dns_port = 2553                   # outbound: it asks this DNS server, and finds mail hosts on port sink_port there
    [pids]                            # label = root pid, or a file that holds it
    server = "/tmp/example/pid"
    [cgroups]                         # or: label = cgroup v2 directory
"""
import ssl
import tomllib

from .procs import Procs


class Target:
    def __init__(self, path=None, **over):
        d = {}
        if path:
            with open(path, "rb") as f:
                d = tomllib.load(f)
        d.update({k: v for k, v in over.items() if v is not None})
        self.d = d
        self.name = d.get("name", "target")
        self.host = d.get("host", "127.0.0.1")
        self.password = d.get("password", "")
        self.users = d.get("users", 1)
        self.tls = d.get("tls", "no")
        if self.tls not in ("no", "starttls", "implicit"):
            raise SystemExit("tls is no, starttls or implicit, not %r" % self.tls)
        self._ssl = None
        roots = {}
        for label, v in d.get("pids", {}).items():
            vs = v if isinstance(v, list) else [v]
            pids = []
            for x in vs:
                if not isinstance(x, int):
                    with open(x) as f:
                        x = int(f.read().split()[0])
                pids.append(x)
            roots[label] = pids
        self.procs = Procs(roots, d.get("cgroups"))

    def user(self, n):
        return self.d.get("user", "user{n}").format(n=n % self.users + 1)

    def port(self, kind):
        try:
            return self.d[kind + "_port"]
        except KeyError:
            raise SystemExit("target %s has no %s_port" % (self.name, kind))

    def secure(self, kind):
        """(port, TLS context or None for a connection that starts with TLS, context or None for STARTTLS)."""
        if self.tls == "implicit":
            return self.port({"smtp": "submissions", "submission": "submissions"}.get(kind, kind + "s")), self.context(), None
        return self.port(kind), None, self.context() if self.tls == "starttls" else None

    def context(self):
        if self._ssl is None:
            self._ssl = ssl.create_default_context(cafile=self.d.get("ca"))
            if "ca" not in self.d:
                self._ssl.check_hostname, self._ssl.verify_mode = False, ssl.CERT_NONE
        return self._ssl
