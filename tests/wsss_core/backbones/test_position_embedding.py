"""Position embeddings with other tokens, or of a rectangle: fitted exactly, or refused."""

import pytest
import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones import load_weights
from wsss_core.errors import InputError

VIT = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 0}


def vit(name: str = "vit_tiny_patch16_224", size: int = 64, **options) -> nn.Module:
    """A ViT of 8 x 8 patches, unless the size is another."""
    return timm.create_model(name, img_size=size, **{**VIT, **options}).eval()


def load(tmp_path, state: dict[str, Tensor], model: nn.Module, **more) -> dict[str, Tensor]:
    torch.save(state, tmp_path / "weights.pth")
    load_weights(model, tmp_path / "weights.pth", **more)
    return model.state_dict()


def waves(rows: int, columns: int, channels: int = 24) -> Tensor:
    """An embedding like a trained one, [1, rows * columns, channels]: neighbours are alike."""
    frequencies = torch.linspace(0.05, 1.5, channels // 4)
    along = [torch.arange(n).float()[:, None] * frequencies for n in (rows, columns)]
    down, across = (torch.cat([a.sin(), a.cos()], 1) for a in along)
    grid = [down[:, None].expand(-1, columns, -1), across[None].expand(rows, -1, -1)]
    return torch.cat(grid, 2).reshape(1, rows * columns, channels)


def test_the_position_of_a_distillation_token_is_taken_out(tmp_path):
    distilled = vit("deit_tiny_distilled_patch16_224").state_dict()
    assert distilled["pos_embed"].shape[1] == 66
    own = load(tmp_path, distilled, vit("deit_tiny_patch16_224"))
    kept = [0, *range(2, 66)]
    assert torch.equal(own["pos_embed"], distilled["pos_embed"][:, kept])
    assert torch.equal(own["cls_token"], distilled["cls_token"])


def test_and_its_patches_are_resampled_if_their_grid_is_another(tmp_path):
    distilled = vit("deit_tiny_distilled_patch16_224").state_dict()
    own = load(tmp_path, distilled, vit("deit_tiny_patch16_224", size=32))
    patches = distilled["pos_embed"][:, 2:].reshape(1, 8, 8, 24).permute(0, 3, 1, 2)
    resampled = nn.functional.interpolate(patches, (4, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(own["pos_embed"][:, 1:], resampled.flatten(2).mT)
    assert torch.equal(own["pos_embed"][:, :1], distilled["pos_embed"][:, :1])


@pytest.mark.parametrize("tokens", [66, 70])
def test_a_token_that_nothing_explains_is_refused_with_the_counts(tmp_path, tokens):
    state = {**vit().state_dict(), "pos_embed": torch.randn(1, tokens, 24)}
    said = rf"pos_embed has {tokens} tokens in the file, 65 = 8 x 8 patches \+ 1 in the network"
    with pytest.raises(InputError, match=said) as error:
        load(tmp_path, state, vit())
    assert "cls_token 1" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_token_without_a_position_is_refused_with_what_to_set(tmp_path):
    state = {**vit().state_dict(), "pos_embed": torch.randn(1, 64, 24)}
    with pytest.raises(InputError, match=r"64 = 8 x 8 patches .* 65 = 8 x 8") as error:
        load(tmp_path, state, vit())
    assert "options: {no_embed_class: true}" in str(error.value)
    own = load(tmp_path, state, vit(no_embed_class=True))
    assert torch.equal(own["pos_embed"], state["pos_embed"])


def test_a_file_without_a_class_token_fits_a_network_without_one(tmp_path):
    bare = vit(class_token=False, global_pool="avg").state_dict()
    with pytest.raises(InputError, match=r"options: \{class_token: false, global_pool: avg\}"):
        load(tmp_path, bare, vit())
    own = load(tmp_path, bare, vit(class_token=False, global_pool="avg"))
    assert torch.equal(own["pos_embed"], bare["pos_embed"])


def test_a_class_token_takes_up_its_position_where_the_network_gives_it_none(tmp_path):
    """Token plus position is what enters the first block, so the network is the same."""
    torch.manual_seed(0)
    whole = vit().state_dict()
    target = vit(no_embed_class=True)
    own = load(tmp_path, whole, target)
    torch.testing.assert_close(own["cls_token"], whole["cls_token"] + whole["pos_embed"][:, :1])
    source = vit()
    source.load_state_dict(whole)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(target(images), source(images))


def test_a_network_without_a_class_token_leaves_its_position_out(tmp_path):
    whole = vit().state_dict()
    own = load(tmp_path, whole, vit(class_token=False, global_pool="avg", fc_norm=False))
    assert torch.equal(own["pos_embed"], whole["pos_embed"][:, 1:])


@pytest.mark.parametrize("size", [128, 64])
def test_a_rectangle_that_looks_like_a_square_by_number_is_refused(tmp_path, size):
    """8 x 32 patches are as many as 16 x 16."""
    embedding = torch.cat([torch.zeros(1, 1, 24), waves(8, 32)], 1)
    state = {**vit().state_dict(), "pos_embed": embedding}
    with pytest.raises(InputError, match=r"looks like 8 x 32 .* position_grid: \[8, 32\]"):
        load(tmp_path, state, vit(size=size))


@pytest.mark.parametrize(("rows", "columns"), [(8, 32), (32, 8), (16, 16), (8, 16)])
def test_a_rectangle_is_resampled_if_its_grid_is_given(tmp_path, rows, columns):
    embedding = torch.cat([torch.ones(1, 1, 24), waves(rows, columns)], 1)
    state = {**vit().state_dict(), "pos_embed": embedding}
    own = load(tmp_path, state, vit(size=64), position_grid=(rows, columns))
    patches = embedding[:, 1:].reshape(1, rows, columns, 24).permute(0, 3, 1, 2)
    resampled = nn.functional.interpolate(patches, (8, 8), mode="bicubic", antialias=True)
    torch.testing.assert_close(own["pos_embed"][:, 1:], resampled.flatten(2).mT)


def test_a_grid_of_another_number_of_patches_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\[8, 9\] patches are 72"):
        load(tmp_path, vit().state_dict(), vit(), position_grid=(8, 9))


@pytest.mark.parametrize("side", [7, 8, 14, 16, 24])
@pytest.mark.parametrize("kind", ["waves", "noise", "rows alone"])
def test_squares_are_taken_for_squares(tmp_path, side, kind):
    torch.manual_seed(side)
    square = waves(side, side) if kind != "noise" else torch.randn(1, side * side, 24)
    if kind == "rows alone":
        square[..., 12:] *= 0.01
    state = {**vit().state_dict(), "pos_embed": torch.cat([torch.zeros(1, 1, 24), square], 1)}
    own = load(tmp_path, state, vit(size=8 * side))
    assert torch.equal(own["pos_embed"], state["pos_embed"])
