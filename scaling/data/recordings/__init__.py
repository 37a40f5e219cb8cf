"""Stimuli, and recordings of brains and behavior. To write your own: PlainRecording, write_recording (or maps')."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling.data.recordings.recording import PlainRecording, read_header, read_recording
    from scaling.data.recordings.spatial_maps import PlainMaps, read_maps

_HOMES = {
    "PlainMaps": "scaling.data.recordings.spatial_maps",
    "PlainRecording": "scaling.data.recordings.recording",
    "read_header": "scaling.data.recordings.recording",
    "read_maps": "scaling.data.recordings.spatial_maps",
    "read_recording": "scaling.data.recordings.recording",
    # The writers stand with the benchmarks, whose needs they check; found by name, so that no reader imports them.
    "write_maps": "scaling.alignment.suites.writing",
    "write_recording": "scaling.alignment.suites.writing",
}
__all__ = ["PlainMaps", "PlainRecording", "read_header", "read_maps", "read_recording", "write_maps", "write_recording"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: most that reads a recording needs no writer."""
    if name not in _HOMES:
        raise AttributeError(f"module 'scaling.data.recordings' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
