"""Studies with frozen encoders and teachers that are asked once."""

import copy
import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from studies.planning.features import MapView, features_key, teacher_maps
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages import cams, training
from studies.stages.features import attaching, making
from studies.store.artifacts import ArtifactStore
from studies.store.leases import Leases
from wsss_core.errors import InputError
from wsss_core.transfer import TeacherStudent

TAUGHT = {"paradigm": "teacher-student", "teacher": "cnn", "metric": "cosine", "level": "global"}


def frozen_study(tiny: dict[str, Any], *configurations: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with a ViT that trains its head alone, and one that trains a neck too."""
    vit = tiny["backbones"]["vit"]
    tiny["backbones"]["head"] = {**vit, "label": "head", "train": "head"}
    tiny["backbones"]["neck"] = {**vit, "label": "neck", "train": "neck", "neck": "mlp"}
    tiny["training"] |= {"epochs": 3, "flip": True}
    tiny["configurations"] = list(configurations)
    return tiny


def single(student: str) -> dict[str, Any]:
    return {"paradigm": "single", "student": student}


@pytest.fixture(scope="module")
def ran(shared_tiny, run, tmp_path_factory):
    """Head and neck, alone and taught, and a whole ViT taught by the frozen one."""
    study = frozen_study(
        copy.deepcopy(shared_tiny),
        single("head"),
        {**TAUGHT, "student": "neck"},
        {**TAUGHT, "student": "head", "representation": "activation_map"},
        {**TAUGHT, "student": "vit", "teacher": "neck"},
        {**TAUGHT, "student": "vit", "teacher": "neck", "paradigm": "co-training"},
    )
    return run(study, tmp_path_factory.mktemp("frozen"))


def features_of(store: ArtifactStore) -> dict[str, dict[str, Any]]:
    return {
        key: json.loads((store.path("features", key) / "manifest.json").read_text())
        for key in store.finished("features")
    }


@pytest.mark.ci
def test_every_trial_ends_and_each_view_is_made_once(ran):
    assert ran.result.remaining == 0
    assert ran.result.failed == {}
    of_encoders = [m for m in features_of(ran.store).values() if m.get("parent") is None]
    # One encoder under one seed: both views of the training images, one of tune and of test.
    assert sorted(m["what"] for m in of_encoders) == [
        "vit_tiny_patch16_224, test, 32 px",
        "vit_tiny_patch16_224, train, 32 px",
        "vit_tiny_patch16_224, train, 32 px, mirrored",
        "vit_tiny_patch16_224, tune, 32 px",
    ]
    per_image = 24 * 4 * 4 * 2  # channels, grid, bytes of float16
    sizes = {m["what"].split(", ")[1]: sum(m["bytes"].values()) for m in of_encoders}
    assert sizes["train"] == 24 * per_image + 128


def test_the_encoder_comes_out_as_it_went_in(ran):
    job = next(j for j in ran.plan.jobs.values() if j.name == "head alone")
    kept = load_file(ran.store.fetch("train", job.key) / "student.safetensors")
    before = training.initial_network(job, "student", "none").state_dict()
    changed = {name for name, value in kept.items() if (value != before[name].numpy()).any()}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.ci
def test_another_study_and_a_second_run_make_no_features_again(ran, tiny, run, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(ran.store.root, store)
    before = features_of(ArtifactStore(store))
    other = frozen_study(tiny, single("neck"))
    other["study"] = "other"
    other["training"]["learning_rate"] = 3e-3
    again = run(other, tmp_path, store)
    assert again.result.remaining == 0
    assert features_of(ArtifactStore(store)) == before


def test_a_corrupt_cache_is_made_again(ran, tiny, run, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(ran.store.root, store)
    job = next(j for j in ran.plan.jobs.values() if j.name == "head alone")
    key = features_key(job, "student", "train", MapView(32))
    file = ArtifactStore(store).path("features", key) / "features.npy"
    good = file.read_bytes()
    file.write_bytes(good[:-40] + b"\0" * 40)
    study = frozen_study(tiny, single("neck"))
    study["training"]["learning_rate"] = 3e-3
    again = run(study, tmp_path, store)
    assert again.result.failed == {}
    assert file.read_bytes() == good
    assert key in ArtifactStore(store).corrupt("features")


@pytest.mark.ci
def test_what_a_killed_maker_left_is_made_again(ran, tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path / "store")
    store.make()
    made = []

    def make(folder):
        made.append(folder)
        (folder / "features.npy").write_bytes(b"whole")
        if len(made) == 1:
            raise KeyboardInterrupt  # as a killed process ends: the build is not published

    artifact = making.FeatureArtifact("0" * 20, {"what": "maps"}, make)
    with pytest.raises(KeyboardInterrupt):
        making.make_missing(store, [artifact])
    assert not store.has("features", artifact.key)
    making.make_missing(store, [artifact])
    making.make_missing(store, [artifact])
    assert len(made) == 2
    assert (store.fetch("features", artifact.key) / "features.npy").read_bytes() == b"whole"


def test_a_worker_waits_for_what_another_makes(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path / "store")
    store.make()
    keys = ["a" * 20, "b" * 20]
    other = Leases(store.folder).take("features", keys[0])
    assert other is not None
    order = []

    def finish(_: float) -> None:  # meanwhile the other ends
        order.append("waited")
        with store.build("features", keys[0], {}) as folder:
            (folder / "features.npy").write_bytes(b"theirs")
        other.release()

    monkeypatch.setattr(making.time, "sleep", finish)

    def make(folder):
        order.append("made")
        (folder / "features.npy").write_bytes(b"mine")

    making.make_missing(store, [making.FeatureArtifact(key, {}, make) for key in keys])
    assert order == ["made", "waited"]
    assert (store.fetch("features", keys[0]) / "features.npy").read_bytes() == b"theirs"


@pytest.mark.ci
def test_other_weights_have_another_key(ran):
    job = next(j for j in ran.plan.jobs.values() if j.name == "head alone")
    key = features_key(job, "student", "train", MapView(32))
    for change in ({"weights": "another digest"}, {"stage": 1}, {"mean": [0.1, 0.2, 0.3]}):
        student = {**job.settings["student"], **change}
        other = copy.copy(job)
        object.__setattr__(other, "settings", {**job.settings, "student": student})
        assert features_key(other, "student", "train", MapView(32)) != key
    for same in ({"train": "neck"}, {"neck": {"kind": "conv"}}, {"head": "linear"}):
        student = {**job.settings["student"], **same}
        other = copy.copy(job)
        object.__setattr__(other, "settings", {**job.settings, "student": student})
        assert features_key(other, "student", "train", MapView(32)) == key


def taught_student(study: dict[str, Any], run, folder) -> dict[str, np.ndarray]:
    found = run(study, folder)
    assert found.result.failed == {}
    job = next(j for j in found.plan.jobs.values() if j.paradigm == "teacher-student")
    return load_file(found.store.fetch("train", job.key) / "student.safetensors")


@pytest.mark.ci
@pytest.mark.parametrize("teacher", ["CNN", "CNN with PCM", "ViT"])
def test_a_teacher_asked_once_teaches_the_same_to_the_bit(teacher, taught, run, tmp_path):
    taught["training"] |= {"epochs": 3, "flip": True}
    taught["backbones"]["cnn"]["head"] = "pcm" if teacher == "CNN with PCM" else "linear"
    if teacher == "ViT":
        taught["configurations"][0] |= {"student": "cnn", "teacher": "vit"}
    asked = copy.deepcopy(taught) | {"caches": {"teachers": "none"}}
    plan = make_plan(Study.model_validate(taught))
    assert [*plan.jobs] == [*make_plan(Study.model_validate(asked)).jobs]
    job = next(j for j in plan.jobs.values() if j.paradigm == "teacher-student")
    assert teacher_maps(job) is not None
    one, other = (
        taught_student(study, run, tmp_path / name)
        for name, study in (("once", taught), ("asked", asked))
    )
    assert (tmp_path / "once/store/features").exists()
    assert not (tmp_path / "asked/store/features").exists()
    assert {n for n in one if not np.array_equal(one[n], other[n])} == set()


@pytest.mark.ci
def test_a_rounded_teacher_teaches_a_little_differently_under_another_key(taught, run, tmp_path):
    taught["training"] |= {"epochs": 3, "flip": True}
    rounded = copy.deepcopy(taught) | {"caches": {"teachers": "float16"}}
    keys = [[*make_plan(Study.model_validate(s)).jobs] for s in (taught, rounded)]
    assert keys[0][0] == keys[1][0]  # the teacher itself
    assert keys[0][1] != keys[1][1]
    one = taught_student(taught, run, tmp_path / "whole")
    other = taught_student(rounded, run, tmp_path / "rounded")
    differing = [n for n in one if not np.array_equal(one[n], other[n])]
    assert differing
    for name in differing:
        np.testing.assert_allclose(one[name], other[name], atol=0.02)


def test_a_teacher_that_would_be_asked_no_oftener_is_asked_itself(taught):
    taught["training"] |= {"epochs": 2, "flip": True}
    job = [*make_plan(Study.model_validate(taught)).jobs.values()][1]
    assert teacher_maps(job) is None
    taught["training"]["flip"] = False
    job = [*make_plan(Study.model_validate(taught)).jobs.values()][1]
    assert teacher_maps(job) is not None


@pytest.fixture
def broken_off(monkeypatch) -> Iterator[None]:
    """Training ends after its second epoch as if the process were killed."""
    train = training.train

    def until(*args, on_epoch, **kwargs):
        def killed(record):
            on_epoch(record)
            if record.epoch == 1:
                raise KeyboardInterrupt

        return train(*args, on_epoch=killed, **kwargs)

    monkeypatch.setattr(training, "train", until)
    yield
    monkeypatch.undo()


@pytest.mark.ci
def test_training_on_features_goes_on_to_the_bit(tiny, run, tmp_path, broken_off, monkeypatch):
    study = frozen_study(tiny, {**TAUGHT, "student": "neck", "teacher": "head"})
    study["backbones"]["head"]["training"] = {"epochs": 1}
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "one")
    kept = next((tmp_path / "one/store/unfinished").glob("train-*/checkpoint.pt"))
    monkeypatch.undo()
    encoder = 4 * sum(
        p.numel()
        for p in training.initial_network(
            next(iter(make_plan(Study.model_validate(study)).jobs.values())), "student", "none"
        ).encoder.parameters()
    )
    assert kept.stat().st_size < encoder
    resumed = taught_student(study, run, tmp_path / "one")
    whole = taught_student(study, run, tmp_path / "other")
    assert {n for n in whole if not np.array_equal(whole[n], resumed[n])} == set()


@pytest.mark.ci
def test_training_and_cams_of_features_decode_no_image(ran, tiny, tmp_path, monkeypatch):
    shutil.copytree(ran.store.root, tmp_path / "store")
    store = ArtifactStore(tmp_path / "store")
    for module in ("augmentation.sample", "cams.multi_scale", "features.making"):
        monkeypatch.setattr(f"wsss_core.{module}.to_input", None)
    # Scenes have images without an object or context, which are other images.
    monkeypatch.setattr(cams, "_own_class_logits", lambda *_: np.zeros((8, 1), np.float32))
    study = frozen_study(tiny, single("head"), single("neck"))
    study["training"]["learning_rate"] = 3e-3
    for job in make_plan(Study.model_validate(study)).jobs.values():
        images = job.images.load(store, "train")
        assert training.train_job(job, images, store).error is None
        found = cams.network_maps(
            job, "student", "test", job.images.load(store, "test"), store, "cpu"
        )
        assert found.maps.shape == (8, 1, 4, 4)


BAD = [
    ({"train": "heads"}, "expected all, head, neck or"),
    ({"train": {"last": 0}}, "expected all, head, neck or"),
    ({"train": "neck"}, "expected a neck, one of conv1x1"),
    ({"train": "head", "neck": "mlp"}, "expected train neck"),
    ({"neck": "mpl"}, "nearest: 'mlp'"),
    ({"neck": {"kind": "mlp", "channels": 2}}, "expected 4 or more"),
    ({"train": "head", "model": "own:net", "options": {}}, "for timm's models"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_parts_that_cannot_learn_are_errors_that_say_what_was_expected(tiny, change, said):
    tiny["backbones"]["vit"] |= change
    with pytest.raises(ValueError, match=said):
        Study.model_validate(tiny)


def test_a_frozen_pcm_is_refused(tiny):
    tiny["backbones"]["cnn"] |= {"head": "pcm", "train": "head"}
    with pytest.raises(ValueError, match="head pcm looks at the image"):
        Study.model_validate(tiny)


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({**TAUGHT, "student": "head"}, "which moves nothing; expected train: neck"),
        ({**TAUGHT, "student": "neck", "layers": [{"student": 0}]}, "lies in a frozen encoder"),
        (
            {**TAUGHT, "student": "vit", "teacher": "head", "paradigm": "co-training",
             "gradient": "teacher"},
            "which moves nothing",
        ),
    ],
)  # fmt: skip
def test_an_alignment_that_moves_nothing_is_refused_in_a_line(tiny, configuration, said):
    with pytest.raises(InputError, match=said):
        make_plan(Study.model_validate(frozen_study(tiny, configuration)))


def test_the_whole_network_has_the_key_that_it_always_had(tiny):
    keys = [*make_plan(Study.model_validate(tiny)).jobs]
    tiny["backbones"]["vit"]["train"] = "all"
    assert [*make_plan(Study.model_validate(tiny)).jobs] == keys
    tiny["backbones"]["vit"]["train"] = {"last": 1}
    assert [*make_plan(Study.model_validate(tiny)).jobs] != keys


def test_views_that_are_drawn_continuously_are_not_kept(tiny):
    study = frozen_study(tiny, {**TAUGHT, "student": "neck"})
    job = [*make_plan(Study.model_validate(study)).jobs.values()][1]
    job.settings["training"]["rescale"] = [1.0, 2.0]
    assert teacher_maps(job) is None
    paradigm = TeacherStudent.__new__(TeacherStudent)
    attaching.attach_caches(paradigm, job, np.zeros(0), None, "cpu")  # type: ignore[arg-type]
    assert paradigm.caches == ()
