"""What Brain-Score publishes: files, hashes, and how its benchmarks read them. Facts alone, light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MAJAJHONG, FREEMANZIEMBA, RAJALINGHAM = "majajhong2015", "freemanziemba2013", "rajalingham2018"

BASE_URL = "https://brainscore-storage.s3.amazonaws.com/brainio-brainscore/"


@dataclass(frozen=True)
class Selection:
    """What to take of a file of recordings.

    Attributes:
        name: of the set. regions: one assembly each. window_ms: start and end of the time bins to average over.
        strata: column of the stimulus table that splits are stratified by, or None. source: for people.
    """

    name: str
    regions: tuple[str, ...]
    window_ms: tuple[int, int]
    strata: str | None
    source: str


class File(NamedTuple):
    """A published file and the SHA-1 of its content."""

    name: str
    sha1: str


@dataclass(frozen=True)
class Published:
    """One data set's files and how Brain-Score reads them.

    Attributes:
        assembly, table, archive: the NetCDF, CSV and zip. degrees: visual angle of a stimulus.
        n_repetitions: the trials that Brain-Score names for the data set; the file may hold more or fewer of a
            stimulus, and decides.
        selection: regions, time window and strata; regions are empty where people chose instead of neurons firing.
    """

    assembly: File
    table: File
    archive: File
    degrees: float
    n_repetitions: int
    selection: Selection

    def sha1s(self) -> dict[str, str]:
        """File name → SHA-1."""
        return dict([self.assembly, self.table, self.archive])


PUBLISHED: dict[str, Published] = {
    MAJAJHONG: Published(
        assembly=File("assy_dicarlo_MajajHong2015_public.nc", "13d28ca0ce88ee550b54db3004374ae19096e9b9"),
        table=File("stimulus_hvm-public.csv", "5ca7a3da00d8e9c694a9cd725df5ba0ad6d735af"),
        archive=File("stimulus_hvm-public.zip", "8aa44e038d7b551efa8077467622f9d48d72e473"),
        degrees=8,
        n_repetitions=50,
        selection=Selection(
            MAJAJHONG, ("V4", "IT"), (70, 170), "object_name", "Majaj, Hong et al. (2015), J. Neurosci. 35:13402"
        ),
    ),
    FREEMANZIEMBA: Published(
        assembly=File("assy_movshon_FreemanZiemba2013_public.nc", "761c08f796db4e342555cdb60eef23a4f19ead43"),
        table=File("stimulus_FreemanZiemba2013_aperture-public.csv", "194c9b301a4e3e9cff02481d4c19b39331d52660"),
        archive=File("stimulus_FreemanZiemba2013_aperture-public.zip", "3a6fec1fc28c212882d6833e267ea8654d289611"),
        degrees=4,
        n_repetitions=20,
        selection=Selection(
            FREEMANZIEMBA,
            ("V1", "V2"),
            (50, 200),
            "texture_type",
            "Freeman, Ziemba et al. (2013), Nat. Neurosci. 16:974",
        ),
    ),
    RAJALINGHAM: Published(
        assembly=File("assy_dicarlo_Rajalingham2018_public.nc", "34c6a8b6f7c523589c1861e4123232e5f7c7df4c"),
        table=File("stimulus_objectome_public.csv", "47884e17106a3be471d6481279cab33889b80850"),
        archive=File("stimulus_objectome_public.zip", "064f2955f98e63867755fee2e3ead8cddf6bfab8"),
        degrees=8,
        n_repetitions=2,
        selection=Selection(RAJALINGHAM, (), (0, 0), None, "Rajalingham et al. (2018), J. Neurosci. 38:7255"),
    ),
}
