"""What every section of our settings is: typed fields, of which an unknown one is an error."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import pydantic
from pydantic import BaseModel, ConfigDict

from determined_ner.settings.urls import is_remote


class Section(BaseModel):
    """A section of an experiment config: unknown keys are errors, a null is no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        assert info.field_name is not None
        if isinstance(value, bool) and not _takes_bool(cls.model_fields[info.field_name].annotation):
            raise ValueError(f"{str(value).lower()} is not a number or text")
        return value


def _local(value: str) -> str:
    if is_remote(value):
        raise ValueError("a URL is no directory of this machine")
    return value


Directory = Annotated[str, pydantic.AfterValidator(_local)]


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or bool in get_args(annotation)
