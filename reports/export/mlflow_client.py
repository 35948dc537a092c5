"""A client of MLflow's REST API (2.0) by the standard library alone.

MLflow itself needs an older pyarrow than this package, so it cannot be installed beside it. The
server is asked as its own client would: the same addresses, limits, and environment variables.
"""

import base64
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from reports.storage import without_password
from wsss_core.errors import InputError, as_input_error, one_line

METRICS_AT_ONCE = 1000
PARAMETERS_AT_ONCE = 100
"""The most metrics, parameters or tags of one request to `runs/log-batch`."""

LONGEST_PARAMETER = 6000
LONGEST_TAG = 8000
"""The most characters of a value; MLflow cuts longer ones without an error."""

_TIMEOUT = 60.0
_PAGE = 1000


class MlflowError(InputError):
    """An MLflow server does not answer, or refuses a request; the message names it."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without its content, and carry the token elsewhere."""

    def redirect_request(self, *_args: Any, **_settings: Any) -> None:
        return None


class MlflowClient:
    """Requests to one server.

    Args:
        address: `http://HOST:PORT` or `https://...`, perhaps with `USER:PASSWORD@` and a path.
            `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`,
            log in; `MLFLOW_TRACKING_INSECURE_TLS=true` accepts any certificate, and
            `MLFLOW_TRACKING_SERVER_CERT_PATH` names a file of trusted ones.

    Raises:
        InputError: the address is no such address.

    """

    def __init__(self, address: str) -> None:
        shown = without_password(address)
        with as_input_error(f"--uri {shown}: no address", ValueError):
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise InputError(
                f"--uri {shown}: expected the address of an MLflow server, such as "
                "http://127.0.0.1:5000"
            )
        name = f"[{host}]" if ":" in host else host
        place = name if port is None else f"{name}:{port}"
        self.address = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        self._headers = {"User-Agent": "wsss-studies", **_authorisation(parts)}
        self._opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=_tls())
        )

    def call(self, what: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request such as `runs/create`, and return the answer.

        Raises:
            MlflowError: the server does not answer, refuses, or is no MLflow server.

        """
        body = json.dumps(content, allow_nan=False).encode()
        return self._json(f"/api/2.0/mlflow/{what}", "POST", body)

    def experiment(self, name: str) -> str:
        """Return the id of an experiment; make it if there is none.

        Raises:
            MlflowError: it was deleted, besides what `call` raises.

        """
        asked = f"/api/2.0/mlflow/experiments/get-by-name?{urlencode({'experiment_name': name})}"
        try:
            found = self._json(asked, "GET")["experiment"]
        except _NotThereError:
            return str(self.call("experiments/create", {"name": name})["experiment_id"])
        if found.get("lifecycle_stage") == "deleted":
            raise MlflowError(
                f"{self.address}: the experiment {name} was deleted there; restore it "
                f"(mlflow experiments restore --experiment-id {found['experiment_id']}) or remove "
                "it for good (mlflow gc)"
            )
        return str(found["experiment_id"])

    def runs(self, experiment: str) -> Iterator[dict[str, Any]]:
        """Yield the runs of an experiment that are not deleted."""
        asked: dict[str, Any] = {"experiment_ids": [experiment], "max_results": _PAGE}
        while True:
            answer = self.call("runs/search", asked)
            yield from answer.get("runs", [])
            if not answer.get("next_page_token"):
                return
            asked["page_token"] = answer["next_page_token"]

    def log(
        self,
        run: str,
        *,
        metrics: Sequence[Mapping[str, Any]] = (),
        params: Sequence[Mapping[str, str]] = (),
        tags: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Add metrics, parameters and tags to a run, in batches that the server accepts."""
        kinds: tuple[tuple[str, Sequence[Mapping[str, Any]], int], ...] = (
            ("params", params, PARAMETERS_AT_ONCE),
            ("tags", tags, PARAMETERS_AT_ONCE),
            ("metrics", metrics, METRICS_AT_ONCE),
        )
        for kind, entries, most in kinds:
            for batch in batches(entries, most):
                self.call("runs/log-batch", {"run_id": run, kind: batch})

    def upload(self, artifacts: str, name: str, content: bytes, kind: str) -> None:
        """Store a file of a run, if the server itself keeps its files.

        Args:
            artifacts: the run's `artifact_uri`, `mlflow-artifacts:/...`.
            name: the file's path below it.
            content: the file.
            kind: its media type.

        """
        inside = urlsplit(artifacts).path.strip("/")
        path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{inside}/{name}')}"
        self._send(path, "PUT", content, kind)

    def _json(self, path: str, method: Literal["GET", "POST"], body: bytes | None = None) -> Any:
        answer = self._send(path, method, body)
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise MlflowError(f"{self.address}: answers, but not as an MLflow server does")
        return found

    def _send(
        self, path: str, method: str, body: bytes | None, kind: str = "application/json"
    ) -> bytes:
        headers = self._headers | ({} if body is None else {"Content-Type": kind})
        request = urllib.request.Request(
            self.address + path, data=body, headers=headers, method=method
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise self._refusal(path, error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise MlflowError(
                f"{self.address}: no MLflow server answers there ({one_line(reason, 200)})"
            ) from error

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> "MlflowError":
        """Return the error for an answer of 300 and above."""
        try:
            said = json.loads(error.read())
        except (OSError, http.client.HTTPException, ValueError):
            said = None
        said = said if isinstance(said, dict) else {}
        if said.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            return _NotThereError(f"{self.address}: {one_line(said.get('message'), 300)}")
        if 300 <= error.code < 400:
            to = without_password(str(error.headers.get("Location")))
            return MlflowError(f"{self.address}: redirects to {one_line(to, 200)}; name that")
        if error.code in (401, 403):
            return MlflowError(
                f"{self.address}: refuses access ({error.code}); set MLFLOW_TRACKING_TOKEN, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        why = one_line(said.get("message") or error.reason, 300)
        what = path.partition("?")[0].rpartition("/mlflow/")[2]
        return MlflowError(f"{self.address}: answers {error.code} to {what}: {why}")


class _NotThereError(MlflowError):
    """The server says that what was asked for does not exist."""


def batches(entries: Sequence[Any], most: int, limit: int = 900_000) -> Iterator[list[Any]]:
    """Yield entries in batches of at most so many, and of at most so many bytes as JSON.

    >>> [len(batch) for batch in batches(["x"] * 5, 2)]
    [2, 2, 1]
    """
    batch: list[Any] = []
    size = 0
    for entry in entries:
        of_entry = len(json.dumps(entry)) + 2
        if batch and (len(batch) == most or size + of_entry > limit):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += of_entry
    if batch:
        yield batch


def _authorisation(parts: Any) -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _tls() -> ssl.SSLContext:
    trusted = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    with as_input_error(f"MLFLOW_TRACKING_SERVER_CERT_PATH {trusted}", OSError):
        context = ssl.create_default_context(cafile=trusted or None)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
