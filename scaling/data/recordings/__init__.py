"""Stimuli, and recordings of brains and behavior. To write your own: PlainRecording, write_recording (or maps')."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling.data.recordings.recording import PlainRecording, write_recording
    from scaling.data.recordings.spatial_maps import PlainMaps, write_maps

_HOMES = {
    "PlainMaps": "scaling.data.recordings.spatial_maps",
    "PlainRecording": "scaling.data.recordings.recording",
    "write_maps": "scaling.data.recordings.spatial_maps",
    "write_recording": "scaling.data.recordings.recording",
}
__all__ = ["PlainMaps", "PlainRecording", "write_maps", "write_recording"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: most that reads a recording needs no writer."""
    if name not in _HOMES:
        raise AttributeError(f"module 'scaling.data.recordings' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
