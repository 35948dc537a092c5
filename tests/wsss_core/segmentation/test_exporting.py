"""Exported segmenters, run by onnxruntime and by TorchScript, beside the torch model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.segmentation import (
    SegmenterSettings,
    build_segmenter,
    load_segmenter,
    predict_masks,
    predict_probabilities,
    save_segmenter,
)
from wsss_core.segmentation.exporting import ExportFormat, export_segmenter, onnx_facts, writing
from wsss_core.segmentation.exporting.latency import measure_latency
from wsss_core.segmentation.exporting.torchscript_file import FACTS
from wsss_core.segmentation.sam import SamSegmenter

SIZE = 32
UNET = SegmenterSettings(
    "unet",
    "resnet18",
    options={"decoder_channels": (32, 24, 16, 8, 8)},
    encoder_options={"channels": (8, 16, 24, 32)},
)
SETR = SegmenterSettings(
    "setr_pup",
    "vit_tiny_patch16_224",
    options={"width": 16, "auxiliary": True},
    encoder_options={"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3},
)


def built(settings: SegmenterSettings):
    torch.manual_seed(0)
    segmenter = build_segmenter(settings, classes=2, image_size=SIZE)
    segmenter.class_names = ("smoke", "steam")
    return segmenter.eval()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


@pytest.mark.ci
@pytest.mark.parametrize("settings", [UNET, SETR], ids=["unet", "setr"])
def test_onnxruntime_gives_the_probabilities_and_masks_of_the_package(settings, images, tmp_path):
    import onnxruntime

    segmenter = built(settings)
    record = export_segmenter(segmenter, tmp_path / "a.onnx", "onnx")
    session = onnxruntime.InferenceSession(str(record.file))
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("pixels", "tensor(uint8)", [SIZE, SIZE, 3])
    mask, probabilities = session.run(["mask", "probabilities"], {"pixels": images})
    expected = np.stack(list(predict_probabilities(segmenter, images)))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.stack(list(predict_masks(segmenter, images))))
    facts = onnx_facts(record.file)
    assert facts["classes"] == ["background", "smoke", "steam"]
    assert (facts["model"], facts["image_size"]) == (settings.model, SIZE)


@pytest.mark.ci
def test_torchscript_gives_them_too_and_holds_the_names(images, tmp_path):
    segmenter = built(UNET)
    record = export_segmenter(segmenter, tmp_path / "a.pt", ExportFormat.TORCHSCRIPT)
    held = {FACTS: ""}
    module = torch.jit.load(str(record.file), _extra_files=held)
    mask, probabilities = module(torch.from_numpy(images))
    expected = np.stack(list(predict_probabilities(segmenter, images)))
    np.testing.assert_allclose(probabilities.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(mask.numpy(), expected.argmax(1))
    assert json.loads(held[FACTS])["classes"] == ["background", "smoke", "steam"]


@pytest.mark.ci
def test_the_record_says_what_was_compared_and_how_long_it_takes(tmp_path):
    record = export_segmenter(built(UNET), tmp_path / "a.pt", "torchscript")
    assert record.pixels == 3 * SIZE**2
    assert record.difference <= writing.TOLERANCE
    times = record.file_latency
    assert 0 < times.fastest <= times.seconds <= times.slowest
    compared, latency = record.describe()
    assert "(allowed 1e-04)" in compared
    assert latency.startswith(f"latency of one image of {SIZE} px: ")
    assert latency.endswith(f"median of 20, CPU, {torch.get_num_threads()} threads")


def test_a_file_that_differs_from_the_model_is_not_kept(tmp_path, monkeypatch):
    file = tmp_path / "a.pt"
    file.write_bytes(b"before")
    read = writing.read_torchscript

    def shifted(path: Path):
        run = read(path)
        return lambda pixels: (run(pixels)[0], run(pixels)[1] + np.float32(0.001))

    monkeypatch.setattr(writing, "read_torchscript", shifted)
    with pytest.raises(InputError, match=r"differ by 1\.0e-03 .* expected at most 1e-04"):
        export_segmenter(built(UNET), file, "torchscript")
    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_file_whose_classes_differ_is_not_kept(tmp_path, monkeypatch):
    read = writing.read_torchscript
    monkeypatch.setattr(
        writing,
        "read_torchscript",
        lambda path: lambda pixels: ((found := read(path)(pixels))[0] ^ 1, found[1]),
    )
    with pytest.raises(InputError, match="not written: read back"):
        export_segmenter(built(UNET), tmp_path / "a.pt", "torchscript")


def test_the_latency_is_the_median_of_the_runs(monkeypatch):
    clock = iter([0.0, 1.0, 0.0, 5.0, 0.0, 3.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    calls = []
    found = measure_latency(lambda p: calls.append(p.shape) or (p, p), 8, threads=1, repeats=3)
    assert (found.seconds, found.fastest, found.slowest, found.repeats) == (3.0, 1.0, 5.0, 3)
    assert set(calls) == {(1, 8, 8, 3)}


def test_sam_is_refused_with_what_is_supported(tmp_path):
    with pytest.raises(InputError, match=r"SAM and SAM 2 cannot be exported; supported are unet,"):
        export_segmenter(SamSegmenter.__new__(SamSegmenter), tmp_path / "a.onnx")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="format 'tflite': expected onnx or torchscript"):
        export_segmenter(built(UNET), tmp_path / "a", "tflite")


def test_a_saved_segmenter_keeps_the_names_of_its_classes(tmp_path):
    save_segmenter(built(UNET), tmp_path / "named.safetensors")
    assert load_segmenter(tmp_path / "named.safetensors").names == ("smoke", "steam")
    unnamed = built(UNET)
    unnamed.class_names = ()
    save_segmenter(unnamed, tmp_path / "unnamed.safetensors")
    assert load_segmenter(tmp_path / "unnamed.safetensors").names == ("class 1", "class 2")
    unnamed.class_names = ("smoke",)
    with pytest.raises(InputError, match="1 names for 2 classes"):
        save_segmenter(unnamed, tmp_path / "wrong.safetensors")
