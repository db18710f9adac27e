"""The rules of the protocol by name: what each says, what it prevents, and where its absence shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One rule, which the model can be run without."""

    name: str
    says: str
    shown_in: str = ""
    """The environment in which its absence breaks a promise."""
    second_line: str = ""
    """Why its absence breaks none: what else holds then."""


RULES = (
    Rule(
        "A1.first", "a transition of the record is a compare-and-set: the first wins, whoever asks", "resets-of-resets"
    ),
    Rule("A2.forward", "compensatables are begun and recorded only in `forward`", "resets"),
    Rule("A2.pivot", "the pivot is begun and recorded only in `forward` or `at the pivot`", "tolerance"),
    Rule("A2.retriable", "a retriable may be recorded past the pivot", "resets"),
    Rule("A2.undo", "undos of the end run only in `turning back`", "resets"),
    Rule("A2.single", "single undos run only in `forward`", "foreign-pivot"),
    Rule("A2.lock", "the check locks the record in the statement that records", "resets"),
    Rule("A3.begin", "beginning an external pivot moves the record to `at the pivot`", "external-pivot"),
    Rule(
        "A3.opened", "a pivot in another database is opened in the saga's own before it is dispatched", "foreign-pivot"
    ),
    Rule("A3.others", "no other pivot takes effect, and no end passes it over, while one may stand", "another-pivot"),
    Rule(
        "A3.out", "a pivot that never happened leads the record out only where no other one may stand", "another-pivot"
    ),
    Rule(
        "A3.asks",
        "who turns back first finds out what became of a pivot that may stand, whoever sent it",
        "pivot-again",
    ),
    Rule("A3.fenced", "a pivot that is fenced and not settled is as open as one that has begun", "another-pivot"),
    Rule("A3.bars", "a pivot settled as never is barred at the provider", "external-pivot"),
    Rule(
        "A4.turn",
        "the undo of the end requires `turning back`, or makes the turn",
        "resets",
        second_line="the fence has marked the row, so that the pivot and the end are refused that count on it (A7)",
    ),
    Rule("A4.first", "the record turns before an undo is sent to another database", "foreign-step"),
    Rule("A5.lookup", "past the pivot an unknown earlier step is looked up, never undone", "foreign-pivot"),
    Rule("A6.incomplete", "past the pivot, code that does not come by a step in force ends as incomplete", "tolerance"),
    Rule(
        "A7.pivot",
        "the pivot names the steps that it counts on, and is refused where the store says otherwise",
        "lost-commits-near",
        second_line="the end is refused (A7.completed), but only a person can go on from there, where the saga would have turned back",
    ),
    Rule("A7.completed", "`completed` names the steps that it counts on", "no-pivot"),
    Rule("A7.compensated", "`compensated` names the steps that were undone or refused", "lost-commits-near"),
    Rule("A7.rest", "`compensated` is refused while any step may be in force, whoever sent it", "pivot-again"),
    Rule("A8.skip", "a skipped undo is on the command's record: nobody begins it again", "skip"),
    Rule("A8.step", "a further run goes on without the step that a person gave up", "retriable"),
    Rule("epoch.commands", "a command of an older epoch that had not begun is refused", "resets"),
    Rule("epoch.undos", "a single undo of an older epoch that had not begun is refused", "foreign-pivot"),
    Rule("epoch.rows", "a further run gets all rows of the saga as it opens", "resets"),
    Rule(
        "epoch.disown",
        "a further run does not count on a step that is undone, being undone or fenced",
        "foreign-pivot",
        second_line="a step that a run keeps as answered is undone only while the record turns back, which a further run takes over",
    ),
    Rule(
        "epoch.announce",
        "services with a database of their own learn the epoch before the run's first step",
        "foreign-step",
    ),
    Rule(
        "epoch.duty",
        "a run that continues one which had not opened the saga opens it in its place",
        "continued-unopened",
    ),
    Rule(
        "epoch.gate",
        "of a step that waits for its turn as the saga turns the record says whether an earlier run sent it",
        "parallel",
    ),
    Rule("epoch.end", "at a pivot no earlier run's end is recorded", "continued-unopened"),
    Rule(
        "epoch.rise",
        "what is refused as outdated is sent again, once its run has taken up the record anew",
        "late-look",
    ),
    Rule("mark_done", "a fence marks a `done` row as being undone", "tolerance"),
    Rule("B1.compare", "a repeat with other content is refused", "other-content"),
    Rule("B1.stored", "an undo is given the stored command", "other-content"),
    Rule("B2.begun", "an external refusal counts only if the row was begun once", "two-attempts"),
    Rule("B2.attempt", "an external refusal counts only at Temporal's first attempt", "lost-commits"),
    Rule("B2.same_store", "an external refusal counts only in the store in which its attempt began", "lost-commits"),
    Rule("B2.once", "an external refusal counts only if its attempt decided once", "two-decisions"),
    Rule("B3.correct", "a retriable is fenced before it is corrected", "retriable"),
    Rule("B3.skip", "a retriable is fenced before it is skipped", "retriable"),
    Rule("B3.known", "a skip gives up the corrected command of an earlier run too", "retriable"),
    Rule("C1.absent", "the absent row of an external step that was dispatched is no proof", "lost-commits"),
    Rule(
        "C2.history",
        "what a history says of answers, of the turn and of the end outlives the store",
        "lost-commits-near",
    ),
    Rule(
        "C2.pivot",
        "recovery settles an external pivot that a history sent, whatever the record says",
        "lost-commits-pivot",
    ),
    Rule("C3.mark", "a late undo that fails leaves a mark that recovery works off", "late-undo"),
    Rule("D2.claim", "recovery claims before it acts", "two-recoveries"),
    Rule(
        "D2.ends_run",
        "recovery ends whatever run is open before it collects",
        "foreign-step",
        second_line="what the run sends on is refused, for every database has been told of the turn (D2.announces, A2)",
    ),
    Rule("D2.announces", "recovery announces the turn to other databases before it collects there", "foreign-step"),
    Rule("E.unique", "a second child for one command answers with what stands", "children"),
    Rule("E.never", "settling a child without a record inserts `never`", "children"),
    Rule("E.record", "the parent believes only the child's record", "children"),
    Rule("E.result", "a child returns a result only if its record says completed", "children"),
    Rule("F.duty", "an external undo makes a late original harmless", "resets"),
    Rule("P.late", "a record is deleted only when none of its messages can arrive any more", "pruned"),
    Rule("P.closed", "a record is deleted only when its workflow is closed and cannot be reset", "pruned"),
)
ALL = frozenset(rule.name for rule in RULES)


def rule(name: str) -> Rule:
    return next(each for each in RULES if each.name == name)
