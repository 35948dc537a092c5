"""For all tests: an S3 server on loopback that can be stopped, and tiny foundation models.

The models are randomly initialised and saved to disk as published ones are.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # no test may fail because others run beside
settings.load_profile("unhurried")

WITH_RAY = {"clusters", "chaos", "cluster", "ray_tune", "search"}
"""Folders of tests that start Ray."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return the processes of `-n auto`: one more than cores, as tests with Ray mostly wait.

    None leaves it to xdist's own environment variable.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    from studies.cluster.machine import usable_cpus

    return usable_cpus() + 1


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, which has its fixtures, and files with Ray in another."""
    here = Path(__file__).parent
    with_ray = {item.path for item in items if "ray_here" in getattr(item, "fixturenames", ())}
    for item in items:
        folders = item.path.relative_to(here).parts
        ray = item.path in with_ray or WITH_RAY & {*folders}
        item.add_marker(pytest.mark.xdist_group("ray" if ray else "/".join(folders)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End Ray with its group: a process that has joined Ray tries networks in no fork of itself."""
    marker = nextitem and nextitem.get_closest_marker("xdist_group")
    needed = marker is not None and marker.args == ("ray",)
    if not needed and (ray := sys.modules.get("ray")) and ray.is_initialized():
        ray.shutdown()


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """Sets PyTorch's number of threads; after the test it is what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


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


def _louder(model: Any, seed: int) -> Any:
    """Weights large enough that masks differ by point, with logits that reach beyond +-1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            parts = ("mask_decoder", "neck", "prompt_encoder", "patch_embed")
            if weight.ndim > 1 and any(part in name for part in parts):
                torch.nn.init.normal_(weight, std=0.4 if weight.ndim == 2 else 0.3)
            if "hypernetworks_mlps" in name and "proj_out" in name:
                weight.mul_(20)
    return model


_DECODER = {
    "hidden_size": 16,
    "mlp_dim": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "iou_head_hidden_dim": 16,
    "iou_head_depth": 2,
}


def _save_sam(folder: Path) -> None:
    """SAM of 15,000 parameters: images of 64 px, patches of 8."""
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    vision = {
        "hidden_size": 16,
        "output_channels": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [0],
        "num_pos_feats": 8,
        "mlp_dim": 16,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=_DECODER
    )
    _louder(SamModel(config), seed=0).save_pretrained(folder)
    square = {"height": 64, "width": 64}
    SamProcessor(SamImageProcessor(size={"longest_edge": 64}, pad_size=square)).save_pretrained(
        folder
    )


def _save_sam2(folder: Path) -> None:
    """SAM 2 of 17,000 parameters: images of 64 px, its four stages of one or two blocks."""
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 4,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [4, 8, 12, 16],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [16, 12, 8, 4],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 16,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=_DECODER
    )
    _louder(Sam2Model(config), seed=0).save_pretrained(folder)
    Sam2Processor(Sam2ImageProcessor(size={"height": 64, "width": 64})).save_pretrained(folder)


def _save_clip(folder: Path) -> None:
    """CLIP of 4,000 parameters: images of 16 px, patches of 4, a token for each of 26 letters."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    tokenizer = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[])
    tokenizer.model_max_length = 12
    layers = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        text_config={
            **layers,
            "vocab_size": len(names),
            "max_position_embeddings": 12,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        vision_config={**layers, "image_size": 16, "patch_size": 4},
        projection_dim=8,
        logit_scale_init_value=1.0,
    )
    torch.manual_seed(0)
    model = CLIPModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.3)
            elif "bias" in name:
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)


_SAVE = {"sam": _save_sam, "sam2": _save_sam2, "clip": _save_clip}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny "sam", "sam2" or "clip", made once; tests only read it."""
    pytest.importorskip("transformers")
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            path = tmp_path_factory.mktemp(name)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # equal weights whichever tests ran before
                _SAVE[name](path)
            made[name] = path  # named once it is whole
        return made[name]

    return folder


@pytest.fixture
def passes() -> Callable[..., None]:
    """Run a script that counts faults to its end, which has to be without any."""

    def run(script: Path, *options: str, minutes: float) -> None:
        ran = subprocess.run(
            [sys.executable, str(script), *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 * minutes,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout

    return run
