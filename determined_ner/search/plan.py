"""The plan of a search: what the ``searcher:`` section and the ranges ask for, and which trial comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from determined_ner.errors import UserError
from determined_ner.finish.uploads import refuse_search
from determined_ner.masks import shown
from determined_ner.search.halving import Bracket, check_rungs, make_brackets, make_rungs
from determined_ner.search.points import Draws, Grid, Points, with_ends, with_values
from determined_ner.settings.explaining import check_section
from determined_ner.settings.hyperparameters import Positive
from determined_ner.settings.loop import Duration, LoopSettings, experiment_seed, parse_loop
from determined_ner.settings.parsing import Settings, parse_settings
from determined_ner.settings.ranges import Path, Range, dotted, find_ranges
from determined_ner.settings.sections import Section

MOST_TRIALS = 10_000
"""That are ever trained one after the other; the settings of each are checked before the first."""
_GONE = {
    "custom": "a program of the user's decides, which is not here",
    "adaptive": "Determined has adaptive_asha in its place",
    "adaptive_simple": "Determined has adaptive_asha in its place",
    "sync_halving": "Determined has adaptive_asha in its place",
    "pbt": "Determined has it no more",
}
"""Searchers of Determined that do not run here, and why."""


class GridSearcher(Section):
    """``name: grid``; what is only named here is looked at elsewhere, or has no meaning with one trial at a time."""

    name: str
    metric: Any = None
    smaller_is_better: bool | None = None
    max_length: Any = None
    time_metric: Any = None
    max_time: Any = None
    max_concurrent_trials: Any = None
    source_trial_id: Any = None
    source_checkpoint_uuid: Any = None


class RandomSearcher(GridSearcher):
    """``name: random``."""

    max_trials: Positive


class HalvingSearcher(RandomSearcher):
    """``name: async_halving``, one bracket."""

    num_rungs: Positive
    divisor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4.0
    stop_once: bool | None = None


class AdaptiveSearcher(RandomSearcher):
    """``name: adaptive_asha``."""

    divisor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4.0
    max_rungs: Positive = 5
    mode: Literal["aggressive", "standard", "conservative"] = "standard"
    bracket_rungs: tuple[Positive, ...] = ()
    stop_once: bool | None = None


SEARCHERS: dict[str, type[GridSearcher]] = {
    "random": RandomSearcher,
    "grid": GridSearcher,
    "adaptive_asha": AdaptiveSearcher,
    "async_halving": HalvingSearcher,
}


@dataclass(frozen=True)
class Plan:
    """A search, before anything is trained."""

    name: str
    """Of the searcher."""
    config: dict[str, Any]
    """Of the experiment, with its ranges."""
    ranges: dict[Path, Range]
    points: Points
    brackets: tuple[Bracket, ...]
    """Of a random or grid search one, without rungs."""
    divisor: float
    settings: Settings
    """Of the first trial; the data's are those of all."""
    loop: LoopSettings
    """Of the first trial; all but the length is that of all."""

    @property
    def trials(self) -> int:
        """That are trained, apart from those that take the place of invalid ones."""
        return sum(bracket.trials for bracket in self.brackets)

    def rungs(self, bracket: int) -> list[Duration]:
        """The lengths at which trials of a bracket are compared, and the whole."""
        return [Duration(length, self.loop.length.unit) for length in self.brackets[bracket].rungs]

    def config_of(self, trial: int) -> dict[str, Any]:
        """The experiment config of a trial, counted from 1."""
        hyperparameters = with_values(self.config["hyperparameters"], self.points.values(trial))
        name = f"{self.config.get('name') or 'ner'}-trial-{trial}"
        return {**self.config, "name": name, "hyperparameters": hyperparameters}

    def next_bracket(self, invalid: Sequence[bool]) -> int | None:
        """The bracket of the next trial; None: the search is at its end.

        Brackets take turns, those with more rungs first, as where a cluster has room for one trial at a time.

        Args:
            invalid: of each trial so far, in order, whether it was.
        """
        turns, _ = self._after(invalid)
        return turns[0] if turns else None

    def trials_left(self, invalid: Sequence[bool]) -> int:
        """How many there are to come; arguments as of `next_bracket`."""
        return sum(self._after(invalid)[1])

    def _after(self, invalid: Sequence[bool]) -> tuple[deque[int], list[int]]:
        """Whose turn it is, and how many trials of each bracket are left.

        A trial that turns out to be invalid is made up for by another one, except in a grid; so are as many as there
        are trials.
        """
        turns = deque(range(len(self.brackets)))
        left = [bracket.trials for bracket in self.brackets]
        spare = 0 if self.name == "grid" else self.trials
        for was_invalid in invalid[: sum(left) + spare]:
            bracket = turns.popleft()
            if was_invalid and spare:
                spare -= 1
            else:
                left[bracket] -= 1
            if left[bracket]:
                turns.append(bracket)
        return turns, left


def make_plan(config: dict[str, Any]) -> Plan:
    """Plan the search that an experiment config asks for.

    Raises:
        UserError: it asks for none, for one that does not run here, or a point of it has settings that cannot be.
    """
    section = config.get("searcher") or {}
    searcher = _searcher(section)
    hyperparameters = config.get("hyperparameters") or {}
    ranges = find_ranges(hyperparameters)
    if not ranges:
        remedy = "write one, such as {type: categorical, vals: [1.0e-5, 3.0e-5]}, or train with determined-ner train"
        raise UserError("hyperparameters", "there is no range in it to search", remedy)
    points: Points
    if isinstance(searcher, RandomSearcher):
        trials, points = searcher.max_trials, Draws(ranges, experiment_seed(config))
    else:
        points = Grid.of(ranges)
        trials = len(points)
    if trials > MOST_TRIALS:
        what = "searcher.max_trials" if isinstance(searcher, RandomSearcher) else "hyperparameters"
        raise UserError(
            what, f"{trials:,} trials one after the other are too many", f"ask for {MOST_TRIALS:,} or fewer"
        )
    _check_points(config, ranges, points, trials)
    settings, loop = _settings(config, points.values(1))
    refuse_search(settings.data, section["name"], "SEARCH/trial-N")
    brackets, divisor = _compared(searcher, loop.length.value, trials)
    return Plan(section["name"], config, ranges, points, brackets, divisor, settings, loop)


def _settings(config: dict[str, Any], values: dict[Path, Any]) -> tuple[Settings, LoopSettings]:
    """Those of one point.

    Raises:
        UserError: it has settings that cannot be.
    """
    settings = parse_settings(with_values(config["hyperparameters"], values), config.get("data"))
    return settings, parse_loop(config, settings)


def _check_points(config: dict[str, Any], ranges: dict[Path, Range], points: Points, trials: int) -> None:
    """
    Raises:
        UserError: a trial, or an end of a range, has settings that cannot be; each mistake once.
    """
    found: dict[tuple[str, str], UserError] = {}

    def look(values: dict[Path, Any], which: str, of: Path | None = None) -> None:
        try:
            _settings(config, values)
        except UserError as error:
            for one in error.errors or (error,):
                # What a point of two ends would have wrong matters only where such a point is trained.
                if of is None or (one.where != "hyperparameters" and f"{dotted(of)}.".startswith(f"{one.where}.")):
                    said = which if one.where.startswith("hyperparameters") else ""
                    problem = UserError(one.where, f"{one.problem}{said}", one.remedy)
                    found.setdefault((one.where, one.problem), problem)

    for trial in range(1, trials + 1):
        look(points.values(trial), f" (trial {trial} of the search)")
    for path, values in with_ends(ranges, points.values(1)):
        look(values, " (an end of its range)", path)
    if found:
        raise UserError.several(list(found.values()))


def _searcher(section: dict[str, Any]) -> GridSearcher:
    """
    Raises:
        UserError: it is none that runs here, or is not written as Determined has it.
    """
    name, known = section.get("name"), ", ".join(SEARCHERS)
    if name is None or name == "single":
        said = "is not set" if name is None else "'single' trains one point"
        raise UserError("searcher.name", said, f"write one of {known}, or train with determined-ner train")
    if not isinstance(name, str) or name not in SEARCHERS:
        why = f" ({_GONE[name]})" if isinstance(name, str) and name in _GONE else ""
        raise UserError("searcher.name", f"{shown(name)} is no search that runs here{why}", f"write one of {known}")
    problems: list[UserError] = []
    searcher = check_section("searcher", SEARCHERS[name], section, problems)
    if searcher is None:
        raise UserError.several(problems)
    if isinstance(searcher, HalvingSearcher | AdaptiveSearcher) and section.get("max_time") is None:
        problem = f"{name} compares trials after parts of their length, which nothing gives"
        raise UserError("searcher", problem, "write time_metric: epochs and max_time: 4, say")
    return searcher


def _compared(searcher: GridSearcher, length: int, trials: int) -> tuple[tuple[Bracket, ...], float]:
    """
    Returns:
        brackets and divisor of a plan.
    """
    if isinstance(searcher, HalvingSearcher):
        check_rungs(searcher.num_rungs, searcher.divisor)
        return (Bracket(make_rungs(searcher.num_rungs, searcher.divisor, length), trials),), searcher.divisor
    if isinstance(searcher, AdaptiveSearcher):
        s = searcher
        return make_brackets(length, trials, s.divisor, s.max_rungs, s.mode, s.bracket_rungs), s.divisor
    return (Bracket((), trials),), 1.0
