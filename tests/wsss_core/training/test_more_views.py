"""Training on further forms of the images: what joins a batch, and what changes nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.augmentation import CropSettings, DecoupledViews, PasteSettings, Stored
from wsss_core.backbones import build_network
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Single

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
LABELS = (np.arange(6) % 2 == 0)[:, None]
MASKS = np.zeros((6, 16, 16), np.uint8)
MASKS[::2, 4:10, 5:12] = 1
STEPS = TrainingSettings(epochs=2, batch_size=4, learning_rate=0.01, flip=True)


def network():
    torch.manual_seed(0)
    tiny = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
    return build_network("vit_tiny_patch16_224", classes=1, image_size=16, options=tiny)


def trained(more_views, paradigm=None):
    paradigm = paradigm or Single(network())
    history = train(paradigm, IMAGES, LABELS, STEPS, seed=1, more_views=more_views)
    return paradigm.student.state_dict(), history


def the_images_themselves(seed, number):
    return [lambda chosen: Stored(IMAGES[chosen], torch.from_numpy(LABELS[chosen]).float())]


def test_a_form_that_is_the_image_itself_changes_nothing_but_rounding():
    plain, history = trained(None)
    twice, again = trained(the_images_themselves)
    for name, value in plain.items():
        torch.testing.assert_close(twice[name], value, atol=2e-4, rtol=0)
    assert again[0].loss == pytest.approx(history[0].loss, abs=1e-4)


def test_no_further_form_is_plain_training_to_the_bit():
    plain, _ = trained(None)
    without, _ = trained(lambda seed, number: [])
    assert all(torch.equal(plain[name], without[name]) for name in plain)


def test_a_batch_holds_each_image_and_its_forms_and_its_loss_is_their_mean():
    seen = []

    class Recording(Single):
        def losses(self, images, labels, progress=1.0, valid=None):
            found = super().losses(images, labels, progress, valid)
            with torch.no_grad():
                logits = self.student(images).logits
            expected = F.binary_cross_entropy_with_logits(logits, labels)
            assert float(found.total.detach()) == pytest.approx(float(expected), abs=1e-5)
            seen.append((images.clone(), labels.clone()))
            return found

    views = DecoupledViews(
        IMAGES, LABELS, MASKS, paste=PasteSettings(rotate=0), crops=CropSettings(count=2)
    )
    trained(views, Recording(network()))
    assert [len(images) for images, _ in seen] == [16, 8, 16, 8]
    for images, labels in seen:
        count = len(images) // 4
        plain, pasted = images[:count], images[count : 2 * count]
        changed = (plain != pasted).any(1).flatten(1).sum(1)
        assert (labels[count : 2 * count] == 1).all()  # all hold the class then
        # 6 x 7 pixels of an object, and nothing on images that hold the class.
        assert ((changed == 0) == (labels[:count, 0] == 1)).all()
        assert (changed <= 42).all()
