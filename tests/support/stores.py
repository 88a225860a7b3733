"""Stores for a DVC remote: a directory, and local servers for S3 and SSH."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import boto3
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

HOST = "127.0.0.1"
BUCKET = "pokecam"


@dataclass(frozen=True)
class Store:
    """A DVC remote: its address, and the options that `dvc remote modify` sets."""

    url: str
    settings: dict[str, str] = field(default_factory=dict)


@contextmanager
def directory(folder: Path) -> Iterator[Store]:
    yield Store(str(folder / "store"))


@contextmanager
def s3(folder: Path) -> Iterator[Store]:
    """Run the server of moto with one bucket. The credentials are in the environment, as usual."""
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(
                Bucket=BUCKET
            )
            yield Store(f"s3://{BUCKET}/store", {"endpointurl": url})
    finally:
        server.stop()


@contextmanager
def ssh(folder: Path) -> Iterator[Store]:
    """Run the server of asyncssh. It serves only `folder`, and accepts only one key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    key.write_public_key(folder / "authorised")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_listen(folder), loop).result()
    try:
        port = server.sockets[0].getsockname()[1]
        yield Store(f"ssh://somebody@{HOST}:{port}/store", {"keyfile": str(folder / "key")})
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(folder: Path) -> asyncssh.SSHAcceptor:
    return await asyncssh.listen(
        HOST,
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(folder / "authorised"),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder)),
    )


async def _close(server: asyncssh.SSHAcceptor) -> None:
    server.close()
    await server.wait_closed()


OPEN = {"directory": directory, "s3": s3, "ssh": ssh}
