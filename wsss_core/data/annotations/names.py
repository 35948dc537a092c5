"""The words of annotation files, without anything that has to be loaded."""

from enum import StrEnum


class AnnotationFormat(StrEnum):
    """A format in which people's tools take masks in, and give them back."""

    COCO = "coco"  # run lengths, exact
    COCO_POLYGONS = "coco-polygons"  # polygons, for tools that know no run lengths
    VOC = "voc"  # palette masks, boxes and lists of Pascal VOC
