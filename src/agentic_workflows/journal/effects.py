"""What is known of the effects of one run: done, in doubt or refused, and which call of a plan each counts as."""

from collections import Counter
from collections.abc import Iterator

from agentic_workflows.graph.outcome import GIVEN, Outcome, OutcomeStatus, Settlement
from agentic_workflows.journal.entries import Intent, Past, Place, Recorded, attempt_of


class Effects:
    """The effects of one run, each known by the key of its content and by which of the equal ones it is.

    Args:
        past: what the journal knows of the run.

    """

    def __init__(self, past: Past) -> None:
        ended, given = [one.intent for one in past.outcomes], past.given
        self._in_doubt = {one.place: one for one in past.in_doubt}
        self._claimed = {(one.place.plan, one.key, one.occurrence): one.place for one in past.calls}
        """By the plan and the effect, which of its calls that effect counts as."""
        # Not how many there are: an intent that was refused leaves a gap.
        self._occurrences = Counter[str]()
        for _, key, occurrence in self._claimed:
            self._occurrences[key] = max(self._occurrences[key], occurrence + 1)
        self._done: dict[str, list[Recorded]] = {}
        for one in past.outcomes:
            if one.outcome.status == OutcomeStatus.SUCCEEDED and one.intent.key and one.outcome.reason != GIVEN:
                self._done.setdefault(one.intent.key, []).append(one)
        for each in self._done.values():  # the last word first: where a result did not fit, a person may have given two
            each.sort(key=lambda one: one.intent.place.plan_number, reverse=True)
        self._given = {(one.key, one.occurrence) for one in ended if given and str(attempt_of(one)) in given}
        """Effects of which a person gave the result."""
        refused = [one for one in past.outcomes if one.intent.key and _is_refused(one.outcome)]
        self._refused = {one.intent: one.outcome.reason for one in refused}
        self._given_up = {one.intent for one in refused if one.outcome.settlement is Settlement.ANSWERED}

    def begin(self, place: Place, key: str, again: Intent | None = None) -> int:
        """Note that a call begins an effect, which then counts as that call; returns which of the equal ones it is.

        One that is begun again is the same one.
        """
        if again is not None and again.key == key:
            occurrence = again.occurrence
        else:
            occurrence = self._occurrences[key]
            self._occurrences[key] += 1
        self._claimed[place.plan, key, occurrence] = place
        return occurrence

    def lose(self, begun: Intent) -> None:
        """Note that an effect that this process has begun is in doubt, as after a kill."""
        self._in_doubt[begun.place] = begun

    def settle(self, begun: Intent) -> Intent | None:
        """Note that an effect is in doubt no more; returns the intent that was, if any stood there."""
        return self._in_doubt.pop(begun.place, None)

    def claim_done(self, place: Place, key: str) -> Recorded | None:
        """Return an equal effect of an earlier plan that is done, and counts as this call from now on."""
        begun = self._in_doubt.get(place)
        if begun is not None and begun.key == key:  # by the call itself: a person wanted it done again
            return None
        return next((one for one in self._done.get(key, ()) if self._claim(place, one.intent)), None)

    def claim_doubt(self, place: Place, key: str) -> Intent | None:
        """Return the intent of an effect that may have happened, and counts as this call from now on.

        It is that of this call, or an equal one of an earlier plan. An effect that took place and whose result was
        refused is one of these: doing it again is for a person to say.
        """
        if place in self._in_doubt:
            return self._in_doubt[place]
        return next((one for one in self._unknown(key) if self._claim(place, one)), None)

    def is_known(self, place: Place, key: str) -> bool:
        """Tell whether `claim_done` or `claim_doubt` would find something; claim nothing."""
        equal = (*(one.intent for one in self._done.get(key, ())), *self._unknown(key))
        return place in self._in_doubt or any(self._is_free(one, place) for one in equal)

    def _unknown(self, key: str) -> Iterator[Intent]:
        return (one for one in (*self._in_doubt.values(), *self._refused) if one.key == key)

    def _claim(self, place: Place, one: Intent) -> bool:
        """Claim an effect for a call; False where it counts as another call of the same plan."""
        return self._claimed.setdefault((place.plan, one.key, one.occurrence), place) == place

    def _is_free(self, one: Intent, place: Place) -> bool:
        return self._claimed.get((place.plan, one.key, one.occurrence), place) == place

    def doubt_at(self, place: Place) -> Intent | None:
        """Return the intent of the call at this place, where it may have happened."""
        return self._in_doubt.get(place)

    def items_in_doubt(self, plan: str, step: str) -> list[int]:
        """Return the items of a step that were begun and may have happened; of one that is no `foreach`, `WHOLE`."""
        return [place.item for place in self._in_doubt if place[:2] == (plan, step)]

    def is_given(self, done: Recorded) -> bool:
        """Tell whether a person gave the result of an effect, also where it was done again since."""
        return (done.intent.key, done.intent.occurrence) in self._given

    def is_given_up(self, doubt: Intent) -> bool:
        """Tell whether a person gave up an effect that may have happened."""
        return doubt in self._given_up

    def refuse(self, doubt: Intent, why: str) -> None:
        """Note why nobody can use what is known of an effect, for whoever is asked about it."""
        self._refused[doubt] = why

    def told(self, doubt: Intent, *, heard: str = "") -> str:
        """Return in words what is known of an effect in doubt: why its result was refused, or what was heard last."""
        known = self._refused.get(doubt, heard).removesuffix(".")
        return f"this is known of it: {known}." if known else "nothing is known of its end."


def _is_refused(outcome: Outcome) -> bool:
    """Tell whether a call failed although its effect took place, or may have; older rows tell it by their result."""
    return outcome.status.is_failure and (outcome.took_place or outcome.result is not None)
