"""Suggest changes: bounds, parameters without effect, comparisons that come too early."""

from __future__ import annotations

import itertools

from hpo_plugins import modeling
from hpo_plugins._text import printable
from hpo_plugins.records import TrialRecord
from hpo_plugins.space import Categorical, Ordinal
from hpo_plugins.study.confirmation import Confirmed
from hpo_plugins.view.study_view import StudyView

MIN_TRIALS = 10
"""Minimum number of trials with a value for suggestions."""
NEAR_BOUND = 0.03
"""Of a parameter's range on its scale."""
NO_EFFECT = 0.02
MIN_AGREEMENT = 0.3
MAX_RATIO = 100
"""Larger multiples of the noise are shown as more than this: such a curve is almost without noise."""


def all_of(view: StudyView) -> list[str]:
    """Return all that there is to say of a study, what is most important first."""
    first = [view.headline, confirmed(view), lead(view), belief(view)]
    return [text for text in first if text] + advice(view)


def belief(view: StudyView) -> str | None:
    """Return what is believed of the parameters, and whether results agree, in words; None if nothing is."""
    believed = [f"{name} {each.belief_text}" for name, each in view.space.items() if each.prior is not None]
    if not believed:
        return None
    trust = modeling.guides.trust_in_belief(view.history.up_to_fold(0), view.max_resource)
    verdict = (
        "too few results to judge it"
        if trust is None
        else f"results agree with it (weight {trust:.2f} of 1)"
        if trust
        else "results agree with it no better than by chance, so it is dropped"
    )
    return printable(f"Belief: {', '.join(believed)}; {verdict}.")


def rank_agreement(view: StudyView) -> dict[int, float]:
    """Return, by milestone, the rank correlation of the losses there with those at the end of full training runs.

    Only milestones that at least five full training runs have passed are contained.
    """
    from scipy.stats import spearmanr

    last = view.max_resource
    full = [t.folds[0].curve for t in view.history if last is not None and t.folds[0].curve.reached(last)]
    if len(full) < 5:
        return {}
    at = view.objective.at
    ends = [curve.loss(at=at) for curve in full]
    found = {}
    for epoch in view.milestones:
        losses = [curve.loss(epoch, at=at) for curve in full]
        if None not in losses and len(set(losses)) > 1 and len(set(ends)) > 1:
            found[epoch] = float(spearmanr(losses, ends).statistic)
    return found


def confirmed(view: StudyView) -> str | None:
    """Return what a confirmation has found, in words; None without one."""
    if not view.confirmation:
        return None
    first, *others = view.confirmation
    if first.mean is None:
        return "The finalists are being confirmed; no repeat is complete yet."
    text = f"Trial {first.number} is the best of {len(view.confirmation)} finalists with probability "
    text += f"{first.probability:.3f}: {_repeats(first)}"
    rest = "; ".join(f"trial {each.number}: {_repeats(each)}" for each in others)
    return f"{text} ({rest})." if rest else f"{text}."


def _repeats(found: Confirmed) -> str:
    if found.mean is None:
        return "no repeat"
    deviation = "" if found.std is None else f" +- {found.std:.2g}"
    return f"{found.mean:.6g}{deviation} over {found.repeats} repeats"


def lead(view: StudyView) -> str | None:
    """Return how far the best trial is ahead of the second, in words; None if there are fewer than two."""
    if view.front or not view.feasible:
        return None
    first = view.feasible[0]
    second = next((trial for trial in view.feasible[1:] if len(trial.folds) == len(first.folds)), None)
    if second is None or first.value is None or second.value is None:
        return None
    if first.value == second.value:
        return _tie(view, first)
    ahead = abs(second.value - first.value)
    text = f"trial {second.number} is second with {second.value:.6g}, {ahead:.3g} behind"
    noise = first.std / len(first.folds) ** 0.5 if first.std is not None else _noise(view, first.number)
    if noise is None or noise <= 0:
        return text + "."
    source = f"the best trial's {'curve' if first.std is None else 'folds'}"
    if ahead < 2 * noise:
        return f"{text}: within the noise of {source}."
    ratio = f"{ahead / noise:.1f}" if ahead < MAX_RATIO * noise else f"more than {MAX_RATIO}"
    return f"{text}: {ratio} times the noise of {source}."


def _tie(view: StudyView, first: TrialRecord) -> str:
    """Return which trials share the best value; of more than five, how many."""
    tied = [str(t.number) for t in view.feasible if (t.value, len(t.folds)) == (first.value, len(first.folds))]
    names = f"{len(tied)} trials" if len(tied) > 5 else f"trials {', '.join(tied[:-1])} and {tied[-1]}"
    return f"{names} tie at {first.value:.6g}."


def _noise(view: StudyView, number: int) -> float | None:
    """Return how much the last quarter of a curve varies from epoch to epoch, None if it is short."""
    losses = list(view.history[number].folds[0].curve.losses)
    tail = losses[-max(4, len(losses) // 4) :]
    if len(losses) < 8:
        return None
    steps = [after - before for before, after in itertools.pairwise(tail)]
    mean = sum(steps) / len(steps)
    return float((sum((step - mean) ** 2 for step in steps) / len(steps) / 2) ** 0.5)


def advice(view: StudyView, *, importance: bool = True) -> list[str]:
    """Return suggested changes for a further search, one sentence each.

    Args:
        view: The study.
        importance: Whether to look for parameters without effect, which takes a second or two.
    """
    if len(view.valued) < MIN_TRIALS or view.front:
        return []
    found = [*_bounds(view), *(_without_effect(view) if importance else []), *_early_comparisons(view)]
    return [printable(text) for text in found]


def _bounds(view: StudyView) -> list[str]:
    found = []
    best = view.feasible[: max(3, len(view.feasible) // 20)]
    for name, parameter in ((name, view.space[name]) for name in view.space):
        if isinstance(parameter, Categorical) or parameter.size == 1:
            continue
        values = [trial.params[name] for trial in best if name in trial.params]
        places = [parameter.to_unit(value) for value in values]  # type: ignore[arg-type]  # its own value
        if isinstance(parameter, Ordinal):
            low, high, words = parameter.values[0], parameter.values[-1], ("values before it", "values after it")
            near = [value == low for value in values], [value == high for value in values]
        else:
            low, high, words = f"{parameter.low:g}", f"{parameter.high:g}", ("lower values", "higher values")
            near = [place <= NEAR_BOUND for place in places], [place >= 1 - NEAR_BOUND for place in places]
        for bound, is_near, word in zip((low, high), near, words, strict=True):
            if places and all(is_near):
                found.append(f"{name}: the best {len(places)} trials lie at its bound {bound}; {word} may be better.")
    return found


def _without_effect(view: StudyView) -> list[str]:
    found = view.importances
    quiet = [i.name for i in found if i.total + 2 * i.deviation < NO_EFFECT]
    if not quiet:
        return []
    them = "it" if len(quiet) == 1 else "them"
    return [
        f"{', '.join(quiet)}: no effect can be seen beside that of {found[0].name} over the whole space; narrow "
        f"{found[0].name}, or fix {them}, to make the search smaller."
    ]


def _early_comparisons(view: StudyView) -> list[str]:
    agreements = rank_agreement(view)
    early = [epoch for epoch, r in agreements.items() if r < MIN_AGREEMENT]
    if not early:
        return []
    later = [epoch for epoch in view.milestones if epoch > max(early)]
    cure = f"; a first comparison at epoch {later[0]} would lose fewer good ones" if later else ""
    worst = max(early)
    return [f"The order at epoch {worst} says little about the end (rank correlation {agreements[worst]:.2f}){cure}."]
