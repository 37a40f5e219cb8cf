"""Anyone's own recordings and maps, written and checked as the benchmarks that they become."""

from __future__ import annotations

from pathlib import Path

from scaling.alignment.suites.registry import FILE, check_benchmark_data
from scaling.data.recordings.recording import PlainRecording, write_file
from scaling.data.recordings.spatial_maps import PlainMaps, write_maps_file


def write_recording(path: Path | str, recording: PlainRecording) -> None:
    """Write a recording, then read it back as a study does, images and all, so that what is wrong is said at once.

    Args:
        path: .nc or .npz; replaced if it is there.

    Raises:
        StudyError: as `write_file`, and what scoring would refuse, see `check_benchmark_data`; the file stays for
            inspection.
    """
    write_file(path, recording)
    check_benchmark_data([f"{FILE}{path}"], None)


def write_maps(path: Path | str, maps: PlainMaps) -> None:
    """Write maps to .nc or .npz, then read them back as a study does; as `write_recording`."""
    write_maps_file(path, maps)
    check_benchmark_data([f"{FILE}{path}"], None)
