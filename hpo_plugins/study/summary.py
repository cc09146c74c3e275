"""Summarize the results and costs of a search in words."""

from __future__ import annotations

from collections import Counter

from hpo_plugins._text import printable
from hpo_plugins.history import History
from hpo_plugins.history.pareto import knee
from hpo_plugins.records import TrialRecord, TrialState, expected_text
from hpo_plugins.study.config import StudyConfig
from hpo_plugins.study.front import front_of, losses_of, nothing_feasible


def summarize(
    study: StudyConfig, history: History, *, name: str, best: TrialRecord | None, completion_reason: str | None
) -> str:
    """Return a text of a few lines.

    Args:
        study: The study's definition.
        history: Its results so far.
        name: The study's name.
        best: The best trial so far, None if there is none.
        completion_reason: Why the search is over, None while it is not.
    """
    limit = study.trial_limit
    of = f" of {limit}" if limit is not None and limit >= len(history) else ""  # the limit may have been lowered
    status = f"complete ({printable(completion_reason)})" if completion_reason is not None else "not complete"
    lines = [f"Study {name!r} is {status}: {len(history)}{of} trials were started."]
    lines += _front(study, history) if study.further_objectives else _best(study, history, best)
    lines += _cost(study, history)
    lines += _outcomes(history)
    return "\n".join(lines)


MAX_FRONT = 8
"""Trials of the Pareto front in a summary."""


def _front(study: StudyConfig, history: History) -> list[str]:
    """Return the Pareto front as a table: its trials, or as many, evenly chosen; the one at the knee is marked."""
    goals, records = study.goals, front_of(history)
    if goals is None or not records:
        nearest = "" if goals is None else nothing_feasible(history, goals)
        return [nearest or "No trial has a value of all objectives yet."]
    middle = knee(losses_of(records, goals.objectives))
    last = len(records) - 1
    shown = sorted({round(last * n / (MAX_FRONT - 1)) for n in range(MAX_FRONT)} | {middle})
    many = f", {len(shown)} of them" if len(shown) < len(records) else ""
    lines = [f"Pareto front: {len(records)} of {len(history)} trials{many}; the knee is marked."]
    for place in shown:
        record, mark = records[place], "*" if place == middle else " "
        values = "  ".join(f"{printable(metric)} = {value:.6g}" for metric, value in record.values.items())
        lines.append(f"  {mark} trial {record.number:>3}  {values}")
    return lines


def _best(study: StudyConfig, history: History, best: TrialRecord | None) -> list[str]:
    if best is None:
        nearest = "" if study.goals is None else nothing_feasible(history, study.goals)
        return [nearest or f"No trial has a value of {study.objective.metric!r} yet."]
    of = f" of {best.definition or best.parent!r}" if best.definition or best.parent else ""
    metric = printable(study.objective_of(best.definition).metric)
    deviation = "" if best.std is None else f" +- {best.std:.2g} over {len(best.folds)} folds"
    lines = [f"Best: trial {best.number}{of}, {metric} = {best.value:.6g}{deviation} at epoch {best.best_epoch}"]
    if (again := expected_text(best)) is not None:
        lines[0] += f"; {again} expected if trained again"
    limits = [f"{printable(str(limit))}: {best.values[limit.metric]:.6g}" for limit in study.constraints]
    lines += [f"It meets {', '.join(limits)}."] if limits else []
    return lines + [f"    {printable(name)} = {value!r}" for name, value in best.params.items()]


def _cost(study: StudyConfig, history: History) -> list[str]:
    trained = sum(trial.trained_epochs for trial in history)
    full = study.strategy.max_resource or max((trial.epochs for trial in history), default=0)
    if not trained:
        return []
    folds, of_folds = history.n_folds or 1, f" in {history.n_folds} folds each" if history.n_folds else ""
    whole = full * len(history) * folds
    runs = f"{len(history)} full training run{'s' * (len(history) != 1)}"
    return [
        f"Epochs: {trained:,} were trained; {runs} of {full}{of_folds} would have been "
        f"{whole:,} ({trained / whole:.0%})."
    ]


def _outcomes(history: History) -> list[str]:
    """Return how many trials ended in each state, by the rule that ended them."""
    ends = Counter(
        (trial.state, (trial.row.rule or "") if trial.state is not TrialState.RUNNING else "") for trial in history
    )
    lines = [
        f"{count:>7}  {state.value}{': ' if reason else ''}{printable(reason)}"
        for (state, reason), count in sorted(ends.items(), key=lambda item: (-item[1], item[0]))
    ]
    return ["Trials:", *lines] if lines else []
