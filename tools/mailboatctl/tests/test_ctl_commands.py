"""Every command against an API that answers as docs/api.md says, over real HTTP."""

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from mailboatctl.main import main

TOKEN = "a-token-of-the-test"
PAGE = 2
NEW = {"quota_bytes": 0, "quota_messages": 0, "used_bytes": 0, "messages": 0, "disabled": False, "created_at": 0}
STEP = {"at": 1767323045678, "kind": "accepted", "account": None, "mailbox": "INBOX", "details": {"recipients": 2}}


WEBHOOK = {
    "id": "w1",
    "state": "active",
    "reason": "",
    "position": 7,
    "pending": 2,
    "lag_seconds": 3.7,
    "failures": 1,
    "failing_since": 0,
    "next_attempt_at": 0,
    "last_success_at": 1767323045678,
    "created_at": 1767323045678,
    "last_error": {"at": 1767323045678, "status": 503, "error": "status 503: the receiver refused it"},
}


class Api:
    """Domains, accounts and tokens in dictionaries."""

    def __init__(self) -> None:
        self.domains: dict[str, dict[str, Any]] = {}
        self.accounts: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.suppressions: dict[str, dict[str, Any]] = {}
        self.webhooks: dict[str, dict[str, Any]] = {}
        self.tested: dict[str, Any] = {"status": 204, "error": "", "seconds": 0.0615}
        self.audit: list[dict[str, Any]] = [{"summary": {"accounts": 2, "messages": 5, "findings": 0}}]
        self.batches: list[int] = []
        self.routes: list[tuple[str, str, Callable[..., tuple[int, Any]]]] = [
            ("GET", "/v1/domains", lambda body, query: self._page(self.domains, query)),
            ("POST", "/v1/domains", lambda body, query: self._add(self.domains, body["name"], body)),
            ("PATCH", "/v1/domains/(.+)", self._patch_domain),
            ("DELETE", "/v1/domains/(.+)", lambda body, query, name: self._remove(self.domains, name)),
            ("GET", "/v1/accounts", self._list_accounts),
            ("POST", "/v1/accounts", lambda body, query: self._add(self.accounts, body["address"], NEW | body)),
            ("POST", "/v1/accounts:batch", self._batch),
            ("GET", "/v1/accounts/(.+)", lambda body, query, name: self._show(self.accounts, name)),
            ("PATCH", "/v1/accounts/(.+)", self._patch),
            ("DELETE", "/v1/accounts/(.+)", lambda body, query, name: self._remove(self.accounts, name)),
            ("GET", "/v1/suppressions", lambda body, query: self._page(self.suppressions, query)),
            ("GET", "/v1/suppressions/(.+)", lambda body, query, name: self._show(self.suppressions, name)),
            ("PUT", "/v1/suppressions/(.+)", self._suppress),
            ("DELETE", "/v1/suppressions/(.+)", lambda body, query, name: self._remove(self.suppressions, name)),
            ("GET", "/v1/tokens", lambda body, query: self._page(self.tokens, query)),
            ("POST", "/v1/tokens", self._token),
            ("DELETE", "/v1/tokens/(.+)", lambda body, query, name: self._remove(self.tokens, name)),
            ("GET", "/v1/webhooks", lambda body, query: self._page(self.webhooks, query)),
            ("POST", "/v1/webhooks", self._webhook),
            ("GET", "/v1/webhooks/([^/]+)", lambda body, query, name: self._show(self.webhooks, name)),
            ("POST", "/v1/webhooks/([^/]+)/test", lambda body, query, name: (200, self.tested)),
            ("POST", "/v1/webhooks/([^/]+)/rotate-secret", self._rotate),
            ("POST", "/v1/webhooks/([^/]+)/([a-z]+)", self._steer),
            ("DELETE", "/v1/webhooks/([^/]+)", lambda body, query, name: self._remove(self.webhooks, name)),
            ("GET", "/v1/trace/(.+)", self._trace),
            ("POST", "/v1/audit", lambda body, query: (200, self.audit)),
        ]

    def handle(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        for verb, pattern, handler in self.routes:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                return handler(body, query, *(unquote(part) for part in found.groups()))
        return problem(404, "Not found")

    def _page(self, items: dict[str, dict[str, Any]], query: dict[str, list[str]]) -> tuple[int, Any]:
        first = int(query.get("cursor", ["0"])[0])
        page = list(items.values())[first : first + PAGE]
        return 200, {"items": page, "next": str(first + PAGE) if first + PAGE < len(items) else None}

    def _add(self, items: dict[str, dict[str, Any]], key: str, body: dict[str, Any]) -> tuple[int, Any]:
        if key in items:
            return problem(409, "Conflict", f"{key} exists already")
        items[key] = body
        return 201, {name: value for name, value in body.items() if name != "password"}

    def _show(self, items: dict[str, dict[str, Any]], key: str) -> tuple[int, Any]:
        return (200, items[key]) if key in items else problem(404, "Not found", f"There is no {key}")

    def _remove(self, items: dict[str, dict[str, Any]], key: str) -> tuple[int, Any]:
        return (204, None) if items.pop(key, None) is not None else problem(404, "Not found", f"There is no {key}")

    def _list_accounts(self, body: Any, query: dict[str, list[str]]) -> tuple[int, Any]:
        domain = query.get("domain", [""])[0]
        return self._page({key: value for key, value in self.accounts.items() if key.endswith(domain)}, query)

    def _patch(self, body: dict[str, Any], query: Any, key: str) -> tuple[int, Any]:
        if key not in self.accounts:
            return problem(404, "Not found", f"There is no {key}")
        self.accounts[key] |= body
        return 200, self.accounts[key]

    def _batch(self, body: dict[str, Any], query: Any) -> tuple[int, Any]:
        self.batches.append(len(body["accounts"]))
        results = []
        for account in body["accounts"]:
            known = self.accounts.get(account["address"])
            if account["address"].endswith("@nowhere.test"):
                results.append({"address": account["address"], "result": "error", "error": "no such domain"})
                continue
            status = "created" if known is None else "unchanged" if known == account else "updated"
            self.accounts[account["address"]] = account
            results.append({"address": account["address"], "result": status, "error": None})
        return 200, {"results": results}

    def _patch_domain(self, body: dict[str, Any], query: Any, name: str) -> tuple[int, Any]:
        if name not in self.domains:
            return problem(404, "No such domain")
        self.domains[name] |= body
        return 200, self.domains[name]

    def _suppress(self, body: dict[str, Any], query: Any, name: str) -> tuple[int, Any]:
        until = int(body["expires"]) if "expires" in body else None
        entry = {
            "address": name,
            "kind": body["kind"],
            "reason": body["note"],
            "at": 0,
            "expires_at": until,
            "reply": "",
        }
        self.suppressions[name] = entry
        return 200, entry

    def _token(self, body: dict[str, Any], query: Any) -> tuple[int, Any]:
        self.tokens["t1"] = {"id": "t1", "created_at": 0, **body}
        return 201, {"id": "t1", "token": "shown-once", **body}

    def _webhook(self, body: dict[str, Any], query: Any) -> tuple[int, Any]:
        self.webhooks["w1"] = {**WEBHOOK, **body}
        return 201, {**self.webhooks["w1"], "secret": "whsec_once"}

    def _rotate(self, body: dict[str, Any], query: Any, name: str) -> tuple[int, Any]:
        until = 1767323045678 if body["overlap_hours"] else 0
        return 200, {**self.webhooks[name], "secret": "whsec_new", "old_secrets_until": until}

    def _steer(self, body: Any, query: Any, name: str, verb: str) -> tuple[int, Any]:
        if name in self.webhooks:
            self.webhooks[name] |= body or {"state": {"pause": "paused", "resume": "active"}[verb]}
        return self._show(self.webhooks, name)

    def _trace(self, body: Any, query: Any, key: str) -> tuple[int, Any]:
        if key != "known":
            return problem(404, "Not found")
        return 200, {"trace_id": key, "events": [STEP]}


def problem(status: int, title: str, detail: str = "") -> tuple[int, Any]:
    return status, {"type": "about:blank", "title": title, "status": status} | ({"detail": detail} if detail else {})


class Handler(BaseHTTPRequestHandler):
    api: Api

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, value = problem(401, "Unauthorized")
        else:
            status, value = self.api.handle(self.command, self.path, body)
        lines = value if isinstance(value, list) else [value]
        data = b"" if value is None else "".join(json.dumps(line) + "\n" for line in lines).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    made = Api()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"api": made}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MB_API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MB_API_TOKEN", TOKEN)
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mailboatctl", *arguments])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), shown.out, shown.err

    return call


def test_webhooks(api: Api, run: Run) -> None:
    url = "https://crm.example.test/"
    status, text, note = run("webhook", "create", url, "--type", "message.received", "--domain", "a.test")
    assert (status, text) == (0, "whsec_once\n")
    assert "w1" in note
    assert (api.webhooks["w1"]["types"], api.webhooks["w1"]["domains"]) == (["message.received"], ["a.test"])
    shown = run("webhook", "list")[1]
    for part in ("w1", url, "active", "4 s", "2026-01-02 03:04:05.678Z status 503: the receiver refused it"):
        assert part in shown
    assert "paused" in run("webhook", "pause", "w1")[1]
    assert json.loads(run("webhook", "resume", "w1", "--json")[1])["state"] == "active"
    assert "2026-01-02 03:04:05.678Z" in run("webhook", "show", "w1")[1]
    assert json.loads(run("webhook", "replay", "w1", "--position", "3", "--json")[1])["position"] == 3
    assert json.loads(run("webhook", "replay", "w1", "--since", "2026-01-01", "--json")[1])["since"] == "2026-01-01"
    assert run("webhook", "test", "w1") == (0, "Taken with status 204 after 0.061 s.\n", "")
    api.tested = {"status": 0, "error": "no answer within 15 s", "seconds": 15.0}
    status, text, note = run("webhook", "test", "w1")
    assert (status, text) == (1, "")
    assert "no answer within 15 s" in note
    status, text, note = run("webhook", "rotate-secret", "w1")
    assert (status, text, "until 2026-01-02 03:04:05.678Z" in note) == (0, "whsec_new\n", True)
    assert "signs no more" in run("webhook", "rotate-secret", "w1", "--overlap-hours", "0")[2]
    assert run("webhook", "rotate-secret", "w1", "--overlap-hours", "721")[0] == 2
    assert run("webhook", "rm", "w1") == (0, "w1 removed.\n", "")
    assert run("webhook", "show", "w1")[0] == 1


def test_domains(api: Api, run: Run) -> None:
    for name in ("a.test", "b.test", "c.test"):
        assert run("domain", "add", name) == (0, f"{name} added.\n", "")
    status, text, _ = run("domain", "list", "--json")
    assert (status, json.loads(text)) == (0, [{"name": "a.test"}, {"name": "b.test"}, {"name": "c.test"}])
    shown = run("domain", "list")[1].split()
    assert shown == ["domain", "pop3", "retention", "a.test", "never", "b.test", "never", "c.test", "never"]
    assert run("domain", "rm", "b.test")[0] == 0
    assert list(api.domains) == ["a.test", "c.test"]


def test_pop3_retention(api: Api, run: Run) -> None:
    run("domain", "add", "a.test")
    run("account", "add", "x@a.test", "--password-stdin", stdin="s3cret\n")
    for text, given in (("30", 30), ("0", 0), ("never", None)):
        assert run("domain", "pop3-retention", "a.test", text) == (0, f"a.test has a POP3 retention of {text}.\n", "")
        assert api.domains["a.test"]["pop3_retention_days"] == given
    for text, given in (("7", 7), ("never", "never"), ("domain", None)):
        assert run("account", "pop3-retention", "x@a.test", text)[0] == 0
        assert api.accounts["x@a.test"]["pop3_retention_days"] == given
    assert json.loads(run("domain", "pop3-retention", "a.test", "0", "--json")[1])["pop3_retention_days"] == 0
    assert "at QUIT" in run("domain", "list")[1]
    for command, name in (("domain", "a.test"), ("account", "x@a.test")):
        for text in ("x", "3651", "1.5", "\u0661"):
            assert run(command, "pop3-retention", name, text)[0] == 2
    assert run("domain", "pop3-retention", "a.test", "domain")[0] == 2
    assert run("domain", "pop3-retention", "b.test", "1")[0] == 1


def test_aliases_groups_and_forwarding(api: Api, run: Run) -> None:
    calls: list[tuple[str, Any]] = []
    group = {"address": "g@a.test", "members": ["x@a.test", "y@b.test"], "who": "anyone", "owner": None}

    def answering(name: str, value: Any) -> Callable[..., tuple[int, Any]]:
        def answer(body: Any, query: Any, *parts: str) -> tuple[int, Any]:
            calls.append((name, body if body is not None else [*parts, *query]))
            return 200, value

        return answer

    alias = {"address": "s@a.test", "account": "x@a.test", "created_at": 0}
    forwarding = {"to": ["y@b.test"], "keep": False}
    api.routes[:0] = [
        ("POST", "/v1/aliases", answering("alias", alias)),
        ("GET", "/v1/aliases", answering("aliases", {"items": [alias], "next": None})),
        ("DELETE", "/v1/aliases/(.+)", answering("unalias", None)),
        ("POST", "/v1/groups", answering("group", group)),
        ("GET", "/v1/groups", answering("groups", {"items": [group], "next": None})),
        ("POST", "/v1/groups/(.+)/members", answering("join", group)),
        ("DELETE", "/v1/groups/(.+)/members/(.+)", answering("leave", group)),
        ("GET", "/v1/groups/(.+)", answering("show", group | {"created_at": 0})),
        ("PATCH", "/v1/groups/(.+)", answering("change", group)),
        ("DELETE", "/v1/groups/(.+)", answering("ungroup", None)),
        ("GET", "/v1/accounts/(.+)/forwarding", answering("forwarding", {"to": [], "keep": True})),
        ("PUT", "/v1/accounts/(.+)/forwarding", answering("forward", forwarding)),
        ("GET", "/v1/domains/(.+)/catch-all", answering("catch", {"address": None})),
        ("PUT", "/v1/domains/(.+)/catch-all", answering("catch-all", {"address": "x@a.test"})),
    ]
    assert run("alias", "add", "s@a.test", "x@a.test") == (0, "s@a.test leads to x@a.test.\n", "")
    assert "s@a.test" in run("alias", "list", "--domain", "a.test", "--account", "x@a.test")[1]
    assert run("alias", "rm", "s@a.test")[1] == "s@a.test removed.\n"
    assert run("group", "add", "g@a.test", "x@a.test", "y@b.test")[1] == "g@a.test added, with 2 members.\n"
    assert "g@a.test" in run("group", "list")[1]
    assert "x@a.test y@b.test" in run("group", "show", "g@a.test")[1]
    assert run("group", "change", "g@a.test", "--who", "members", "--owner", "none")[0] == 0
    assert run("group", "change", "g@a.test")[0] == 2
    assert run("group", "join", "g@a.test", "z@b.test")[0] == 0
    assert run("group", "leave", "g@a.test", "z@b.test")[0] == 0
    assert run("group", "rm", "g@a.test")[1] == "g@a.test removed.\n"
    assert run("account", "forward", "x@a.test")[1] == "x@a.test isn't forwarded.\n"
    done = run("account", "forward", "x@a.test", "y@b.test", "--no-keep")[1]
    assert done == "x@a.test goes to y@b.test; no copy stays.\n"
    assert run("account", "forward", "x@a.test", "none", "y@b.test")[0] == 2
    assert run("domain", "catch-all", "a.test")[1] == "What nobody in a.test has is refused.\n"
    assert run("domain", "catch-all", "a.test", "x@a.test")[1] == "x@a.test gets what nobody in a.test has.\n"
    assert run("domain", "catch-all", "a.test", "none")[0] == 0
    assert calls == [
        ("alias", {"address": "s@a.test", "account": "x@a.test"}),
        ("aliases", ["domain", "account"]),
        ("unalias", ["s@a.test"]),
        ("group", {"address": "g@a.test", "members": ["x@a.test", "y@b.test"], "who": "anyone", "owner": None}),
        ("groups", []),
        ("show", ["g@a.test"]),
        ("change", {"who": "members", "owner": None}),
        ("join", {"members": ["z@b.test"]}),
        ("leave", ["g@a.test", "z@b.test"]),
        ("ungroup", ["g@a.test"]),
        ("forwarding", ["x@a.test"]),
        ("forward", {"to": ["y@b.test"], "keep": False}),
        ("catch", ["a.test"]),
        ("catch-all", {"address": "x@a.test"}),
        ("catch-all", {"address": None}),
    ]


def test_a_refusal_is_told_with_status_1(api: Api, run: Run) -> None:
    run("domain", "add", "a.test")
    assert run("domain", "add", "a.test") == (1, "", "mailboatctl: a.test exists already.\n")
    assert run("domain", "rm", "b.test")[0] == 1


def test_accounts(api: Api, run: Run) -> None:
    status, text, _ = run("account", "add", "a@x.test", "--password-stdin", "--quota", "5G", stdin="s3cret\nrest\n")
    assert (status, text) == (0, "a@x.test added.\n")
    assert api.accounts["a@x.test"] == NEW | {"address": "a@x.test", "quota_bytes": 5 << 30, "password": "s3cret"}
    assert run("account", "passwd", "a@x.test", "--password-stdin", stdin="new\n")[0] == 0
    assert api.accounts["a@x.test"]["password"] == "new"
    assert run("account", "disable", "a@x.test")[1] == "a@x.test disabled.\n"
    assert json.loads(run("account", "show", "a@x.test", "--json")[1])["disabled"] is True
    assert run("account", "enable", "a@x.test")[0] == 0
    assert run("account", "quota", "a@x.test", "none", "--messages", "5000")[0] == 0
    assert api.accounts["a@x.test"]["quota_messages"] == 5000
    assert run("account", "quota", "a@x.test", "1G", "--messages", "none")[0] == 0
    assert api.accounts["a@x.test"]["quota_messages"] == 0
    assert (
        run("account", "mask", "a@x.test", "CONDSTORE", "IDLE")[1]
        == "a@x.test isn't told of CONDSTORE IDLE any more.\n"
    )
    assert api.accounts["a@x.test"]["imap_masked_capabilities"] == ["CONDSTORE", "IDLE"]
    assert run("account", "mask", "a@x.test", "none")[0] == 0
    assert api.accounts["a@x.test"]["imap_masked_capabilities"] == []
    assert run("account", "quota", "a@x.test", "none")[0] == 0
    assert (api.accounts["a@x.test"]["disabled"], api.accounts["a@x.test"]["quota_bytes"]) == (False, 0)
    assert "a@x.test" in run("account", "list", "--domain", "x.test")[1]
    assert json.loads(run("account", "list", "--domain", "y.test", "--json")[1]) == []
    assert run("account", "rm", "a@x.test", "--yes")[0] == 0
    assert api.accounts == {}


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["account", "add", "a@x.test"], "secret\n"),
        (["account", "add", "a@x.test", "--password-stdin"], "\n"),
        (["account", "add", "a@x.test", "--password-stdin", "--quota", "much"], "secret\n"),
        (["account", "add", "a@x.test", "--password-stdin", "--messages", "-1"], "secret\n"),
        (["account", "quota", "a@x.test", "5G", "--messages", "many"], ""),
        (["account", "add", "a@x.test", "--password", "secret"], ""),
        (["account", "import", "/nowhere.csv"], ""),
        (["account", "import", "-"], "nobody,p\n"),
        (["no-such-command"], ""),
    ],
)
def test_wrong_use_has_status_2_and_sends_nothing(api: Api, run: Run, arguments: list[str], stdin: str) -> None:
    status, _, text = run(*arguments, stdin=stdin)
    assert status == 2
    assert text
    assert api.accounts == {}


def test_import_is_idempotent_and_sent_in_batches(api: Api, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    lines = [f"u{n}@x.test,pw{n},1G" for n in range(250)]
    file.write_text("address,password,quota\n" + "\n".join(lines) + "\n")
    assert run("account", "import", str(file))[:2] == (0, "250 accounts: 250 created\n")
    assert api.batches == [100, 100, 50]
    assert run("account", "import", str(file))[:2] == (0, "250 accounts: 250 unchanged\n")
    file.write_text("\ufeff" + "\n".join([*lines[:-1], "u249@x.test,other,1G", "v@x.test,$argon2id$abc"]))
    _, text, _ = run("account", "import", str(file), "--json")
    assert json.loads(text) == {"counts": {"unchanged": 249, "updated": 1, "created": 1}, "errors": []}
    assert api.accounts["v@x.test"] == {"address": "v@x.test", "password_hash": "$argon2id$abc"}


def test_refused_rows_are_named_by_line(api: Api, run: Run) -> None:
    status, text, _ = run("account", "import", "-", stdin="a@x.test,p\nb@nowhere.test,p\n")
    assert status == 1
    assert text.splitlines() == ["2 accounts: 1 created, 1 error", "  line 2: b@nowhere.test: no such domain"]


def test_suppressions(api: Api, run: Run) -> None:
    status, text, _ = run("suppression", "add", "bob@far.test", "--note", "asked", "--days", "2")
    assert status == 0
    assert text.startswith("bob@far.test is suppressed until 2")
    assert api.suppressions["bob@far.test"]["expires_at"] > 2 * 24 * 3600 * 1000
    assert "is allowed until removed." in run("suppression", "allow", "eve@far.test")[1]
    listed = run("suppression", "list")[1]
    assert "asked" in listed
    assert "eve@far.test" in listed
    assert [item["kind"] for item in json.loads(run("suppression", "list", "--json")[1])] == ["suppressed", "allowed"]
    assert "removed" in run("suppression", "show", "eve@far.test")[1]
    assert json.loads(run("suppression", "rm", "bob@far.test", "--json")[1]) == {
        "address": "bob@far.test",
        "removed": True,
    }
    assert run("suppression", "show", "bob@far.test")[0] == 1


def test_tokens(api: Api, run: Run) -> None:
    status, text, error = run("token", "create", "crm", "--scope", "submit", "--scope", "domain:x.test")
    assert (status, text) == (0, "shown-once\n")
    assert "t1" in error
    assert api.tokens["t1"]["scopes"] == ["submit", "domain:x.test"]
    assert "account" not in api.tokens["t1"]
    assert "crm" in run("token", "list")[1]
    assert run("token", "create", "own", "--scope", "self", "--account", "alice@x.test")[0] == 0
    assert api.tokens["t1"]["account"] == "alice@x.test"
    assert "alice@x.test" in run("token", "list")[1]
    assert json.loads(run("token", "revoke", "t1", "--json")[1]) == {"id": "t1", "revoked": True}


def test_trace(api: Api, run: Run) -> None:
    status, text, _ = run("trace", "known")
    assert status == 0
    assert [line.split(maxsplit=4) for line in text.splitlines()] == [
        ["time", "+s", "service", "what"],
        ["2026-01-02", "03:04:05.678Z", "+0.000", "storage_api", "accepted for 2 recipients, to be filed one by one"],
    ]
    assert json.loads(run("trace", "known", "--json")[1]) == {"trace_id": "known", "events": [STEP]}
    assert run("trace", "other")[0] == 1


def test_audit_that_finds_nothing(api: Api, run: Run) -> None:
    assert run("audit")[:2] == (0, "Checked: 2 accounts, 5 messages.\n0 findings.\n")


def test_audit_with_findings(api: Api, run: Run) -> None:
    api.audit.insert(0, {"finding": "missing-body", "account": "a1", "body": "[b1]"})
    status, text, _ = run("audit")
    assert status == 1
    assert text.splitlines()[0] == "missing-body: account=a1 body=[b1]"
    status, text, _ = run("audit", "--json")
    assert (status, [json.loads(line) for line in text.splitlines()]) == (1, api.audit)


def test_an_audit_that_is_cut_short_is_no_success(api: Api, run: Run) -> None:
    api.audit = [{"finding": "missing-body"}]
    status, _, error = run("audit")
    assert status == 3
    assert "without a summary" in error


def test_nothing_listens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MB_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MB_API_TOKEN", TOKEN)
    status, text, error = run("domain", "list", "--json")
    assert (status, text) == (3, "")
    assert "127.0.0.1:1 is not reachable" in error


def test_a_wrong_token(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MB_API_TOKEN", "wrong")
    status, _, error = run("domain", "list")
    assert status == 1
    assert "MB_API_TOKEN" in error
    assert "wrong" not in error


def test_no_settings(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MB_API_URL", raising=False)
    monkeypatch.delenv("MB_API_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    status, _, error = run("domain", "list")
    assert status == 2
    assert "MB_API_URL" in error
