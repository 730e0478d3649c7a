#!/usr/bin/env python3
"""The platform as a target for mailbench: a stack of its own with N accounts, and the target file that describes it.

    .venv/bin/python bench/stack.py start [DIRECTORY] [REPLICAS]     prints the target file's path
    .venv/bin/python bench/stack.py stop [DIRECTORY]

Production settings, but for what a load on one machine needs: passwords are taken in clear text, one client address may open
as many connections as it likes, and mail for other servers goes to mail hosts that the harness's own DNS server names.
Ports: MAILBENCH_PORT_OFFSET, by default 5000 (SMTP 5025, IMAP 5143, ...).
"""
import json
import os
import sys
import urllib.request
from pathlib import Path

from mailboat_local.layout import StackSettings
from mailboat_local.stack import Stack

USERS, PASSWORD, DOMAIN = 50, "bench-pass-word", "bench.example"
OFFSET = int(os.environ.get("MAILBENCH_PORT_OFFSET", "5000"))
SINK_PORT, DNS_PORT = OFFSET + 527, OFFSET + 553  # the harness serves both while it runs `outbound auth=yes`
SETTINGS = {"MB_AUTH_REQUIRE_TLS": "false", "MB_CONNECTIONS_PER_ADDRESS": "10000", "MB_SESSIONS_PER_ACCOUNT": "10000",
            "MB_DNS_SERVERS": "127.0.0.1:%d" % DNS_PORT, "MB_MX_NETWORKS": "127.0.0.0/8", "MB_MX_PORT": str(SINK_PORT)}


def call(stack, method, path, body):
    request = urllib.request.Request(stack.api_url + path, json.dumps(body).encode(), method=method, headers={
        "authorization": "Bearer " + stack.env["MB_API_TOKEN"], "content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise SystemExit("%s %s: %s %s" % (method, path, error.code, error.read(500)))


def start(directory, replicas):
    settings = StackSettings(port_offset=OFFSET, replicas=replicas, passed_on=SETTINGS)
    stack = Stack(directory, settings=settings)
    stack.up(wait_seconds=120)
    call(stack, "POST", "/v1/domains", {"name": DOMAIN})
    rows = [{"address": "user%d@%s" % (n, DOMAIN), "password": PASSWORD} for n in range(1, USERS + 1)]
    call(stack, "POST", "/v1/accounts:batch", {"accounts": rows})
    ports = {"smtp": ("smtp_ingress", "smtp"), "submission": ("smtp_ingress", "submission"), "submissions": ("smtp_ingress", "submissions"),
             "imap": ("imap_gateway", "imap"), "imaps": ("imap_gateway", "imaps"), "pop3": ("pop3_gateway", "pop3"), "pop3s": ("pop3_gateway", "pop3s")}
    lines = ['name = "mailboat"', 'host = "127.0.0.1"', 'password = "%s"' % PASSWORD, 'user = "user{n}@%s"' % DOMAIN, "users = %d" % USERS,
             'ca = "%s"' % stack.layout.ca, "sink_port = %d" % SINK_PORT, "dns_port = %d" % DNS_PORT]
    lines += ["%s_port = %d" % (name, stack.ports(service + "-1")[port]) for name, (service, port) in ports.items()]
    lines += ["[pids]"] + ['"%s" = "%s"' % (name, stack.layout.run / (name + ".pid")) for name in stack.names if not name.startswith("epmd")]
    target = stack.layout.root / "target.toml"
    target.write_text("\n".join(lines) + "\n")
    print(target)


if __name__ == "__main__":
    words = sys.argv[1:] or [""]
    where = Path(words[1] if len(words) > 1 else ".local-bench")
    if words[0] == "start":
        start(where, int(words[2]) if len(words) > 2 else 1)
    elif words[0] == "stop":
        Stack.to_end(where).down()
    else:
        raise SystemExit(__doc__)
