"""The segmentation runs of a plan as the report reads them: every cell to expect."""

from typing import Any

from studies.planning.plan import Plan
from studies.planning.segments import SegmentJob
from studies.spec.segment import Fit
from studies.store import canonical
from wsss_core.plugins import is_plugin


def segment_plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return the rows of the ledger's table `segments`: each entry under each seed."""
    study = plan.study
    return [
        {
            "study": study.study,
            "entry": scoring.entry,
            "position": scoring.position,
            "seed": job.seed,
            "fold": job.images.fold,
            "dial_value": job.sweep_value,
            "segment_key": job.key,
            "scores_key": scoring.scores_key,
            "model": model_name(job),
            "steps": Fit.model_validate(job.settings["training"]).settings().steps,
            "overlap": scoring.overlap,
            "prediction": canonical(scoring.prediction),
            "masks": None if (masks := job.settings["labels"]["masks"]) is None else str(masks),
            "configuration": scoring.configuration,
            "refinement": None if job.maps is None else scoring.chain,
            "rule": job.settings["labels"].get("pseudo", {}).get("rule"),
            "cam_scores_key": None if job.maps is None else job.maps.scores_key,
            "settings": canonical(job.settings),
            "artifacts": canonical(job.artifacts),
            "published": None if scoring.published is None else scoring.published / 100,
            "published_from": None if scoring.published is None else study.published_from,
        }
        for job in plan.segments
        for scoring in job.scorings
    ]


def model_name(job: SegmentJob) -> str:
    """Return the name of a segmenter in tables: its decoder, its encoder, where weights are from.

    A result depends on the pretraining as much as on the decoder, so a table names both.
    """
    model = job.settings["model"]
    if is_plugin(model["model"]):
        return str(model["model"])
    over = f" over {model['encoder']}" if model["encoder"] else ""
    weights = {"none": "random weights", "pretrained": "pretrained"}
    return f"{model['model']}{over}, {weights.get(model['weights'], 'weights from a file')}"
