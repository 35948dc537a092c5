"""The thesis's networks at the thesis's size: 512 px, 32 x 32 locations on both sides."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from wsss_core.backbones import build_network
from wsss_core.transfer import Alignment, TeacherStudent

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("student", "teacher", "head"),
    [
        ("vit_small_patch16_224", "resnet50", "pcm"),
        ("vit_base_patch16_224", "resnet101", "linear"),
    ],
)
def test_a_vit_is_taught_by_a_resnet_on_one_grid_without_resizing(student, teacher, head):
    vit = build_network(student, classes=1, image_size=512)
    resnet = build_network(teacher, classes=1, image_size=512, output_stride=16, head=head)
    paradigm = TeacherStudent(
        vit, resnet, Alignment(vit, resnet, metric="cosine", level="global"), 1.0
    ).train()
    images = torch.rand(2, 3, 512, 512)
    with torch.no_grad():
        for network in (vit, resnet):
            assert network(images).activation_maps.shape == (2, 1, 32, 32)
    paradigm.losses(images, torch.tensor([[1.0], [0.0]])).total.backward()
    assert all(parameter.grad is not None for parameter in paradigm.trainable_parameters())


def test_weights_of_224_px_start_a_vit_of_512_px(tmp_path: Path):
    model = timm.create_model("vit_small_patch16_224", num_classes=0)
    file = tmp_path / "vit.safetensors"
    save_file(model.state_dict(), file)
    network = build_network("vit_small_patch16_224", classes=1, image_size=512, weights=file)
    assert network.encoder.vit.pos_embed.shape[1] == 32 * 32 + 1
    assert network.eval()(torch.rand(1, 3, 512, 512)).features.shape == (1, 384, 32, 32)
