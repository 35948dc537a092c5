"""Where scores and losses of libraries agree with ours, and where they differ and why.

The page docs/segmentation.md holds these as a table. Each difference is shown on data on which it
matters, so that a library that changes its mind is seen.
"""

import math

import numpy as np
import pytest
import torch

from wsss_core.evaluate import ConfusionCounts, MeanIou
from wsss_core.segmentation import cross_entropy, dice

CLASSES = 3  # without the background


def draw(seed, absent=()):
    """Predicted and true maps of six images, true ones with void."""
    random = np.random.default_rng(seed)
    kept = [value for value in range(CLASSES + 1) if value not in absent]
    truth = random.choice([*kept, 255], (6, 9, 9)).astype(np.int64)
    predicted = np.where(random.random(truth.shape) < 0.5, truth, random.choice(kept, truth.shape))
    predicted[predicted == 255] = kept[-1]
    return predicted, truth


def ours(predicted, truth):
    return ConfusionCounts.of_maps(zip(predicted, truth, strict=True), CLASSES)


class TestTorchmetrics:
    """torchmetrics 1.9: `MulticlassJaccardIndex`, `MulticlassConfusionMatrix`, `MeanIoU`."""

    @pytest.fixture(autouse=True)
    def library(self):
        self.classification = pytest.importorskip("torchmetrics.classification")
        self.segmentation = pytest.importorskip("torchmetrics.segmentation")

    def jaccard(self, predicted, truth, average):
        metric = self.classification.MulticlassJaccardIndex(
            CLASSES + 1, average=average, ignore_index=255
        )
        return metric(torch.from_numpy(predicted), torch.from_numpy(truth)).numpy()

    @pytest.mark.parametrize("seed", range(5))
    def test_confusion_counts_are_equal_with_void_left_out(self, seed):
        predicted, truth = draw(seed, absent=(2,) if seed % 2 else ())
        metric = self.classification.MulticlassConfusionMatrix(CLASSES + 1, ignore_index=255)
        found = metric(torch.from_numpy(predicted), torch.from_numpy(truth))
        assert np.array_equal(ours(predicted, truth).pixels.sum(0), found.numpy())

    @pytest.mark.parametrize("seed", range(5))
    def test_the_iou_of_each_class_is_equal_where_all_occur(self, seed):
        predicted, truth = draw(seed)
        assert self.jaccard(predicted, truth, "none") == pytest.approx(
            ours(predicted, truth).iou(), abs=1e-6
        )
        for definition in (MeanIou.DATASET, MeanIou.PRESENT):
            assert self.jaccard(predicted, truth, "macro") == pytest.approx(
                ours(predicted, truth).mean_iou(definition), abs=1e-6
            )

    def test_a_class_that_is_nowhere_has_the_iou_0_there_and_none_here(self):
        predicted, truth = draw(0, absent=(2,))
        assert self.jaccard(predicted, truth, "none")[2] == 0
        assert math.isnan(ours(predicted, truth).iou()[2])

    def test_its_macro_mean_leaves_that_class_out_as_present_miou_does_and_dataset_miou_does_not(
        self,
    ):
        predicted, truth = draw(0, absent=(2,))
        found, counts = self.jaccard(predicted, truth, "macro"), ours(predicted, truth)
        assert found == pytest.approx(counts.mean_iou(MeanIou.PRESENT), abs=1e-6)
        assert math.isnan(counts.mean_iou(MeanIou.DATASET))

    def test_its_weighted_mean_is_the_frequency_weighted_iou(self):
        predicted, truth = draw(1)
        assert self.jaccard(predicted, truth, "weighted") == pytest.approx(
            ours(predicted, truth).frequency_weighted_iou(), abs=1e-6
        )

    def test_its_mean_over_images_counts_classes_that_are_only_predicted_and_ours_does_not(self):
        """Image 0 holds class 1, found in full, beside a false pixel of class 2."""
        functional = pytest.importorskip("torchmetrics.functional.segmentation")
        truth = np.array([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
        predicted = np.array([[[0, 2, 1, 1]], [[0, 0, 0, 0]]])
        given = torch.from_numpy(predicted), torch.from_numpy(truth)
        kind = {"num_classes": CLASSES + 1, "input_format": "index"}
        of_images = functional.mean_iou(*given, **kind)
        assert of_images.tolist() == pytest.approx([(0.5 + 1 + 0) / 3, 1])
        # The class of the same name takes the mean of all pairs of an image and a class instead.
        assert self.segmentation.MeanIoU(**kind)(*given).item() == pytest.approx(2.5 / 4)
        counts = ours(predicted, truth)
        assert counts.mean_iou(MeanIou.PER_IMAGE) == pytest.approx(((0.5 + 1) / 2 + 1) / 2)


class TestSegmentationModelsPytorch:
    """segmentation-models-pytorch 0.6: `get_stats`, `iou_score`, `DiceLoss`, cross-entropies."""

    @pytest.fixture(autouse=True)
    def library(self):
        self.smp = pytest.importorskip("segmentation_models_pytorch")

    def stats(self, predicted, truth, **given):
        return self.smp.metrics.get_stats(
            torch.from_numpy(predicted), torch.from_numpy(truth), mode="multiclass",
            num_classes=CLASSES + 1, **given,
        )  # fmt: skip

    @pytest.mark.parametrize("seed", range(3))
    def test_counts_are_equal_where_void_is_named(self, seed):
        predicted, truth = draw(seed)
        tp, fp, fn, _ = self.stats(predicted, truth, ignore_index=255)
        pixels = ours(predicted, truth).pixels
        assert np.array_equal(tp.numpy(), np.diagonal(pixels, axis1=1, axis2=2))
        assert np.array_equal((tp + fp).numpy(), pixels.sum(1))
        assert np.array_equal((tp + fn).numpy(), pixels.sum(2))

    def test_without_that_each_void_pixel_is_a_false_one_silently(self):
        predicted, truth = draw(0)
        _, fp, _, _ = self.stats(predicted, truth)
        _, known, _, _ = self.stats(predicted, truth, ignore_index=255)
        assert (fp.sum() - known.sum()).item() == (truth == 255).sum()

    def test_an_empty_image_scores_1_and_lifts_its_mean_over_images(self):
        truth = np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]]])
        predicted = np.array([[[0, 1, 0, 0]], [[0, 0, 0, 0]]])
        stats = self.smp.metrics.get_stats(
            torch.from_numpy(predicted), torch.from_numpy(truth), mode="binary"
        )
        found = self.smp.metrics.iou_score(*stats, reduction="micro-imagewise").item()
        assert found == pytest.approx((0.5 + 1) / 2)
        counts = ConfusionCounts.of_maps(zip(predicted, truth, strict=True), 1)
        assert counts.mean_iou(MeanIou.PER_CLASS) == 0.5

    def test_its_cross_entropies_divide_by_void_pixels_too(self):
        torch.manual_seed(0)
        logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
        labels[:, :4] = 255
        theirs = self.smp.losses.SoftCrossEntropyLoss(smooth_factor=0.0, ignore_index=255)
        found = theirs(logits, labels).item()
        assert found == pytest.approx(cross_entropy(logits, labels).item() / 2, rel=1e-5)
        binary = self.smp.losses.SoftBCEWithLogitsLoss(ignore_index=255)
        target = torch.where(labels[:, None] == 255, 255, labels[:, None].clamp(max=1)).float()
        found = binary(logits[:, 1:2] - logits[:, :1], target).item()
        expected = cross_entropy(logits[:, :2], target[:, 0].long())
        assert found == pytest.approx(expected.item() / 2, rel=1e-5)

    def test_dice_is_equal_where_every_class_occurs(self):
        torch.manual_seed(0)
        logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
        labels[:, 2] = 255
        theirs = self.smp.losses.DiceLoss("multiclass", ignore_index=255)
        assert theirs(logits, labels).item() == pytest.approx(dice(logits, labels).item(), rel=1e-5)

    def test_an_absent_class_counts_as_a_perfect_one_in_its_dice_and_not_in_ours(self):
        torch.manual_seed(0)
        logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 2, (2, 8, 8))
        found = self.smp.losses.DiceLoss("multiclass")(logits, labels).item()
        assert found == pytest.approx(dice(logits, labels).item() * 2 / 3, rel=1e-5)
