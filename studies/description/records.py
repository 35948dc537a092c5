"""The description as plain values, for JSON."""

from typing import Any

from wsss_core.data.description import ClassCount, Cooccurrence, DataDescription


def description_record(described: DataDescription) -> dict[str, Any]:
    """Return the tables, traps and notes as plain values; `docs/commands.md` names the keys."""
    return {
        "data": described.name,
        "classes": list(described.classes),
        "counts": [_count(row) for row in described.counts],
        "cooccurrences": [_cooccurrence(row) for row in described.cooccurrences],
        "traps": [
            {
                "cooccurrence": described.cooccurrences.index(trap.cooccurrence),
                "said": trap.sentence,
            }
            for trap in described.traps
        ],
        "notes": list(described.notes),
    }


def _count(row: ClassCount) -> dict[str, Any]:
    share = row.share
    return {
        "source": row.source,
        "split": row.split,
        "label_type": str(row.label_type),
        "class": row.class_name,
        "images": row.images,
        "published": [{"images": count.images, "by": count.by} for count in row.published],
        "object_share": None
        if share is None
        else {"median": share.median, "low": share.low, "high": share.high},
        "smallest": list(row.smallest),
        "largest": list(row.largest),
        "groups": row.groups,
        "cameras": row.cameras,
    }


def _cooccurrence(row: Cooccurrence) -> dict[str, Any]:
    return {
        "class": row.class_name,
        "kind": str(row.kind),
        "companion": row.companion,
        "images_of": row.scope,
        "lift": row.lift,
        "low": row.low,
        "high": row.high,
        "share_with": row.share_with,
        "share_without": row.share_without,
        "balanced_accuracy": row.balanced_accuracy,
        "both": row.both,
        "with_companion": row.with_companion,
        "with_class": row.with_class,
        "images": row.images,
        "groups_with": row.groups_with,
        "groups": row.groups,
        "strong": row.strong,
        "by_chance": row.by_chance,
        "few": row.few,
        "same_images": list(row.same_images),
        "other_images": list(row.other_images),
    }
