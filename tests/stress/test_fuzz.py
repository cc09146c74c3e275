"""Whatever is reported, saved or written, in whatever order: the study stays whole."""

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpo_plugins as hpo
from hpo_plugins.records import Assignment, Progress, ReportRow, TrialState, Written
from hpo_plugins.storage import open_storage

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=3), st.binary(max_size=3),
    st.lists(st.integers(), max_size=2), st.complex_numbers(),
)  # fmt: skip
METRICS = st.one_of(st.dictionaries(st.one_of(st.text(max_size=4), st.just("loss")), ANYTHING, max_size=3), ANYTHING)
STEPS = st.lists(
    st.tuples(st.sampled_from(["report", "save", "end", "fail", "ask", "again"]), ANYTHING, METRICS), max_size=12
)
fuzzed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def is_whole(trials):
    """What must hold of every study at any time."""
    assert [t.number for t in trials] == list(range(len(trials)))
    for t in trials:
        assert list(t.curve) == sorted(t.curve)
        assert all(type(e) is int and e >= 1 for e in t.metrics)
        assert all(math.isfinite(v) for v in t.curve.values())
        assert set(t.curve) <= set(t.metrics)
        assert all(type(v) is float for m in t.metrics.values() for v in m.values())
        assert (t.ended_at is not None) == t.state.is_final
        assert (t.error is not None) == (t.state is hpo.TrialState.FAILED)
    return trials


@given(steps=STEPS)
@settings(fuzzed, max_examples=400)
def test_any_calls_leave_a_whole_study(steps):
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=50, seed=0)
    trial, epoch = tuner.ask(), 0
    for what, given_epoch, metrics in steps:
        try:
            match what:
                case "report":
                    trial.report(given_epoch, metrics)
                case "again":
                    epoch += 1
                    trial.report(epoch, {"loss": 1.0} | (metrics if isinstance(metrics, dict) else {}))
                case "save":
                    trial.save(lambda path: path.write_text("state"))
                case "end":
                    trial.end()
                case "fail":
                    trial.fail(str(given_epoch))
                case "ask":
                    trial, epoch = tuner.ask() or trial, 0
        except hpo.HpoError:
            continue  # refused, in words
        finally:
            is_whole(tuner.trials)


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "report", "update", "renew", "drop"]), st.integers(0, 3), st.integers(0, 4),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    ),
    max_size=25,
)  # fmt: skip


@given(writes=WRITES)
@settings(fuzzed, max_examples=150)
def test_storages_agree_on_any_writes(writes, tmp_path_factory):
    """The two implementations are each other's slow twin."""
    stores = [open_storage(target).open("s", {}) for target in (None, tmp_path_factory.mktemp("fuzz") / "a.db")]

    def write(store, what, number, attempt, value):
        known = {row.number: row for row in store.changes(0).trials}
        match what:
            case "acquire":
                again = known.get(number)
                offer = Assignment(
                    number if again else len(known), {"x": 1}, again.attempts + 1 if again else 1, 0, "w", 60.0
                )
                return store.acquire(offer, store.changes(0).acquisitions - (attempt == 4))
            case "report" if number in known:
                return store.report(ReportRow(number, attempt, attempt + 1, value, "{}", 1.0)) is None
            case "update" if number in known:
                state = list(TrialState)[attempt]
                return store.update(
                    number, attempt, state=state, ended_at=state.is_final or None, progress=Progress(checkpoint="c")
                )
            case "renew" if number in known:
                return store.renew([(number, attempt)], 60.0)
            case "drop" if number in known:
                return store.drop_checkpoint(number, "c")
        return None

    def shown(row):
        return row.number, row.state, row.attempts, row.progress.checkpoint, row.ended_at is None

    for step in writes:
        one, other = (write(store, *step) for store in stores)
        if isinstance(one, Written):  # clocks and revisions differ
            one, other = shown(one.row), shown(other.row)
        assert one == other
    one, other = (store.changes(0) for store in stores)
    assert one.acquisitions == other.acquisitions
    assert [tuple(r) for r in one.reports] == [tuple(r) for r in other.reports]
    assert sorted(map(shown, one.trials)) == sorted(map(shown, other.trials))
    stores[1]._database.close()
