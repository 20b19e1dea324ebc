//! Ranks with shares of the gradients.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use regimen::auto_unit::{GradientScaler, NonFinite};
use regimen::callback::GradientMonitor;
use regimen::engine::{Engine, Part, Precision};
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::saved::{Array, StateDict, save_parts};
use regimen::{BoxError, Run, State};
use regimen_test::toy::ToyEngine;

use super::{
    FEATURES, LAYERS, Net, ROWS, STEPS, Unit, check_near, check_parts, loader, on, rank_of, run_in_parts,
    run_in_parts_of, unclipped,
};

/// With clipping, and windows of two steps.
fn unit(rank: u64, shards: bool) -> Unit {
    super::unit(rank, false).shard_gradients(shards)
}

#[test]
fn the_curve_is_that_without_sharding_on_any_number_of_ranks() {
    let alone = run_in_parts(&[(0, false, None)]);
    for ranks in [0, 1, 2, 4] {
        let found = run_in_parts_of(&[(ranks, true, None)], unit);
        check_parts(&found, &alone, &format!("on {ranks} ranks"));
    }
}

#[test]
fn checkpoints_are_those_without_sharding() {
    let alone = run_in_parts(&[(0, false, None)]);
    for first in (1..STEPS - 1).step_by(3) {
        for (before, after) in [(true, false), (false, true)] {
            let legs = [(4, before, Some(first)), (2, after, Some(first + 1)), (4, before, None)];
            check_parts(&run_in_parts_of(&legs, unit), &alone, &format!("after {legs:?}"));
        }
    }
}

#[test]
fn as_many_ranks_go_on_to_the_bit() {
    let whole = run_in_parts_of(&[(3, true, None)], unit);
    for stop in (1..STEPS).step_by(4) {
        let parts = run_in_parts_of(&[(3, true, Some(stop)), (3, true, None)], unit);
        assert_eq!(parts.content, whole.content, "{stop}");
    }
}

/// The module and the skipped updates after training, with or without clipping.
fn trained(
    peers: Option<Arc<dyn Peers>>,
    clips: bool,
    change: impl FnOnce(Unit) -> Unit,
) -> Result<(StateDict, u64), BoxError> {
    let rank = rank_of(&peers);
    let mut unit = change(if clips { super::unit(rank, false) } else { unclipped(rank, false) });
    let mut run = Run::new(&mut unit).seed(42);
    if let Some(peers) = peers {
        run = run.peers(peers);
    }
    run.train(&loader(ROWS), Train::epochs(4))?;
    drop(run);
    Ok((unit.engine().state(Part::Module)?, unit.skipped()))
}

/// Fails unless 3 ranks train and skip as without sharding.
#[track_caller]
fn check_skips(set: impl Fn(Unit) -> Unit + Sync, some: Range<u64>) {
    for clips in [true, false] {
        let whole = on(3, |peers| trained(peers, clips, &set));
        let shared = on(3, |peers| trained(peers, clips, |unit| set(unit).shard_gradients(true)));
        for (whole, shared) in whole.into_iter().zip(shared) {
            let (whole, shared) = (whole.unwrap(), shared.unwrap());
            assert!(some.contains(&whole.1), "{} updates were skipped", whole.1);
            assert_eq!(shared.1, whole.1, "clips: {clips}");
            check_near(&shared.0, &whole.0, "the module");
        }
    }
}

#[test]
fn updates_that_a_scale_skips_are_skipped_by_all() {
    let scaler = || GradientScaler::new().initial(1e6).growth_interval(2);
    check_skips(|unit| unit.precision(Precision::F16).gradient_scaler(scaler()), 1..12);
}

/// Makes a gradient NaN before the fourth update, on the ranks that hold it.
fn spoil(engine: &mut ToyEngine<Net>, state: &mut State) -> Result<(), BoxError> {
    let mut gradients = engine.state(Part::Gradients)?;
    if let (6, Ok(bias)) = (state.train_progress().steps, gradients.remove("layer-3.bias")) {
        gradients.insert("layer-3.bias", Array::from_slice(&[f64::NAN; FEATURES]))?;
        assert_eq!(bias.shape(), [FEATURES]);
        engine.load_state(Part::Gradients, &gradients)?;
    }
    Ok(())
}

#[test]
fn a_gradient_of_one_rank_that_is_not_finite_skips_the_update_of_all() {
    check_skips(|unit| unit.before_update(spoil).non_finite(NonFinite::Skip), 1..2);
}

/// The gradients that each of 3 ranks holds before updates.
fn held(set: fn(Unit) -> Unit) -> Vec<Vec<String>> {
    let ranks = on(3, |peers| {
        let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let noted = Arc::clone(&seen);
        trained(peers, true, |unit| {
            set(unit).shard_gradients(true).before_update(move |engine, _| {
                let held = engine.state(Part::Gradients)?;
                noted.lock().unwrap().extend(held.iter().map(|(name, _)| name.to_owned()));
                Ok(())
            })
        })?;
        Ok(seen.lock().unwrap().iter().cloned().collect())
    });
    ranks.into_iter().map(Result::unwrap).collect()
}

#[test]
fn each_gradient_is_held_by_one_rank() {
    // Without the layer that is never trained, and the one that is not used.
    let count = 2 * LAYERS;
    let ranks = held(|unit| unit);
    assert!(ranks.iter().all(|names| names.len() < count / 2), "{ranks:?}");
    let all: Vec<&String> = ranks.iter().flatten().collect();
    let different: BTreeSet<&String> = all.iter().copied().collect();
    assert_eq!((all.len(), different.len()), (count, count), "{ranks:?}");
}

#[test]
fn a_hook_after_the_backward_pass_needs_all_gradients() {
    let ranks = held(|unit| unit.after_backward(|_, _| Ok(())));
    assert!(ranks.iter().all(|names| names.len() == 2 * LAYERS), "{ranks:?}");
}

#[test]
fn a_window_is_not_kept_once_its_gradients_are_shared_out() {
    let kept = |shards: bool| {
        let ranks = on(2, |peers| {
            let mut unit = super::unit(rank_of(&peers), false).shard_optimizer(true).shard_gradients(shards);
            unit = unit.before_update(|_, _| Err("not yet".into()));
            let mut run = Run::new(&mut unit).peers(peers.ok_or("alone")?);
            run.train(&loader(ROWS), Train::epochs(1)).unwrap_err();
            drop(run);
            let saved = save_parts(&mut unit)?;
            Ok((saved["auto_unit"].count("window.steps")?, saved["auto_unit"].under("gradients").is_empty()))
        });
        ranks.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(kept(false), [(1, false); 2]);
    assert_eq!(kept(true), [(0, true); 2]);
}

#[test]
fn a_monitor_of_all_gradients_refuses_a_share() {
    let monitored = |ranks, shards: bool| {
        let results = on(ranks, |peers| {
            let hook = GradientMonitor::new().into_hook();
            trained(peers, true, |unit| unit.shard_gradients(shards).before_update(hook)).map(drop)
        });
        results.into_iter().collect::<Result<Vec<()>, _>>()
    };
    let error = monitored(2, true).unwrap_err();
    let own = "`GradientMonitor` needs the gradients of all ranks, and this one holds a share; leave it or \
               `shard_gradients` out";
    assert!(error.contains(own), "{error}");
    assert_eq!(monitored(2, false), Ok(vec![(); 2]));
    assert_eq!(monitored(1, true), Ok(vec![()]));
}
