"""Steps, one after the other: each has a time limit and a result, and the ones that need a failed one aren't tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailboatctl.errors import CommandError
from mailboatctl.smoke.interrupts import Interrupts, Stopped, TooLate

Facts = Mapping[str, Any]
Work = Callable[[], Facts]
NOT_ASKED = "reason"
"""The fact of a step that nobody asked for: it is skipped, but nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a piece of work: facts if all is well, else an error for a person; ``status`` is its exit status."""

    seconds: float
    facts: Facts = field(default_factory=dict)
    error: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """A step's outcome. ``skipped``: it wasn't tried, with an error if it should have been."""

    step: str
    outcome: Outcome
    skipped: bool = False

    @property
    def ok(self) -> bool:
        """Done, and all was as it should be."""
        return not self.outcome.error and not self.skipped

    @property
    def failed(self) -> bool:
        """Something is wrong: also with a step that couldn't be tried."""
        return bool(self.outcome.error)

    def line(self) -> dict[str, Any]:
        """The result as a JSON object: step, ok, seconds, its facts, skipped and error where they are."""
        shown: dict[str, Any] = {"step": self.step, "ok": self.ok, "seconds": round(self.outcome.seconds, 3)}
        shown |= self.outcome.facts
        if self.skipped:
            shown["skipped"] = True
        return shown | ({"error": self.outcome.error} if self.outcome.error else {})


class Runner:
    """Tries steps and shows each result at once. ``seconds``: the limit of a piece of work; ``clock``: monotonic."""

    def __init__(
        self, seconds: float, interrupts: Interrupts, clock: Callable[[], float], show: Callable[[Result], None]
    ) -> None:
        self._seconds = seconds
        self._interrupts = interrupts
        self._clock = clock
        self._show = show
        self._results: dict[str, Result] = {}

    @property
    def results(self) -> list[Result]:
        """Of the steps so far, in their order."""
        return list(self._results.values())

    def passed(self, *steps: str) -> bool:
        """Whether all of these have passed."""
        return all(step in self._results and self._results[step].ok for step in steps)

    def attempt(self, work: Work, *, stoppable: bool = True) -> Outcome:
        """A piece of work that is no step, or not yet the whole of one. Faults of this program are raised."""
        started = self._clock()
        facts: Facts = {}
        error, status = "", 0
        try:
            with self._interrupts.work(self._seconds, stoppable=stoppable):
                facts = work()
        except CommandError as refused:
            error, status = str(refused), refused.status
        except TooLate as late:
            error, status = str(late), CommandError.status
        except Stopped as stopped:
            error, status = f"interrupted by {stopped}", CommandError.status
        return Outcome(self._clock() - started, facts, error, status)

    def step(self, name: str, work: Work, *, needs: Iterable[str] = (), begun: Outcome | None = None) -> None:
        """A step that is tried unless a signal has come or one that it needs hasn't passed.

        ``begun``: an earlier piece of this step, whose time counts and whose fault is the step's.
        """
        missing = next((step for step in needs if not self.passed(step)), None)
        if begun is not None and begun.error:
            self._report(Result(name, begun))
        elif missing is not None:
            self.not_tried(name, f"{missing} failed")
        elif self._interrupts.caught:
            self.not_tried(name, f"interrupted by {self._interrupts.caught}")
        else:
            outcome = self.attempt(work)
            earlier = begun.seconds if begun is not None else 0.0
            whole = Outcome(earlier + outcome.seconds, outcome.facts, outcome.error, outcome.status)
            self._report(Result(name, whole))

    def last_step(self, name: str, work: Work) -> None:
        """A step that is tried whatever was before, and that no signal ends."""
        self._report(Result(name, self.attempt(work, stoppable=False)))

    def not_tried(self, name: str, why: str) -> None:
        """A step that can't be tried: that is a failure."""
        self._report(Result(name, Outcome(0.0, error=f"not tried: {why}", status=CommandError.status), skipped=True))

    def not_asked(self, name: str, why: str) -> None:
        """A step that nobody asked for: no failure, and no pass."""
        self._report(Result(name, Outcome(0.0, {NOT_ASKED: why}), skipped=True))

    def _report(self, result: Result) -> None:
        self._results[result.step] = result
        self._show(result)
