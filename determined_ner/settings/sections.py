"""What every section of our settings is: typed fields, of which an unknown one is an error with a suggestion."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar, get_args

import pydantic
from pydantic import BaseModel, ConfigDict

from determined_ner.errors import UserError
from determined_ner.masks import shown

S = TypeVar("S", bound="Section")


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


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or bool in get_args(annotation)


def explain(title: str, model: type[Section], detail: Any) -> UserError:
    """One pydantic error as ours: setting, offending value, what would be right."""
    name = ".".join(str(part) for part in detail["loc"][:1])
    where = f"{title}.{name}" if name else title
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, model.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(model.model_fields))}"
        return UserError(where, f"unknown setting (value {shown(detail['input'], name)})", hint)
    if detail["type"] == "missing":
        example = "bert-base-cased" if name == "pretrained_model_name_or_path" else "…"
        return UserError(where, "is required", f"write e.g. {name}: {example}")
    message = detail["msg"].removeprefix("Value error, ")
    return UserError(where, message if not name else f"{shown(detail['input'], name)} is wrong: {message}")


def check_section(title: str, model: type[S], given: dict[str, Any], problems: list[UserError]) -> S | None:
    """A section as typed settings; None where it has mistakes, which are added to ``problems``.

    A null means "not set", as Determined's master treats it.
    """
    try:
        return model(**{str(name): value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        problems.extend(explain(title, model, detail) for detail in error.errors())
        return None
