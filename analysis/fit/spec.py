"""FitSpec: what is fitted, and how."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from analysis.columns import MISALIGNMENT
from analysis.fit.forms import find_form
from analysis.fit.trend import MARGIN


class FitSpec(BaseModel):
    """What is fitted, and how.

    form: a name of `forms.FORMS`; axes: its x columns in order (default: the form's own); target: "misalignment"
    (1 - score) or any positive column, as "loss"; huber_delta: in ln units, None for least squares; bootstrap:
    number of draws; seed: of the draws; shared_by: a column (region, family) whose values have their own E and
    coefficients and share exponents; offset: E itself, or its limits (a score ceiling c is offset = 1 - c);
    flat: the share of y within which a change over the measured range counts as none;
    cluster: "configuration", "row", or a column whose values are drawn whole; strata: a column drawn within.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: str = "power_law"
    axes: tuple[str, ...] = ()
    target: str = MISALIGNMENT
    huber_delta: float | None = Field(default=1e-3, gt=0)
    bootstrap: int = Field(default=1000, ge=0, le=100_000)
    seed: int = Field(default=0, ge=0)
    shared_by: str | None = None
    offset: float | tuple[float, float] | None = None
    flat: float = Field(default=MARGIN, gt=0, lt=1)
    cluster: str = "configuration"
    strata: str | None = None

    @field_validator("form")
    @classmethod
    def _known_form(cls, name: str) -> str:
        return find_form(name).name

    @model_validator(mode="after")
    def _axes_of_form(self) -> FitSpec:
        form = find_form(self.form)
        axes = self.axes or form.default_axes
        if len(axes) != form.n_axes and form.terms:
            raise ValueError(
                f"axes={list(axes)} has {len(axes)} columns, form {form.name!r} takes {form.n_axes}: "
                f"{form.formula}, as axes={list(form.default_axes)}"
            )
        object.__setattr__(self, "axes", tuple(axes))
        return self

    @property
    def offset_limits(self) -> tuple[float, float] | None:
        """Limits of E, or None where the data set them."""
        if self.offset is None or isinstance(self.offset, tuple):
            return self.offset
        return (self.offset, self.offset)
