"""NOTES.txt: the commands to paste name what is there."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support.chart import CHART, helm, render


def notes(release: str, namespace: str, *arguments: str) -> str:
    """What helm shows after an installation, without one."""
    done = helm(
        *("install", release, str(CHART), "--namespace", namespace, "--dry-run=client", "--hide-secret", *arguments)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize(
    ("release", "namespace"), [("mb", "mail"), ("a-release-name-of-fifty-three-characters-which-helm-a", "mail")]
)
def test_what_the_commands_name_is_there(release: str, namespace: str) -> None:
    text = notes(release, namespace)
    manifest = render(release=release, namespace=namespace)
    forwards = re.findall(r"port-forward svc/(\S+) (.*)", text)
    assert len(forwards) == 5
    for service, pairs in forwards:
        ports = {port["port"] for port in manifest.named("Service", service)["spec"]["ports"]}
        assert {int(pair.partition(":")[2]) for pair in pairs.split()} <= ports
    local = {pair.partition(":")[0] for _, pairs in forwards for pair in pairs.split()}
    used = set(re.findall(r"localhost[: ](\d+)", text))
    assert used
    assert used <= local
    for name in re.findall(r"deploy(?:ment)?/(\S+)", text):
        manifest.named("Deployment", name)
    for name, key in re.findall(r"get secret (\S+) -o 'go-template=\{\{(?:index \.data \"|\.data\.)([\w.]+)", text):
        assert key in manifest.secret(name)
    assert text.count("get secret") == 2
    for line in re.findall(r"^  (?:kubectl|helm) (.*)$", text, re.MULTILINE):
        words = shlex.split(line)
        assert words[:2] == ["-n", namespace]


def test_a_name_that_is_only_an_example_is_pointed_out() -> None:
    assert "hostname is still mail.example.test" in notes("mb", "mail")
    assert "hostname is still" not in notes("mb", "mail", "--set", "hostname=mail.example.org")


def test_helm_test_has_its_pod() -> None:
    (pod,) = render().of("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["command"][:2] == ["mailboatctl", "smoke"]
    ports = {
        service["metadata"]["name"]: {port["port"] for port in service["spec"]["ports"]}
        for service in render().of("Service")
    }
    targets = re.findall(r"--\w+=(?:http://)?([\w-]+):(\d+)", " ".join(container["command"]))
    assert len(targets) == 5
    for name, port in targets:
        assert int(port) in ports[name]
