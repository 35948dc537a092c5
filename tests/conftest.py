"""An S3 server on loopback that can be stopped and started again, for all tests."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class S3Server:
    """moto's S3 on a port of its own, one request after another as its checks are in two steps."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        application: Callable[..., Any] = DomainDispatcherApplication(create_backend_app)
        one_at_a_time = threading.Lock()

        def locked(environment: Any, start_response: Any) -> list[bytes]:
            with one_at_a_time:
                return [b"".join(application(environment, start_response))]

        self._application = locked
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the port it had before; what it holds has stayed."""
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log_request(self, *_: Any) -> None:
                """Say nothing."""

        self._server = make_server(
            "127.0.0.1", self.port, self._application, threaded=True, request_handler=Quiet
        )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        assert self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    pytest.importorskip("moto.server", reason="needs moto[server]")
    pytest.importorskip("s3fs")
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server with an empty bucket `bucket`, and the environment that leads to it."""
    import requests

    for name, value in (
        ("AWS_ENDPOINT_URL", s3_server.url),
        ("AWS_ACCESS_KEY_ID", "someone"),
        ("AWS_SECRET_ACCESS_KEY", "something"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    requests.post(f"{s3_server.url}/moto-api/reset", timeout=30).raise_for_status()
    requests.put(f"{s3_server.url}/bucket", timeout=30).raise_for_status()
    return s3_server
