"""What a sweep is judged on, and the record of the sweep that chose a configuration. No field
changes a byte of what is trained."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lmeraser_ray.config.section import Section


class SweepConfig(Section):
    """What `lmeraser sweep` looks at. Which live records a choice saw is in the manifest; the
    constituents do not depend on it."""

    on: Literal["validation", "test", "public"] = "validation"
    """validation: a fraction of the training subjects is held out, the test records are not read;
    test: the test records, whose accuracy is no honest figure afterwards; public: training and
    judging are both done on the pictures at `path`, and no private record is read."""
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """validation, public: the share of the subjects to judge by, by keyed hash of the subject: a
    deletion moves no other subject."""
    path: Path | None = None
    """public: labelled pictures of no private person, PATH/class/file or Parquet with the columns
    record_id, label and image."""
    record: Path | None = None
    """`train`: the record of the sweep that chose this configuration (STUDY/choice.json). What
    counts is its content."""

    @model_validator(mode="after")
    def _path(self) -> "SweepConfig":
        if self.on == "public" and self.path is None:
            raise ValueError(
                "sweep.path is missing: with sweep.on public, give a folder or Parquet file of "
                "labelled public pictures"
            )
        return self
