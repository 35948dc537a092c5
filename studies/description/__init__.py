"""What `wsss data describe` shows: tables, sentences and a page of a data set."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.description.opening import describe_images
    from studies.description.pages import write_description
    from studies.description.records import description_record
    from studies.description.texts import description_text

__all__ = ["describe_images", "description_record", "description_text", "write_description"]

__getattr__ = lazy_exports(__name__, __file__)
