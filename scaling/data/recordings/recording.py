"""Anyone's own recordings as one file and the images that were shown.

The file is NetCDF4 (.nc; NetCDF3 is read too) or NumPy (.npz, nothing pickled) with these names; the images are a
folder or a zip:

- `responses` (repetition, stimulus, neuroid): firing rates or the like, NaN where a repetition is missing.
- `filename` (stimulus): the image's name below `images`. `stimulus_id` (stimulus): distinct; default the file names.
- `label` (stimulus): the category that cross-validation is stratified by; optional.
- `region` (neuroid): V1, IT, EVC, LOC, FFA or any other name. `neuroid_id` (neuroid): default 0, 1, ….
- `subject` (neuroid): whose; scores are then kept by subject, and their mean is taken. `split` (stimulus): train or
  test, the same for everyone. `group` (stimulus): what is never torn apart, such as the movie of a frame. `ceiling`
  (neuroid): √reliability of the scored responses; default by halves of the repetitions. All optional.
- attributes `name`, `degrees` (visual angle of the images' width), `images` (folder or zip, relative to the file;
  default beside it), `metric` (how it is scored; optional), `incomplete` (`drop` leaves out neuroids that lack a
  response to some stimulus, and counts them; by default they are refused), `source` (optional).

A study names it among its benchmarks as `file:PATH`, and so does `scaling score --benchmark file:PATH`; each region is
the benchmark 'name.region'. On a cluster the images have to be readable at the same path on every node.

Example:

    import numpy as np
    from scaling.data.recordings import PlainRecording, read_recording, write_recording

    responses = np.random.default_rng(0).poisson(5.0, size=(3, 80, 6)).astype(float)
    responses[2, 0] = np.nan                            # the third repetition of the first stimulus is missing
    recording = PlainRecording(
        name="mine2026",
        responses=responses,                            # repetitions × stimuli × neuroids
        filenames=[f"{i}.png" for i in range(80)],      # in the folder "images"
        regions=["V4"] * 2 + ["IT"] * 4,                # one a neuroid
        degrees=8.0,                                    # the images' width, in degrees of visual angle
        images="images",
        subjects=["N"] * 3 + ["F"] * 3,                 # one a neuroid; scores are kept by subject
        splits=["train"] * 60 + ["test"] * 20,          # one a stimulus: what fits the mapping, what is scored
        groups=[f"movie{i // 10}" for i in range(80)],  # frames of a movie stay on one side
    )
    write_recording("mine2026.nc", recording)           # or .npz
    stimuli, assemblies = read_recording("mine2026.nc")
    print(len(stimuli), [(a.region, a.responses.shape) for a in assemblies])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling.data.archives import open_images
from scaling.data.recordings.assemblies import Assembly, Recording
from scaling.data.recordings.plain import Plain, read_plain, read_some, write_plain
from scaling.data.recordings.presentations import as_texts
from scaling.data.recordings.stimuli import StimulusFiles
from scaling.data.recordings.visual_angle import MODEL_DEGREES, placement_ratio
from scaling.errors import StudyError

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "responses": ("repetition", "stimulus", "neuroid"),
    "filename": ("stimulus",),
    "stimulus_id": ("stimulus",),
    "label": ("stimulus",),
    "split": ("stimulus",),
    "group": ("stimulus",),
    "region": ("neuroid",),
    "subject": ("neuroid",),
    "ceiling": ("neuroid",),
    "neuroid_id": ("neuroid",),
}
REQUIRED = ("responses", "filename", "region", "name", "degrees")
BY_SUBJECT = {"subject", "split", "group", "ceiling"}  # any of these, and a recording is scored by subject
MAPS = "maps"  # in the place of responses; see `scaling.data.recordings.spatial_maps`
PER_NEUROID, PER_STIMULUS = ("subject", "ceiling"), ("split", "group")
MAPS_REGION = "IT"  # where a file of maps names none


@dataclass(frozen=True, eq=False)
class PlainRecording:
    """A recording to write; see the module's text for the fields.

    Attributes:
        responses: (n_repetitions, n_stimuli, n_neuroids). filenames, stimulus_ids, labels: one a stimulus.
        regions, neuroid_ids: one a neuroid. degrees: visual angle of the images' width. images: folder or zip.
        metric: how the recording is scored as a benchmark ('pls', 'ridge', 'cka', 'procrustes',
            'reverse-pls'; by subject 'ridge_units',
            'ridgecv_split', 'ridge_split', 'pls_split'); '' leaves the choice.
        subjects, ceilings: one a neuroid. splits ('train' or 'test'), groups: one a stimulus. incomplete: 'drop'
            leaves neuroids out that lack a response to some stimulus.
    """

    name: str
    responses: ArrayLike
    filenames: Sequence[str]
    regions: Sequence[str]
    degrees: float
    images: str = "."
    stimulus_ids: Sequence[str] | None = None
    labels: Sequence[str] | None = None
    neuroid_ids: Sequence[str] | None = None
    source: str = ""
    metric: str = ""
    subjects: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    ceilings: Sequence[float] | None = None
    incomplete: str = "refuse"


@dataclass(frozen=True)
class Header:
    """What a file is called, without its responses.

    Attributes:
        regions: distinct, in the order of their first neuroid. metric: '' where none is named. is_maps: it holds
            spatial maps. has_subjects: it names subjects, a split, groups or ceilings, and is scored by subject.
    """

    name: str
    regions: tuple[str, ...]
    metric: str
    is_maps: bool
    has_subjects: bool = False


def write_file(path: Path | str, recording: PlainRecording) -> None:
    """Write a recording; `scaling.data.recordings.write_recording` also checks it as a benchmark.

    Raises:
        StudyError: responses or degrees that are no numbers; as `write_plain`.
    """
    per_axis = {
        "filename": recording.filenames,
        "stimulus_id": recording.stimulus_ids,
        "label": recording.labels,
        "split": recording.splits,
        "group": recording.groups,
        "region": recording.regions,
        "subject": recording.subjects,
        "neuroid_id": recording.neuroid_ids,
    }
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        name: (DIMENSIONS[name], as_texts(np.asarray(values)))
        for name, values in per_axis.items()
        if values is not None
    }
    if recording.ceilings is not None:
        variables["ceiling"] = (DIMENSIONS["ceiling"], as_numbers("ceilings", recording.ceilings))
    variables["responses"] = (DIMENSIONS["responses"], as_numbers("responses", recording.responses))
    attributes: dict[str, str | float] = {
        "name": recording.name,
        "degrees": float(as_numbers("degrees", recording.degrees)),
        "images": str(recording.images),
        "source": recording.source,
        "metric": recording.metric,
        **({} if recording.incomplete == "refuse" else {"incomplete": recording.incomplete}),
    }
    write_plain(Path(path), variables, attributes)


def as_numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Values as float64; StudyError where they are none."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{name}: {error}; give numbers, of one length along each dimension") from error


def read_header(path: Path | str) -> Header:
    """Name, regions and metric of a recording or of maps; responses are not read.

    Raises:
        StudyError: a file that is missing or damaged, that holds neither, has no name or, for a recording, no regions.
    """
    path = Path(path)
    names, values = read_some(path, ("name", "region", "metric"))
    is_maps = MAPS in names
    absent = {"name"} - names if is_maps else {"responses", "name", "region"} - names
    if absent:
        raise StudyError(f"{path} has no {', '.join(sorted(absent))}; it has {', '.join(sorted(names)) or 'nothing'}")
    regions = as_texts(np.atleast_1d(values.get("region", MAPS_REGION))).tolist()
    metric, by_subject = str(values.get("metric", "")), not is_maps and bool(names & BY_SUBJECT)
    return Header(str(values["name"]), tuple(dict.fromkeys(regions)), metric, is_maps, by_subject)


def read_recording(path: Path | str, model_degrees: float = MODEL_DEGREES) -> Recording:
    """Stimuli and one assembly a region, regions in the order of their first neuroid.

    Args:
        model_degrees: visual angle of a model's input; the stimuli are placed accordingly.

    Raises:
        StudyError: a file that is missing, damaged, pickled or incomplete, lengths that differ, images that are not
            there; as `Assembly`.
    """
    path = Path(path)
    plain = read_plain(path, DIMENSIONS, REQUIRED)
    regions = as_texts(plain.variables["region"])
    return Recording(
        plain_stimuli(path, plain, model_degrees),
        [_assembly(plain, region, np.flatnonzero(regions == region)) for region in dict.fromkeys(regions.tolist())],
    )


def image_digest(path: Path | str) -> str:
    """Hash of the images of one of our files, as coded and in their order: 8 hexadecimal digits.

    Raises:
        StudyError: a file that is missing or damaged, images that are not there.
    """
    path = Path(path)
    _, values = read_some(path, ("filename", "images"))
    with open_images(path.parent / str(values.get("images", "."))) as images:
        return images.digest(as_texts(values["filename"]).tolist())[:8]


def plain_stimuli(path: Path, plain: Plain, model_degrees: float) -> StimulusFiles:
    """The stimuli of one of our files: `filename`, `stimulus_id` and `label` below `images`."""
    filenames = tuple(as_texts(plain.variables["filename"]).tolist())
    labels = plain.variables.get("label")
    degrees = np.squeeze(plain.attributes["degrees"])
    if degrees.ndim or degrees.dtype.kind not in "iuf":
        raise StudyError(f"{path}: degrees={plain.attributes['degrees']!r}; give a number of degrees of visual angle")
    return StimulusFiles(
        source=path.parent / str(plain.attributes.get("images", ".")),
        filenames=filenames,
        ids=_stimulus_ids(plain),
        labels=None if labels is None else np.unique(as_texts(labels), return_inverse=True)[1].astype(np.int64),
        name=str(plain.attributes["name"]),
        ratio=placement_ratio(float(degrees), model_degrees),
    )


def _assembly(plain: Plain, region: str, columns: NDArray[np.intp]) -> Assembly:
    responses, columns, n_dropped = _complete(plain, columns, region)
    neuroid_ids = plain.variables.get("neuroid_id", np.arange(responses.shape[2]))
    labels = plain.variables.get("label")
    return Assembly(
        name=f"{plain.attributes['name']}.{region}",
        region=region,
        responses=responses[:, :, columns].astype(np.float32 if responses.dtype == np.float32 else np.float64),
        stimulus_ids=_stimulus_ids(plain),
        neuroid_ids=tuple(as_texts(neuroid_ids[columns]).tolist()),
        repetitions=tuple(range(len(responses))),
        strata=None if labels is None else tuple(as_texts(labels).tolist()),
        source=str(plain.attributes.get("source", "")),
        n_dropped=n_dropped,
        **{name: values[columns] for name in PER_NEUROID if (values := plain.variables.get(name)) is not None},
        **{name: values for name in PER_STIMULUS if (values := plain.variables.get(name)) is not None},
    )


def _complete(plain: Plain, columns: NDArray[np.intp], region: str) -> tuple[NDArray[Any], NDArray[np.intp], int]:
    """The responses; the neuroids that are kept, and how many are not."""
    responses, how = plain.variables["responses"], str(plain.attributes.get("incomplete", "refuse"))
    if how not in ("refuse", "drop"):
        raise StudyError(f"incomplete={how!r}; write 'drop', or leave it out")
    answered = ~np.isnan(responses[:, :, columns]).all(axis=0)
    kept = columns[answered.all(axis=0)] if how == "drop" else columns
    if not len(kept):
        raise StudyError(
            f"region {region!r}: none of {len(columns)} neuroids has a response to every stimulus; leave the stimuli "
            "out that few neuroids saw"
        )
    return responses, kept, len(columns) - len(kept)


def _stimulus_ids(plain: Plain) -> tuple[str, ...]:
    return tuple(as_texts(plain.variables.get("stimulus_id", plain.variables["filename"])).tolist())
