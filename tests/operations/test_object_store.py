"""A dataset in an object store: a local server that speaks S3's protocol stands in for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run

pytest.importorskip("lancedb", reason="LanceDB is not installed: pip install 'ragqa[scale]'")
server = pytest.importorskip("moto.server", reason="moto is not installed: make install")


@pytest.fixture
def store() -> Iterator[dict[str, str]]:
    """Run an empty store with one bucket; yields the environment that leads to it."""
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="notes")
    client.close()
    yield environment
    running.stop()


def test_push_and_ask_through_an_object_store(store: dict[str, str], db: Path, ragqa: Run) -> None:
    env = {**store, "RAGQA_LANCE": "s3://notes/lance"}
    first = ragqa("push", "--db", db, "--to", "s3://notes/lance", env=env)
    assert first.returncode == 0, first.stderr
    assert "passages added, 0 deleted, 0 unchanged: version" in first.stdout
    removed = ragqa("remove", "garden.txt", "--db", db)
    assert removed.returncode == 0, removed.stderr
    second = ragqa("push", "--db", db, "--to", "s3://notes/lance", env=env)
    assert "0 passages added, 1 deleted" in second.stdout, second.stderr
    asked = ragqa("ask", "-c", "lancedb", "-m", "extractive", "How warm is green tea steeped?", env=env)
    assert "70 degrees" in asked.stdout, asked.stderr
    gone = ragqa("search", "-c", "lancedb", "When are tomatoes watered?", "--json", env=env)
    assert "garden.txt" not in gone.stdout
    assert gone.returncode == 0, gone.stderr


def test_a_store_that_is_not_there_is_said_in_a_sentence(store: dict[str, str], db: Path, ragqa: Run) -> None:
    done = ragqa("push", "--db", db, "--to", "s3://nobody/lance", env=store)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The Lance dataset s3://nobody/lance cannot be used: ")
    assert "Traceback" not in done.stderr
