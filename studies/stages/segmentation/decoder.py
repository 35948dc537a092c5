"""The decoder of a single-stage training run as the segmenter of a segmentation run.

It was trained with the classifier, so nothing is trained here: its weights are put together with
those of the encoder in a file of `save_segmenter`.
"""

from dataclasses import replace

from studies.planning import SegmentJob
from studies.stages.handover import JobStatus
from studies.stages.segmentation.training import SEGMENTER, SegmentOutcome
from studies.stages.single_stage import trained_with
from studies.stages.training import TrainingOutcome, load_network
from studies.store import ArtifactStore
from wsss_core.segmentation import FitRecord, save_segmenter
from wsss_core.training import TrainingSettings


def keep_decoder(job: SegmentJob, store: ArtifactStore) -> SegmentOutcome:
    """Bring the decoder that a run's parent has trained to the store, unless it is there.

    Args:
        job: the segmentation run of a single-stage configuration.
        store: holds what the parent has trained.

    """
    if store.has("segment", job.key):
        return SegmentOutcome.read(store, job.key)
    assert job.maps is not None
    training = replace(job.maps.training, trials=())
    if not store.has("train", training.key):
        raise RuntimeError("its network is not trained: that run failed")
    parent = TrainingOutcome.read(store, training.key)
    steps = TrainingSettings.from_config(**training.settings["training"]).steps(parent.images)
    history = [
        FitRecord(
            steps,
            parent.history[-1].loss,
            sum(epoch.seconds for epoch in parent.history),
            parent.micro_batch,
        )
    ][: len(parent.history)]
    failed = parent.status is not JobStatus.OK
    outcome = SegmentOutcome(
        status=parent.status,
        error=f"its training collapsed: {parent.error}" if failed else None,
        history=history,
        parameters=parent.parameters,
        images=parent.images,
        given={name: v for name, v in parent.given.items() if name != "random_parts"},
    )
    about = {"settings": job.settings, "parent": job.parent}
    with store.build("segment", job.key, about) as folder:
        if not failed:
            network = load_network(store, training, "student")
            with store.reading("train", training.key) as trained:
                save_segmenter(trained_with(training, network, trained), folder / SEGMENTER)
        outcome.write(folder)
    return outcome
