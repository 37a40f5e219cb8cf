"""How checkpoints are scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from scaling.specs.base import Spec

FEWEST_SAMPLES = 10  # training stimuli of a mapping: two in each of five folds


class MappingSpec(Spec):
    """The number of stimuli that a mapping is fitted on, as an axis.

    samples: numbers of training stimuli, or 'all', which is always scored; the same nested subsets for all models and
    regions. seeds: how many orders of the stimuli.
    """

    samples: Annotated[tuple[Annotated[int, Field(ge=FEWEST_SAMPLES)] | Literal["all"], ...], Field(min_length=1)]
    seeds: PositiveInt = 1

    def text(self) -> str:
        """For the protocols of scores that have a curve."""
        numbers = sorted({n for n in self.samples if n != "all"})
        return f"mapping {','.join(map(str, numbers)) or 'all'} x {self.seeds}"


class ScoringSpec(Spec):
    """The scoring pool: `actors` processes beside training. 0 CPUs each means: run at low priority on what is idle.

    commitment: 'split' chooses each region's layer on one half of the stimuli and scores it on the other, which halves
    the stimuli that a mapping is fitted on; 'folds' chooses inside four fifths, fits on all of these and scores on the
    rest; 'all' chooses and scores on all stimuli, as Brain-Score's public benchmarks do; else a YAML file, benchmark or
    region -> layer.
    degrees: visual angle of a model's input; stimuli whose size is known are placed in it, on grey or cropped. Others
    fill it, and their protocols say 8 deg whatever is set here.
    ceiled: the score's convention, formula and ceiling in one, see `ceilings.ceiled_score`; by default the benchmark's
    own, which also stays where its ceiling is no reliability ('mean r/c': where no units are known by subject).
    reduction: of layers wider than `components`: none, a sparse random projection, or principal components.
    memory_gb, spill_gb: bounds of an actor's memory for features and of its temporary file. cache: a folder for
    representations, or None. resamples: of each score's bootstrap interval; 0 computes none.
    mapping: scores also of mappings that are fitted on fewer stimuli, where units are known by subject.
    """

    actors: PositiveInt = 1
    cpus: NonNegativeFloat = 0.0
    gpus: NonNegativeFloat = 0.0
    commitment: str = "split"
    degrees: PositiveFloat = 8.0
    ceiled: Literal["r/c", "mean r/c", "r2/c", "r2/c2"] | None = None
    reduction: Literal["none", "random_projection", "pca"] = "none"
    components: PositiveInt = 1000
    memory_gb: PositiveFloat = 2.0
    spill_gb: NonNegativeFloat = 16.0
    cache: str | None = None
    resamples: NonNegativeInt = 200
    mapping: MappingSpec | None = None
