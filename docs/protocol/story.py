"""A counterexample in words, one sentence a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from docs.protocol.state import Found, Label

_PLAIN: Mapping[str, str] = {
    "begins without a trip": "{run} begins: its first command is to open the saga",
    "finds nothing": "{run} finds no record, and stops",
    "takes over the end": "{run} learns that the saga is over",
    "opens again": "{run} is refused, and reads the record again",
    "ends": "{run} comes to the end of its code, and sends its completion",
    "completes": "the record says COMPLETED",
    "learns the end": "{run} learns that it is completed",
    "is incomplete": "{run} ends as incomplete",
    "goes on unopened": "{run} continues as new, and goes on as if it had opened the saga",
    "sends its end": "{run} has nothing left to undo, and sends its end",
    "compensates": "the record says COMPENSATED",
    "compensates late": "the end of an earlier run arrives: the record says COMPENSATED",
    "turns the record": "{run} turns the record back",
    "settles": "{run} asks what became of the pivot",
    "learns that the pivot happened": "{run} learns that the pivot happened",
    "learns that the pivot never will": "{run} learns that the pivot did not happen",
    "is compensated": "{run} has nothing left to undo: the record says COMPENSATED",
    "undoes again": "the store denies what {run} has undone, and it undoes that again",
    "dies": "{run} is terminated",
    "standby falls behind": "the standby of the database falls behind",
    "standby takes over": "the database fails over to the standby: what was committed since is lost",
    "is pruned": "retention deletes the record and its commands",
    "recovery finds": "a recovery reads that the saga has no end and no open run",
    "recovery does not claim": "the recovery goes on without a claim",
    "recovery claims": "the recovery claims the saga: its record turns back",
    "recovery ends the run": "the recovery has ended whatever run was open",
    "recovery lets it be": "the recovery finds that the saga is not lost, and lets it be",
    "recovery leads out of the pivot": "the recovery records what became of the pivot",
    "recovery settles": "the recovery asks what became of the pivot",
    "recovery reports": "the recovery reports the saga to people as incomplete",
    "recovery compensates": "the recovery has nothing left to undo: the record says COMPENSATED",
    "recovery collects again": "the store denies what the recovery has undone, and it collects again",
    "parent is reset": "the parent is reset to its start",
    "parent gets no answer": "the parent gets no answer from the child in time",
    "parent learns that the child completed": "the parent learns that the child completed",
    "parent learns that the child failed": "the parent learns that the child failed",
    "parent completes": "the parent completes",
    "parent turns back": "the parent turns back",
    "parent undoes the child": "the parent undoes the child",
    "parent is compensated": "the parent is compensated",
    "parent settles as happened": "the parent finds on record that the child completed",
    "parent settles as never": "the parent settles the child as never happened",
    "parent takes silence for a no": "the parent takes an unfinished child for one that did nothing",
    "person corrects": "a person corrects the retriable",
    "person skips": "a person skips the retriable",
    "corrects": "the run goes on with the corrected command, under an id of its own",
    "skips": "the run goes on without the retriable",
    "takes over the skip": "the run goes on without the retriable, as a person has said",
    "gives up the correction too": "the run gives up the corrected command as well",
}
"""What names no step."""

_OF_A_STEP: Mapping[str, str] = {
    "opens the pivot": "{run} moves the record to `at the pivot`, and sends {0}",
    "learns done": "{run} learns that {0} is done",
    "learns refused": "{run} learns that {0} is refused",
    "learns fenced": "{run} learns that {0} is fenced",
    "learns reused": "{run} learns that the id of {0} belongs to another content",
    "learns too late": "{run} learns that it is too late for {0}",
    "is too early or too late": "{run} learns that the record does not allow {0}",
    "decides again": "what an attempt of {0} would record loses to another writer, and its handler is to decide again",
    "learns undone": "{run} learns that {0} is undone",
    "is doubted": "the store denies what {run} counts on, and refuses {0}",
    "gets no answer": "{run} gets no answer from {0} in time",
    "undoes": "{run} sends the undo of {0}",
    "skips the undo": "a person skips the undo of {0}",
    "takes effect": "{0} takes effect at its provider",
    "barred": "the provider turns a late {0} away, for it has been undone or barred",
    "records done": "{0} is recorded as done",
    "records refused": "{0} is recorded as refused",
    "refusal is no proof": "the refusal of {0} is no proof, and is not recorded",
    "in vain": "an attempt of {0} finds that something else stands",
    "finds itself fenced": "{0} finds itself fenced, and undoes itself again",
    "late undo fails": "{0} finds itself fenced, and the late undo fails",
    "settles as never": "{0} is settled as never happened",
    "settles as happened": "{0} is settled as happened",
    "fences the pivot": "the settlement fences {0}",
    "recovery undoes": "the recovery sends the undo of {0}",
    "recovery learns undone": "the recovery learns that {0} is undone",
}

_OF_A_CHILD = {
    "parent starts the child": "the parent starts child {n}",
    "child begins": "child {n} begins, and makes its record",
    "child answers what stands": "child {n} finds a record, and answers with what stands",
    "child takes effect": "child {n} takes effect",
    "child completes": "child {n} completes on record",
    "child turns back": "child {n} turns back",
    "child is compensated": "child {n} has undone itself, on record",
    "child is compensated and returns": "child {n} has undone itself, and returns a result all the same",
}

_OF_A_RETRIABLE = {
    "sends the retriable": "the run sends {0}",
    "fences the retriable": "{0} is fenced",
    "takes its result": "{0} turns out to be done: its result is taken",
    "finds that it happened": "the provider says that {0} happened",
    "bars the retriable": "the provider bars {0}",
    "retriable begins": "{0} begins",
    "retriable is barred": "the provider turns {0} away",
    "retriable takes effect": "{0} takes effect at its provider",
    "retriable is turned down": "the provider refuses {0}",
    "retriable is recorded": "{0} is recorded as {1}",
    "retriable is in vain": "an attempt of {0} finds that something else stands",
}
_IDS = ("ArrangeShipment", "the corrected ArrangeShipment")


def lines(found: Found, steps: tuple[str, ...]) -> Iterator[str]:
    """The story, numbered, with what it comes to."""
    run = 1
    for number, label in enumerate(found.labels, 1):
        if label[0] == "is reset":
            run += 1
        yield f"{number}. {_sentence(label, steps, run)}."
    yield f"   So: {found.promise}."


def _sentence(label: Label, steps: tuple[str, ...], run: int) -> str:
    key, *rest = label
    own = f"run {run}"
    if key in _PLAIN:
        return _PLAIN[key].format(run=own)
    if key in _OF_A_STEP:
        return _OF_A_STEP[key].format(steps[rest[0]], run=own)
    if key in _OF_A_CHILD:
        return _OF_A_CHILD[key].format(n=rest[0] + 1)
    if key in _OF_A_RETRIABLE:
        return _OF_A_RETRIABLE[key].format(_IDS[rest[0]], *rest[1:])
    return _MADE[key](own, steps, *rest)


def _reset(run: str, steps: tuple[str, ...], *rest: int) -> str:
    if not rest:
        return "the run is reset"
    cut, way, closed = rest
    how = "after the run was over" if closed else "while the run before is open"
    branch = ", and its code takes the other way" if way else ""
    return f"the saga is retried or reset ({how}), keeping {cut or 'none'} of its groups of steps: {run}{branch}"


_MADE: Mapping[str, Callable[..., str]] = {
    "is reset": _reset,
    "opens": lambda run, steps, _, epoch: f"{run} opens, at epoch {epoch}",
    "earlier look arrives": lambda run, steps, epoch: (
        f"the look of a run that is over arrives: the record is at epoch {epoch}"
    ),
    "announces": lambda run, steps, database, epoch: f"{run} announces epoch {epoch} to database {database}",
    "sends": lambda run, steps, step, epoch: f"{run} sends {steps[step]} (epoch {epoch})",
    "undoes one": lambda run, steps, step, epoch: f"{run} sends the single undo of {steps[step]} (epoch {epoch})",
    "turns back": lambda run, steps, failed: (
        f"{run} turns back" + ("" if failed else ", for it was cancelled or failed")
    ),
    "begins": lambda run, steps, step, epoch: f"an attempt of {steps[step]} (epoch {epoch}) begins",
    "checked": lambda run, steps, step, epoch: f"{steps[step]} (epoch {epoch}) is checked, and not yet recorded",
    "done": lambda run, steps, step, epoch: (
        f"{steps[step]}{f' (epoch {epoch})' if epoch else ', checked before,'} is done, and recorded with its effect"
    ),
    "refused": lambda run, steps, step, epoch: (
        f"{steps[step]}{f' (epoch {epoch})' if epoch else ', checked before,'} is refused, and recorded so"
    ),
    "turned down": lambda run, steps, step, first: (
        f"the provider refuses {'the first' if first else 'a later'} attempt of {steps[step]}"
    ),
    "fences": lambda run, steps, step, answer, single: (
        f"{'the single undo' if single else 'the undo'} of {steps[step]} passes the fence"
        + (", and is to run the compensation" if answer == "compensate" else ": nothing had happened")
    ),
    "compensates": lambda run, steps, step, effect: (
        f"the compensation of {steps[step]} runs" + (", and bars it" if effect == "never" else "")
    ),
    "records undone": lambda run, steps, step, outside: f"{steps[step]} is {'recorded as ' if outside else ''}undone",
    "recovery collects": lambda run, steps, knows: (
        "the recovery collects " + (", ".join(s for s, k in zip(steps, knows, strict=True) if k == "u") or "nothing")
    ),
}
