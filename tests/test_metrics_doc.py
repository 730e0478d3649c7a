"""The table of metrics in docs/operations.md: what it lists is there, what is there is listed, with type and labels."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator

from mailboat_common.metrics import PREFIX, REGISTRY

from tests.support.documents import ROOT, quoted, table

DOCUMENT = "docs/operations.md"
PACKAGES = (
    *("mailboat_common", "mailboat_store_client"),
    *("smtp_ingress.main", "imap_gateway.main", "pop3_gateway.main", "storage_api.main", "delivery_worker.main"),
)
KINDS = ("counter", "gauge", "histogram")
Declared = dict[str, tuple[str, tuple[str, ...]]]


def documented() -> Declared:
    """Name → (type, labels) as the table says."""
    found: Declared = {}
    for name, kind, labels, meaning in table(DOCUMENT, "metric"):
        assert meaning, name
        (plain,) = quoted(name)
        assert plain not in found, f"{plain} is listed twice"
        found[plain] = kind, tuple(quoted(labels))
    return found


def declared() -> Declared:
    """Name → (type, labels) as the sources say: each call of metrics.counter, gauge or histogram."""
    found: Declared = {}
    for part in ("services", "libs"):
        for path in sorted((ROOT / part).glob("*/src/**/*.py")):
            for call in _calls(ast.parse(path.read_text("utf-8"))):
                assert isinstance(call.args[0], ast.Constant), f"{path}: a metric without a plain name"
                keywords = {keyword.arg: keyword.value for keyword in call.keywords}
                labels = call.args[2] if len(call.args) > 2 else keywords.get("labels")
                names = () if labels is None else tuple(ast.literal_eval(labels))
                found[PREFIX + str(call.args[0].value)] = _word(call), names
    return found


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _word(node) in KINDS and node.args:
            yield node


def _word(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def registered() -> set[str]:
    """The names in the registry once every module of libraries and services is imported."""
    for name in PACKAGES:
        importlib.import_module(name)
        package = importlib.import_module(name.partition(".")[0])
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return {family.name + ("_total" if family.type == "counter" else "") for family in REGISTRY.collect()}


def test_the_table_is_what_the_sources_declare() -> None:
    assert documented() == declared()


def test_every_metric_listed_is_registered() -> None:
    assert documented().keys() - registered() == set()


def test_no_label_can_hold_a_person_or_an_address() -> None:
    """A label with a value per user, domain or address would make the number of time series unbounded."""
    forbidden = {"account", "address", "client", "domain", "host", "ip", "login", "mailbox", "message", "user"}
    assert {name: labels for name, (_, labels) in documented().items() if forbidden & set(labels)} == {}
