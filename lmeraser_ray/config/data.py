"""Where records come from and how they are stored: the section `data`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lmeraser_ray.config.section import EXECUTION, LATER, Fraction, Positive, Section

Grey = Annotated[int, Field(ge=0, le=65_535)]
Source = Literal["digits", "folder", "parquet", "memory", "cifar10", "cifar100", "svhn", "gtsrb"]
TORCHVISION = ("cifar10", "cifar100", "svhn", "gtsrb")
"""Sources that torchvision reads, with the splits of their authors."""


class DataConfig(Section):
    """Where records come from. What they are is in the records; only the split and the layout are
    identity."""

    source: Annotated[Source, EXECUTION] = "digits"
    """digits: the 1,797 handwritten digits of scikit-learn; folder: PATH/class/file, or
    PATH/train/class/file beside PATH/test; parquet: a file or a folder of them, whose splits are
    in their names; memory: what a program gives to `Workspace.train(data=…)`; cifar10, cifar100,
    svhn, gtsrb: read by torchvision, with the test records that are their own."""
    path: Annotated[Path | None, EXECUTION] = None
    """The folder or the Parquet file(s) of the records, or torchvision's root folder."""
    download: Annotated[bool, EXECUTION] = False
    """cifar10, cifar100, svhn, gtsrb: have torchvision fetch what is missing below `path`."""
    test_path: Annotated[Path | None, EXECUTION] = None
    """folder, parquet: test records of their own; their ids get the prefix `test/`. Without it,
    `test_fraction` is held out."""
    test_fraction: Fraction = 0.2
    """The share of the subjects held out for testing, by keyed hash of the subject: a deletion
    moves no other subject. Unused where the test records are given."""
    buckets: Annotated[int, Field(gt=0, le=65536)] = 16
    """Records are stored in this many buckets by keyed hash of the id; about one per 4,000 records
    serves well."""
    flatten: Annotated[bool, EXECUTION] = False
    """folder: accept PATH/class/any/depth/file, the first folder being the class. Otherwise deeper
    folders are refused."""
    ids: Annotated[Literal["given", "content"], EXECUTION] = "given"
    """parquet, memory: content makes a row's id of its label, its subject and its picture, whatever
    ids are given."""
    id_column: Annotated[str | None, EXECUTION] = None
    """parquet, memory, and the metadata of a folder: the column of record ids. None takes
    `record_id`; in a data set without that, the path beside the picture, or else the row's
    content."""
    label_column: Annotated[str, EXECUTION] = "label"
    """parquet, memory, and the metadata of a folder: the column of labels, names or whole numbers;
    the names that a data hub keeps for the numbers are used."""
    image_column: Annotated[str, EXECUTION] = "image"
    """parquet, memory: the column of encoded pictures, bytes or {bytes, path} structs; in memory
    arrays, tensors, PIL pictures and paths too."""
    subject_column: Annotated[str | None, EXECUTION] = None
    """parquet, memory, and the metadata of a folder: the column that names the person a record is
    about."""
    subjects_file: Annotated[Path | None, EXECUTION] = None
    """A CSV file with the header record_id,subject_id and a line for each record, those of
    `test_path` as `test/` and their id."""
    subject_pattern: Annotated[str | None, EXECUTION] = None
    r"""A regular expression searched in the record id; its group `subject`, else its first group,
    else the match, is the subject."""
    permanent: Annotated[Path | None, EXECUTION] = None
    """A file of subjects, one a line, whose records will in all likelihood stay (staff, licensed
    pictures): permanent records. A record without a subject has its id as one."""
    permanent_column: Annotated[str | None, EXECUTION] = None
    """parquet, memory, and the metadata of a folder: the column that says whether a record is
    permanent, true or false; all records of a subject say the same."""
    exclude: Annotated[Path | None, EXECUTION] = None
    """A file of record ids, one a line, that are left out from the start: the training on D without
    U to compare an unlearning with."""
    readmit: Annotated[Path | None, EXECUTION] = None
    """A file of record ids, one a line, that were erased and are to be accepted again by this
    training."""
    readmit_subjects: Annotated[Path | None, EXECUTION] = None
    """A file of subjects, one a line, that were erased and may come again; their erased records are
    named in `readmit` too."""
    allow_missing: Annotated[bool, EXECUTION] = False
    """Drop records that the workspace holds and the source no longer has, instead of refusing to
    train."""
    on_error: Annotated[Literal["refuse", "skip"], EXECUTION] = "refuse"
    """Records that cannot be used by themselves (picture, label or name). refuse: none is trained,
    and the error names all of them; skip: these are left out, and it is said."""
    max_pixels: Annotated[Positive, EXECUTION] = 50_000_000
    """Pictures with more pixels are refused as decompression bombs."""
    fit: Annotated[Literal["crop", "pad", "squash"], LATER] = "crop"
    """Pictures that are not square. crop: the shorter side goes to backbone.resize and the centre
    is cut out; pad: the longer side goes to backbone.input_size, on black; squash: both sides go
    there."""
    window: Annotated[tuple[Grey, Grey] | None, LATER] = None
    """16-bit greyscale: the values that become black and white, [LOW, HIGH]; what lies between is
    linear. None refuses such pictures; others are not changed."""

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if (self.source in ("digits", "memory")) != (self.path is None):
            raise ValueError(
                "data.path goes with every data.source but digits and memory, and only with these: "
                "set both"
            )
        if self.source not in ("folder", "parquet") and self.test_path is not None:
            raise ValueError(
                f"data.test_path goes with data.source folder or parquet: {self.source} has its "
                "own split, leave it out"
            )
        named = [
            n
            for n in ("subject_column", "subjects_file", "subject_pattern")
            if getattr(self, n) is not None
        ]
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError(
                f"data.window is {list(self.window)}: the first value becomes black and the second "
                "white, so it is the larger one"
            )
        if self.permanent is not None and self.permanent_column is not None:
            raise ValueError(
                "data.permanent and data.permanent_column both name the permanent records: keep one"
            )
        if self.permanent_column is not None and self.source not in ("folder", "parquet", "memory"):
            raise ValueError(
                "data.permanent_column goes with data.source folder, parquet or memory: name the "
                "subjects in a file, data.permanent"
            )
        if len(named) > 1:
            raise ValueError(
                f"data.{named[0]} and data.{named[1]} both name the subjects: keep one"
            )
        return self
