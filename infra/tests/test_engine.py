"""The real engine and AWS's real provider against moto: up, up again without a change, outputs.

Needs Pulumi's command line and its AWS plugin, which no Python package brings; elsewhere each test is skipped by name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.recorder import INFRA, PASSPHRASE


def _missing() -> str:
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        return "the command line pulumi is not on this machine: https://www.pulumi.com/docs/install"
    done = subprocess.run([pulumi, "plugin", "ls", "--json"], check=False, capture_output=True, text=True)
    if done.returncode != 0 or not any(plugin["name"] == "aws" for plugin in json.loads(done.stdout)):
        return "Pulumi's plugin aws is not on this machine: pulumi plugin install resource aws"
    return ""


_WHY = _missing()
pytestmark = pytest.mark.skipif(bool(_WHY), reason=_WHY)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """moto's AWS on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture(scope="module")
def pulumi(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run pulumi in a program's folder, its state in a folder of the test's own."""
    state = tmp_path_factory.mktemp("state")
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "of this test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }

    def run(program: str, *arguments: str) -> str:
        # A copy: a stack's configuration is written beside the program.
        folder = state / "programs" / program
        if not folder.exists():
            shutil.copytree(INFRA / program, folder)
            text = (folder / "Pulumi.yaml").read_text().replace("../../.venv", str(Path(sys.executable).parents[1]))
            (folder / "Pulumi.yaml").write_text(text)
            local = folder / "Pulumi.local.yaml"
            inventories = str(INFRA.parent / "inventories")
            local.write_text(
                local.read_text().replace("../../inventories", inventories).replace("http://127.0.0.1:5000", aws)
            )
        argv = ["pulumi", *arguments, "--cwd", str(folder), "--non-interactive"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("program", "config"),
    [
        ("storage", {}),
        ("access", {"pgdr:repositoryPassphrase": PASSPHRASE}),
        ("recovery_site", {}),
    ],
)
def test_up_twice(pulumi: Any, aws: str, program: str, config: dict[str, str]) -> None:
    """In this order: access reads what storage made."""
    pulumi(program, "stack", "init", "local")
    for key, value in config.items():
        pulumi(program, "config", "set", "--secret", key, value, "--stack", "local")
    pulumi(program, "up", "--yes", "--skip-preview", "--stack", "local")
    again = pulumi(program, "up", "--yes", "--expect-no-changes", "--stack", "local")
    assert re.search(r"\d+ unchanged", again)
    outputs = json.loads(pulumi(program, "stack", "output", "--json", "--stack", "local"))
    if program == "storage":
        client: Any = boto3.client(
            "s3",
            endpoint_url=aws,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        assert client.get_bucket_versioning(Bucket=outputs["bucket"])["Status"] == "Enabled"
    if program == "recovery_site":
        assert set(outputs["inventory"]["hosts"]) == {"erp-dr1.example.com", "erp-app-dr1.example.com"}
