"""The plan covers every cell of the paper's tables once, in an order that can be executed."""

import pytest

from sardino.errors import SardinoError
from sardino.study.plan import plan, select, settings
from sardino.study.profile import Profile, known_profiles


@pytest.mark.parametrize("name", known_profiles())
def test_runs_have_one_name_each_and_follow_what_they_need(name):
    seen: set[str] = set()
    for run in plan(Profile.load(name)):
        assert run.name not in seen and set(run.needs) <= seen
        seen.add(run.name)


@pytest.mark.parametrize("name", ["laptop", "paper"])
def test_tables_1_and_2_are_covered_36_and_12_cells(name):
    profile = Profile.load(name)
    runs = plan(profile)
    cells = {kind: [r for r in runs if r.kind == kind for _ in profile.fractions] for kind in ("finetune", "baseline")}
    assert len(cells["finetune"]) == 36 and len(cells["baseline"]) == 12


def test_from_scratch_needs_no_pretraining_and_the_rest_its_own_arm():
    for run in plan(Profile.load("laptop")):
        if run.kind == "finetune":
            wanted = (
                set() if run.parameters["initialisation"] == "scratch" else {f"pretrain-{run.parameters['regions']}"}
            )
            assert set(run.needs) - {"data"} == wanted
    assert {r.needs for r in plan(Profile.load("laptop")) if "unet_attention-frozen" in r.name} == {
        ("data", "pretrain-europe")
    }


def test_each_seed_has_its_own_pretraining_and_cells_wait_for_all_of_them():
    runs = {run.name: run for run in plan(Profile.load("laptop").model_copy(update={"seeds": [0, 1, 2]}))}
    trained = [name for name, run in runs.items() if run.kind == "pretrain"]
    assert trained == [f"pretrain-{arm}{end}" for arm in ("europe", "all") for end in ("", "-seed1", "-seed2")]
    assert runs["pretrain-all"].parameters == {"arm": "all"}
    assert runs["pretrain-all-seed2"].parameters == {"arm": "all", "seed": 2}
    assert runs["finetune-all-tokens-frozen"].needs == ("data", *trained[3:])
    assert runs["finetune-all-tokens-scratch"].needs == ("data",)
    assert set(trained) <= set(runs["tables"].needs)
    assert {need for need in runs["attention"].needs if need in trained} == {"pretrain-europe", "pretrain-all"}


def test_another_seed_leaves_the_pretrainings_of_the_first_as_they_are():
    one = Profile.load("laptop")
    three = one.model_copy(update={"seeds": [0, 1, 2]})
    more = {run.name: run for run in plan(three)}
    for run in plan(one):
        if run.kind == "pretrain":
            assert more[run.name] == run and settings(three, run) == settings(one, run)
    assert settings(three, more["pretrain-all-seed1"])["seeds"] == [1]


def test_a_cache_does_not_make_stale():
    one = Profile.load("laptop")
    kept = one.model_copy(update={"finetuning": one.finetuning.model_copy(update={"feature_cache_gb": 0})})
    assert all(settings(one, run) == settings(kept, run) for run in plan(one))


def test_an_arm_that_is_not_finetuned_is_pretrained_only():
    runs = {run.name: run for run in plan(Profile.load("real"))}
    assert "pretrain-seasonal" in runs and "pretrain-seasonal" in runs["attention"].needs
    assert {run.parameters["regions"] for run in runs.values() if run.kind == "finetune"} == {"los-angeles"}


def with_hybrid(profile, **changes):
    """The profile with one pre-training more, whose rows are those of the hybrid."""
    arm = profile.pretraining["europe"].model_copy(update={"encodings": ["hybrid"], **changes})
    return profile.model_copy(update={"pretraining": {**profile.pretraining, "masked": arm}})


def test_an_arm_that_comes_later_adds_its_rows_and_leaves_those_that_are_there():
    one = Profile.load("laptop").model_copy(update={"seeds": [0, 1, 2]})
    before, after = ({run.name: run for run in plan(profile)} for profile in (one, with_hybrid(one)))
    rows = {f"baseline-hybrid-{start}" for start in ("scratch", "frozen", "unfrozen")}
    trained = {"pretrain-masked", "pretrain-masked-seed1", "pretrain-masked-seed2"}
    assert set(after) - set(before) == rows | trained and set(before) <= set(after)
    assert set(after["baseline-hybrid-frozen"].needs) == {"data", *trained} and rows <= set(after["tables"].needs)
    for name, run in before.items():
        if run.kind in ("pretrain", "finetune", "baseline", "floors"):
            assert after[name] == run and settings(with_hybrid(one), run) == settings(one, run)
    tuned = with_hybrid(one, steps=7)
    assert settings(tuned, after["baseline-hybrid-frozen"]) != settings(
        with_hybrid(one), after["baseline-hybrid-frozen"]
    )


def test_a_wide_u_net_that_comes_later_adds_its_row_and_leaves_those_that_are_there():
    one = Profile.load("laptop")
    wide, wider = (one.model_copy(update={"wide_unet_width": width}) for width in (27, 28))
    runs = {run.name: run for run in plan(wide)}
    assert {run.name for run in plan(one)} == set(runs) - {"baseline-wide-scratch"}
    row = runs.pop("baseline-wide-scratch")
    assert row.parameters["regions"] == "europe" and row.needs == ("data",) and row.name in runs["tables"].needs
    assert settings(wide, row) != settings(wider, row)
    assert all(settings(one, run) == settings(wide, run) for run in runs.values())


def test_self_trained_rows_come_later_too():
    one = with_hybrid(Profile.load("laptop"))
    more = one.model_copy(update={"self_trained": {"unet": 8, "hybrid": 8}})
    runs = {run.name: run for run in plan(more)}
    own = {name: runs.pop(name) for name in (f"baseline-{each}-self-trained" for each in more.self_trained)}
    assert {run.name for run in plan(one)} == set(runs) and own.keys() <= set(runs["tables"].needs)
    assert [run.needs for run in own.values()] == [("data",), ("data", "pretrain-masked")]
    assert [run.parameters["regions"] for run in own.values()] == ["europe", "masked"]
    assert all(settings(one, run) == settings(more, run) for run in runs.values())
    other = more.model_copy(update={"self_trained": {"unet": 4, "hybrid": 8}})
    assert all(settings(other, run) != settings(more, run) for run in own.values())


def test_what_is_kept_where_changes_no_result():
    one = Profile.load("laptop")
    assert all(settings(one, run) == settings(one.model_copy(update={"keep": True}), run) for run in plan(one))


def test_selection_takes_needs_along_in_order():
    runs = plan(Profile.load("smoke"))
    names = [run.name for run in select(runs, ["finetune-all-tokens-frozen"])]
    assert names == ["data", "pretrain-all", "finetune-all-tokens-frozen"]
    assert select(runs, ["claims"]) == [run for run in runs if run.name not in ("quickstart", "realism", "report")]
    assert select(runs, ["report"]) == [run for run in runs if run.name != "quickstart"]
    with pytest.raises(SardinoError, match="no run is named 'finetune'"):
        select(runs, ["finetune"])


def test_only_the_settings_a_run_reads_make_it_stale():
    """Tuning the fine-tuning must not cost another pre-training."""
    profile = Profile.load("laptop")
    runs = {run.name: run for run in plan(profile)}

    def stale(other):
        return {name for name, run in runs.items() if settings(profile, run) != settings(other, run)}

    tuning = profile.finetuning.model_copy(update={"lr": 0.5})
    later = set(runs) - {"data", "realism", "pretrain-europe", "pretrain-all"}
    assert stale(profile.model_copy(update={"finetuning": tuning})) == later
    europe = profile.pretraining["europe"].model_copy(update={"steps": 7})
    arms = {**profile.pretraining, "europe": europe}
    assert stale(profile.model_copy(update={"pretraining": arms})) == later | {"pretrain-europe"}
    assert stale(profile.model_copy(update={"hardware": "another", "expected_minutes": 1.0})) == set()
    data = profile.data.model_copy(update={"seed": 5})
    assert stale(profile.model_copy(update={"data": data})) == set(runs)
