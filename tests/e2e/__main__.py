"""The chart on a real cluster: install, test, upgrade and delete pods while mail flows, judge, uninstall, install again.

    make e2e-cluster                                     # kubectl's current context
    make e2e-cluster ARGS="--context kind-mail --set image.repository=registry.example/mail"

The cluster must be able to get the images (make images PUSH=1, or load archives into its nodes). Everything happens in
a namespace made for it, which is removed in the end unless --keep is given or a step failed. Needs 2 CPU and 4 GiB free
and a default StorageClass. Exit status 0: every step passed.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e import steps
from tests.e2e.cluster import Cluster, Failed
from tests.e2e.load import LoadPod

DELETED = (
    *("smtp-ingress", "imap-gateway", "pop3-gateway", "storage-api", "storage-worker", "delivery-worker"),
    *("rabbitmq", "mongodb"),
)


class Report:
    """What each step did, told as it happens and kept as JSON."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Runs one step. Raises Failed after it has been written down."""
        print(f"== {name}", flush=True)
        began, at = time.monotonic(), time.time()
        row: dict[str, Any] = {"step": name, "ok": False, "at": round(at, 1)}
        self.rows.append(row)
        try:
            facts = work()
        except Failed as error:
            row |= {"seconds": round(time.monotonic() - began, 1), "error": str(error)}
            print(f"   FAILED after {row['seconds']} s: {error}", flush=True)
            raise
        row |= {"ok": True, "seconds": round(time.monotonic() - began, 1), "facts": facts}
        print(f"   ok, {row['seconds']} s: {json.dumps(facts)}", flush=True)
        return facts

    def during(self, moment: float) -> str:
        """Which step was running then."""
        names = [row["step"] for row in self.rows if row["at"] <= moment]
        return str(names[-1]) if names else "before"


def everything(cluster: Cluster, report: Report, seed: int, keep: bool) -> None:
    """All steps in order; Failed at the first that fails."""

    def step(name: str, work: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
        return report.step(name, functools.partial(work, cluster, *arguments))

    running = LoadPod(cluster, seed)
    step("namespace", steps.namespace)
    step("strict validation by the server", steps.validate)
    step("install", steps.install)
    step("helm test", steps.helm_test)
    step("smoke over port-forward", steps.smoke_from_outside)
    step("start the load", steps.load, running)
    step("upgrade under load", steps.upgrade, running)
    step("upgrade without a change", steps.upgrade_without_change)
    for component in DELETED:
        step(f"delete {component} under load", steps.delete_pod, running, component)
    facts = step("verdict", steps.verdict, running)
    for silence in facts["silences"]:
        print(f"   no mail for {silence['seconds']} s during: {report.during(silence['at'])}")
    step("helm test again", steps.helm_test)
    messages = steps.mail_is_there(cluster)
    step("uninstall", steps.uninstall)
    step("install again on the same volumes", steps.reinstall, messages)
    step("helm test after that", steps.helm_test)
    step("uninstall again", steps.uninstall)
    if not keep:
        step("remove the namespace", steps.remove)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make e2e-cluster", description=__doc__.partition("\n")[0])
    parser.add_argument("--context", default=os.environ.get("KUBE_CONTEXT"), help="kubectl's context; the current one")
    parser.add_argument("--namespace", default=f"mailboat-e2e-{random.randrange(16**4):04x}", help="it must not exist")
    parser.add_argument("--release", default="mb", help="the release's name")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for helm; may be repeated")
    parser.add_argument("--values", action="append", default=[], metavar="FILE", help="for helm; may be repeated")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the load's choices")
    parser.add_argument("--report", type=Path, help="a file for the report as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the namespace with its volumes")
    options = parser.parse_args()
    given = [word for value in options.set for word in ("--set", value)]
    given += [word for file in options.values for word in ("--values", file)]
    cluster = Cluster(options.namespace, options.release, options.context, helm_arguments=tuple(given))
    report = Report()
    began = datetime.datetime.now(datetime.UTC)
    print(
        f"release {options.release} in namespace {options.namespace}, seed {options.seed}, {began:%Y-%m-%d %H:%M} UTC"
    )
    try:
        everything(cluster, report, options.seed, options.keep)
        status = 0
    except Failed:
        status = 1
        print(f"The namespace {options.namespace} stays for a look at it; kubectl delete namespace removes everything.")
    if options.report:
        options.report.write_text(json.dumps(report.rows, indent=2) + "\n")
    passed = sum(row["ok"] for row in report.rows)
    print(f"{passed} steps passed, {len(report.rows) - passed} failed")
    return status


if __name__ == "__main__":
    sys.exit(main())
