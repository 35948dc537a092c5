"""Masks as a folder of Pascal VOC, with the list of colours that CVAT reads.

SegmentationClass/<image>.png     palette masks, which the caller copies
Annotations/<image>.xml           boxes of the parts, counted from 1 as VOC does
ImageSets/Segmentation/default.txt
labelmap.txt                      name:red,green,blue:: for each class
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree

from wsss_core.data.annotations.parts import AnnotatedImage
from wsss_core.data.formats import IGNORE_NAME
from wsss_core.data.image_set import IGNORED

VOC_LIST = "ImageSets/Segmentation/default.txt"
VOC_MASKS = "SegmentationClass"
VOC_BOXES = "Annotations"
LABEL_MAP = "labelmap.txt"


def voc_name(image: str) -> str:
    """Return the name of an image in VOC's lists, which is its path without the ending.

    >>> voc_name("cam 1/a.b.jpg")
    'cam 1/a.b'
    """
    return PurePosixPath(image).with_suffix("").as_posix()


def voc_annotation(image: AnnotatedImage, classes: Sequence[str]) -> bytes:
    """Return the XML of an image: its size, and a box with the score of each part.

    Args:
        image: the image and its parts; undecided ones are left out, as VOC does.
        classes: class k has the code k + 1.

    """
    path = PurePosixPath(image.name)
    root = ElementTree.Element("annotation")
    height, width = image.shape
    folder = path.parent.as_posix()
    _add(root, "folder", "" if folder == "." else folder)
    _add(root, "filename", path.name)
    _add_all(_add(root, "source"), {"database": "wsss-studies", "annotation": "wsss masks"})
    _add_all(_add(root, "size"), {"width": width, "height": height, "depth": 3})
    _add(root, "segmented", 1)
    for part in image.parts:
        if part.code == IGNORED:
            continue
        one = _add(root, "object")
        _add(one, "name", classes[part.code - 1])
        _add_all(one, {"pose": "Unspecified", "truncated": 0, "difficult": 0})
        left, top, across, down = part.box
        corners = {"xmin": left + 1, "ymin": top + 1, "xmax": left + across, "ymax": top + down}
        _add_all(_add(one, "bndbox"), corners)
        if part.score is not None:
            attribute = _add(_add(one, "attributes"), "attribute")
            _add_all(attribute, {"name": "score", "value": part.score})
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8") + b"\n"


def label_map(classes: Sequence[str], palette: Sequence[int], *, undecided: bool) -> bytes:
    """Return the list of colours: the background, the classes, and undecided pixels if there are.

    Args:
        classes: class k has the code k + 1.
        palette: red, green and blue of each code.
        undecided: whether masks have undecided pixels.

    """
    named = {0: "background", **dict(enumerate(classes, 1))}
    if undecided:
        named[IGNORED] = IGNORE_NAME
    lines = ["# label:color_rgb:parts:actions"]
    for code, name in named.items():
        colour = ",".join(str(value) for value in palette[3 * code : 3 * code + 3])
        lines.append(f"{name}:{colour}::")
    return "\n".join([*lines, ""]).encode()


def _add(parent: ElementTree.Element, name: str, text: object = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = None if text is None else str(text)
    return child


def _add_all(parent: ElementTree.Element, texts: Mapping[str, object]) -> None:
    for name, text in texts.items():
        _add(parent, name, text)
