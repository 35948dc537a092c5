"""Masks are read as they are meant, or refused in a line that says how to explain them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_core.data.folder.source import FolderSource
from wsss_core.data.image_decoding import PictureFile
from wsss_core.data.mask_decoding import DecodedMask, MaskMeaning, decode_mask
from wsss_core.data.picture_facts import PictureError, PictureFault
from wsss_core.errors import InputError

SHAPE = np.array([[0, 0, 1, 1], [0, 1, 1, 1]], np.uint8)
"""Where the object of the masks here is."""


def saved(path: Path, values: object, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def decoded(path: Path, meaning: MaskMeaning = MaskMeaning()) -> DecodedMask:  # noqa: B008
    return decode_mask(PictureFile.read(path), meaning)


def refused(path: Path, meaning: MaskMeaning = MaskMeaning()) -> PictureError:  # noqa: B008
    with pytest.raises(PictureError) as caught:
        decoded(path, meaning)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


class TestOneClass:
    @pytest.mark.parametrize(
        "values",
        [
            SHAPE,
            SHAPE * 255,
            SHAPE * 17,
            SHAPE > 0,
            SHAPE.astype(np.uint16) * 65535,
            SHAPE.astype(np.uint16) * 256,
            SHAPE.astype(np.int32) * 70000,
        ],
        ids=["1", "255", "17", "1 bit", "65535", "256", "32 bit"],
    )
    def test_zero_and_one_other_value_are_background_and_object(
        self, tmp_path: Path, values: np.ndarray
    ) -> None:
        suffix = ".tif" if values.dtype == np.int32 else ".png"
        found = decoded(saved(tmp_path / f"a{suffix}", values))
        np.testing.assert_array_equal(found.codes, SHAPE)
        assert found.codes.dtype == np.uint8
        assert found.facts.stored == {0: 3, int(values.max()): 5}
        assert found.facts.codes == {0: 3, 1: 5}

    def test_grey_edges_are_refused_with_the_threshold_to_say(self, tmp_path: Path) -> None:
        values = np.repeat(np.arange(0, 256, 15, np.uint8)[None], 3, axis=0)
        error = refused(saved(tmp_path / "a.png", values))
        assert error.fault is PictureFault.EDGES
        assert str(error) == (
            f"{tmp_path}/a.png: 17 values from 15 to 255 beside 0, which look like grey edges or a "
            "probability map; say in classes.yaml where to cut them, e.g. `threshold: 128`"
        )

    @pytest.mark.parametrize(
        ("most", "threshold"),
        [(65535, 32768), (59400, 32768), (4095, 2048), (255, 128), (100, 128)],
    )
    def test_the_threshold_to_say_is_half_of_what_the_values_reach(
        self, tmp_path: Path, most: int, threshold: int
    ) -> None:
        kind = np.uint16 if most > 255 else np.uint8
        values = np.linspace(0, most, 100).astype(kind).reshape(10, 10)
        said = str(refused(saved(tmp_path / "a.png", values)))
        assert f"`threshold: {threshold}`" in said

    def test_a_void_border_is_refused_with_the_value_to_ignore(self, tmp_path: Path) -> None:
        error = refused(saved(tmp_path / "a.png", np.array([[0, 255, 1]] * 2, np.uint8)))
        assert error.fault is PictureFault.MASK_VALUES
        assert "values 1 and 255 beside 0" in str(error)
        assert "say `ignore: 255` in classes.yaml" in str(error)

    def test_numbers_of_several_classes_are_not_taken_for_one(self, tmp_path: Path) -> None:
        error = refused(saved(tmp_path / "a.png", np.array([[0, 1, 2, 3]], np.uint8)))
        assert error.fault is PictureFault.MASK_VALUES
        assert "values 1, 2, 3 beside 0" in str(error)

    def test_the_reason_is_the_same_for_every_file_with_the_fault(self, tmp_path: Path) -> None:
        first = refused(saved(tmp_path / "a.png", np.arange(60, dtype=np.uint8)[None]))
        second = refused(saved(tmp_path / "b.png", np.arange(7, 99, dtype=np.uint8)[None]))
        assert first.reason == second.reason
        assert str(first) != str(second)

    def test_an_object_throughout_is_one(self, tmp_path: Path) -> None:
        assert decoded(saved(tmp_path / "a.png", SHAPE * 0 + 255)).facts.codes == {1: 8}


class TestThreshold:
    def test_values_from_the_threshold_on_are_object(self, tmp_path: Path) -> None:
        values = np.arange(256, dtype=np.uint8).reshape(16, 16)
        found = decoded(saved(tmp_path / "a.png", values), MaskMeaning(threshold=128))
        np.testing.assert_array_equal(found.codes, values >= 128)

    def test_ignored_values_come_before_the_threshold(self, tmp_path: Path) -> None:
        values = np.array([[0, 99, 127, 128, 200, 255]], np.uint8)
        meaning = MaskMeaning(ignored=(99, 255), threshold=128)
        found = decoded(saved(tmp_path / "a.png", values), meaning)
        assert found.codes.tolist() == [[0, 255, 0, 1, 1, 255]]

    def test_a_mask_of_zeros_and_ones_is_not_cut_to_nothing(self, tmp_path: Path) -> None:
        error = refused(saved(tmp_path / "a.png", SHAPE), MaskMeaning(threshold=128))
        assert "values 0 and 1, expected a mask that the threshold 128 can cut" in str(error)

    def test_sixteen_bits_need_a_threshold_of_sixteen_bits(self, tmp_path: Path) -> None:
        values = np.arange(100, dtype=np.uint16).reshape(10, 10) * 600
        path = saved(tmp_path / "a.png", values)
        assert "values up to 59400, expected at most 255" in str(
            refused(path, MaskMeaning(threshold=128))
        )
        found = decoded(path, MaskMeaning(threshold=32768))
        np.testing.assert_array_equal(found.codes, values >= 32768)

    def test_sixteen_bits_of_two_values_are_cut_by_any(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.png", SHAPE.astype(np.uint16) * 65535)
        np.testing.assert_array_equal(decoded(path, MaskMeaning(threshold=128)).codes, SHAPE)


class TestChannels:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_channels_that_agree_are_read_as_one(self, tmp_path: Path, mode: str) -> None:
        found = decoded(saved(tmp_path / "a.png", SHAPE * 255, mode))
        np.testing.assert_array_equal(found.codes, SHAPE)

    def test_colours_are_refused_with_the_command_that_reads_them(self, tmp_path: Path) -> None:
        error = refused(saved(tmp_path / "a.png", np.stack([SHAPE * 128, SHAPE, SHAPE], -1)))
        assert "mask of mode RGB with colours" in str(error)
        assert "`wsss data import` reads a list of colours (--colours)" in str(error)

    @pytest.mark.parametrize("soft", [0, 100])
    def test_a_mask_in_the_transparency_is_not_taken_for_an_object_throughout(
        self, tmp_path: Path, soft: int
    ) -> None:
        white, alpha = np.full_like(SHAPE, 255), np.where(SHAPE, 255, soft).astype(np.uint8)
        error = refused(saved(tmp_path / "a.png", np.stack([white] * 3 + [alpha], -1)))
        assert error.fault is PictureFault.TRANSPARENCY

    def test_a_black_mask_whose_object_is_what_is_opaque_is_not_taken_for_empty(
        self, tmp_path: Path
    ) -> None:
        black = np.zeros_like(SHAPE)
        error = refused(saved(tmp_path / "a.png", np.stack([black] * 3 + [SHAPE * 255], -1)))
        assert error.fault is PictureFault.TRANSPARENCY

    def test_a_mask_that_is_transparent_throughout_is_empty(self, tmp_path: Path) -> None:
        nothing = np.zeros_like(SHAPE)
        found = decoded(saved(tmp_path / "a.png", np.stack([nothing] * 4, -1)))
        np.testing.assert_array_equal(found.codes, nothing)

    def test_transparency_over_the_background_alone_says_nothing_more(self, tmp_path: Path) -> None:
        grey = SHAPE * 255
        found = decoded(saved(tmp_path / "a.png", np.stack([grey] * 4, -1)))
        np.testing.assert_array_equal(found.codes, SHAPE)

    def test_palettes_are_read_by_index_whatever_their_colours(self, tmp_path: Path) -> None:
        image = Image.fromarray(SHAPE * 3).convert("L")
        image.putpalette([255 - value // 3 for value in range(768)])
        assert image.mode == "P"
        assert decoded(saved(tmp_path / "a.png", image)).facts.stored == {0: 3, 3: 5}

    def test_the_coloured_palette_of_a_mask_is_no_mask_of_colours(self, tmp_path: Path) -> None:
        image = Image.fromarray(SHAPE)
        image.putpalette([0, 0, 0, 200, 10, 10])
        np.testing.assert_array_equal(decoded(saved(tmp_path / "a.png", image)).codes, SHAPE)


class TestFormats:
    @pytest.mark.parametrize("suffix", [".tif", ".bmp", ".png"])
    def test_other_formats_of_masks_are_read(self, tmp_path: Path, suffix: str) -> None:
        found = decoded(saved(tmp_path / f"a{suffix}", SHAPE * 255))
        np.testing.assert_array_equal(found.codes, SHAPE)

    def test_a_lossless_webp_is_read(self, tmp_path: Path) -> None:
        Image.fromarray(np.stack([SHAPE * 255] * 3, -1)).save(tmp_path / "a.webp", lossless=True)
        np.testing.assert_array_equal(decoded(tmp_path / "a.webp").codes, SHAPE)

    @pytest.mark.parametrize("kind", [np.uint8, np.int64, np.bool_, np.uint16])
    def test_an_array_of_whole_numbers_is_read(self, tmp_path: Path, kind: type) -> None:
        np.save(tmp_path / "a.npy", SHAPE.astype(kind))
        np.testing.assert_array_equal(decoded(tmp_path / "a.npy").codes, SHAPE)

    @pytest.mark.parametrize(
        "values", [SHAPE.astype(np.float32), SHAPE[None], np.array([["a"]]), SHAPE[:0]]
    )
    def test_another_array_is_refused(self, tmp_path: Path, values: np.ndarray) -> None:
        np.save(tmp_path / "a.npy", values)
        assert "expected an array of whole numbers [height, width]" in str(
            refused(tmp_path / "a.npy")
        )

    def test_an_array_of_objects_is_refused_and_not_unpickled(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
        assert refused(tmp_path / "a.npy").fault is PictureFault.UNREADABLE

    def test_a_jpeg_mask_is_refused_for_its_grey_edges_and_read_with_a_threshold(
        self, tmp_path: Path
    ) -> None:
        disc = np.hypot(*(np.indices((32, 32)) - 15.5)) < 11
        path = saved(tmp_path / "a.png", disc)
        Image.fromarray(disc.astype(np.uint8) * 255).save(path, "JPEG", quality=60)
        assert refused(path).fault is PictureFault.EDGES
        found = decoded(path, MaskMeaning(threshold=128))
        np.testing.assert_array_equal(found.codes, disc)

    def test_only_the_first_page_is_read_and_all_are_counted(self, tmp_path: Path) -> None:
        pages = [Image.fromarray(SHAPE * value) for value in (255, 0, 9)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        found = decoded(tmp_path / "a.tif")
        np.testing.assert_array_equal(found.codes, SHAPE)
        assert found.facts.pages == 3


class TestListedValues:
    def test_zero_255_and_1000_may_be_classes(self, tmp_path: Path) -> None:
        values = np.array([[0, 255, 1000, 11]], np.uint16)
        meaning = MaskMeaning((0, 255, 1000), ignored=(11,))
        found = decoded(saved(tmp_path / "a.png", values), meaning)
        assert found.codes.tolist() == [[1, 2, 3, 255]]
        assert found.facts.codes == {1: 1, 2: 1, 3: 1, 255: 1}
        assert (found.facts.objects, found.facts.ignored) == (3, 1)

    def test_a_mask_that_is_ignored_throughout_is_refused(self, tmp_path: Path) -> None:
        error = refused(saved(tmp_path / "a.png", SHAPE * 0 + 255), MaskMeaning((1,), (255,)))
        assert "value 255, every pixel is ignored, so that nothing can be scored" in str(error)

    def test_many_unlisted_values_are_called_grey_edges(self, tmp_path: Path) -> None:
        error = refused(
            saved(tmp_path / "a.png", np.arange(99, dtype=np.uint8)[None]), MaskMeaning((127,))
        )
        assert error.fault is PictureFault.EDGES
        assert "mask value 1 and 97 more, expected one of 0, 127" in str(error)
        assert "`threshold: 128` cuts the masks of a single class" in str(error)


WriteClasses = Callable[[str], Path]


@pytest.fixture
def classes(root: Path) -> WriteClasses:
    """The data folder of one class, with that text as its classes.yaml."""

    def write(text: str, name: str = "classes.yaml") -> Path:
        (root / name).write_text(text)
        return root

    return write


class TestClassesFile:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ignore: 255\n", [0, 1, 255]),
            ("classes: {1: smoke}\n", [0, 1, 255]),
            ("classes: {1: smoke}\nignore: [255]\n", [0, 1, 255]),
            ("classes: {255: smoke}\nignore: 1\n", [0, 255, 1]),
            ("classes: {1: smoke}\nignore: [0, 255]\n", [255, 1, 255]),
            ("classes: {0: smoke}\nignore: [1, 255]\n", [1, 255, 255]),
            ("ignore: 1\nthreshold: 128\n", [0, 255, 1]),
        ],
    )
    def test_values_mean_what_the_file_says(
        self, classes: WriteClasses, text: str, expected: list[int]
    ) -> None:
        root = classes(text)
        values = np.tile(np.array([0, 1, 255], np.uint8), (8, 1)).repeat([4, 2, 2], axis=1)
        for split in ("tune", "test"):
            for stem in ("p", "q"):
                saved(root / f"{split}/masks/{stem}.png", values)
        test = FolderSource(root).read("test", 4)
        assert test.classes == ("smoke",)
        assert test.mask(1)[0, [0, 4, 6]].tolist() == expected

    def test_the_ending_yml_is_read_too(self, classes: WriteClasses) -> None:
        source = FolderSource(classes("classes: {255: smoke}\n", "classes.yml"))
        assert source.mask_values == (255,)
        told = [found.describe() for found in source.examine().findings]
        assert not [line for line in told if "classes.yml" in line]

    def test_both_endings_are_refused(self, classes: WriteClasses) -> None:
        classes("classes: {255: smoke}\n", "classes.yml")
        with pytest.raises(InputError, match=r"classes\.yml: stands beside classes\.yaml"):
            FolderSource(classes("classes: {255: smoke}\n"))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("threshold: 0\n", "threshold 0, expected a whole number from 1 to 65535"),
            ("threshold: half\n", "threshold 'half', expected a whole number"),
            ("threshold: true\n", "threshold True, expected a whole number"),
            ("ignore: 70000\n", "ignore 70000, expected a mask value from 0 to 65535"),
            ("ignore: [1, x]\n", "ignore 'x', expected a mask value"),
            ("classes: {1: smoke}\nignore: 1\n", "mask value 1 is class 'smoke' and ignored"),
            ("classes: {1: smoke}\nthreshold: 128\n", "'smoke' has the mask value 1, below the"),
            ("classes: {1: a, 2: b}\nthreshold: 128\n", "threshold 128 for 2 classes, expected a"),
            ("ignored: 255\n", "no mapping of mask values to class names"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(
        self, classes: WriteClasses, text: str, said: str
    ) -> None:
        with pytest.raises(InputError) as caught:
            FolderSource(classes(text))
        assert said in str(caught.value)
        assert str(caught.value).count("\n") == 0

    def test_a_threshold_of_the_study_is_that_of_the_folder(self, root: Path) -> None:
        before = FolderSource(root, threshold=128)
        (root / "classes.yaml").write_text("threshold: 128\n")
        after = FolderSource(root)
        for split in ("train", "tune", "test"):
            assert before.fingerprint(split) == after.fingerprint(split)
        with pytest.raises(InputError, match=r"threshold 100, and classes\.yaml says 128"):
            FolderSource(root, threshold=100)

    def test_a_threshold_changes_the_fingerprints_of_the_masked_splits_alone(
        self, root: Path
    ) -> None:
        splits = ("train", "tune", "test")
        plain, cut = FolderSource(root), FolderSource(root, threshold=128)
        changed = [split for split in splits if plain.fingerprint(split) != cut.fingerprint(split)]
        assert changed == ["tune", "test"]

    def test_masks_whose_objects_are_all_ignored_are_not_called_empty(
        self, classes: WriteClasses
    ) -> None:
        root = classes("classes: {1: smoke}\n")
        with pytest.raises(InputError) as caught:
            FolderSource(root).read("tune", 4)
        assert str(caught.value) == (
            f"{root}/tune/masks: all objects have the value 255, which is ignored (2 of 2 masks), "
            "expected at least one with smoke; list it in classes.yaml if it is a class, e.g. "
            "`classes: {255: smoke}`"
        )
