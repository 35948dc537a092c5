"""Procedural smoke scenes, whose objects and contexts are known exactly."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.scenes.scene import Scene, SceneSettings, render_scene
    from wsss_core.data.scenes.sheet import contact_sheet
    from wsss_core.data.scenes.source import SceneSource, write_scenes

__all__ = ["Scene", "SceneSettings", "SceneSource", "contact_sheet", "render_scene", "write_scenes"]

__getattr__ = lazy_exports(__name__, __file__)
