"""Sections of a page: the stimuli that mappings are fitted on."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.figures.mapping import SHOWN, plot_mapping
from analysis.figures.page import Section
from analysis.figures.surface import plot_surface
from analysis.mapping.laws import MappingLaws
from analysis.mapping.text import curves_frame, mapping_text


def mapping_sections(laws: MappingLaws) -> Iterator[Section]:
    """Curves with the answer of what to buy next, and the plane of both axes where its law is usable."""
    yield Section(
        "mapping", "Stimuli that the mapping is fitted on",
        "Marks are means over orders of the training stimuli and over seeds, on the same test stimuli; lines are "
        f"S = 1 − E − A·n^−α, dashed beyond what was measured; of more than {SHOWN} models, {SHOWN} are drawn.",
        plot_mapping(laws), mapping_text(laws), curves_frame(laws),
    )  # fmt: skip
    surface = plot_surface(laws)
    if surface is not None:
        words = (
            "Contours of S = 1 − E − A·C^−α − B·n^−β, of families whose law of both is usable; points were measured."
        )
        yield Section("mapping-surface", "Compute and stimuli", words, surface)
