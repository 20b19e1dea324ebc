//! The results and the memory of ranks with shares.

use std::sync::Arc;

use regimen::engine::{Engine, Part, Precision};
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::saved::StateDict;
use regimen::{AutoUnit, BoxError, Run};
use regimen_test::toy::{ToyEngine, ToyOptimizer};

use super::{Net, ROWS, Unit, check_near, check_parts, loader, on, rank_of, run_in_parts, unit};

#[test]
fn the_curve_is_that_without_sharding_on_any_number_of_ranks() {
    let alone = run_in_parts(&[(0, false, None)]);
    for ranks in 0..=4 {
        let found = run_in_parts(&[(ranks, true, None)]);
        check_parts(&found, &alone, &format!("on {ranks} ranks"));
        let metrics = &alone.checkpoint.manifest().metrics;
        assert!(metrics.contains_key("eval/loss"), "{metrics:?}");
        for (name, expected) in metrics {
            let found = found.checkpoint.manifest().metrics[name];
            assert!((found - expected).abs() <= 1e-13 * expected.abs(), "{name}: {found}, not {expected}");
        }
    }
}

#[test]
fn ranks_with_shares_have_the_bits_of_ranks_without() {
    let whole = run_in_parts(&[(3, false, None)]);
    let shared = run_in_parts(&[(3, true, None)]);
    assert_eq!(shared.content, whole.content);
}

/// Losses of steps, and the optimizer at the end.
fn trained(
    peers: Option<Arc<dyn Peers>>,
    change: impl FnOnce(Unit) -> Unit,
) -> Result<(StateDict, StateDict, u64), BoxError> {
    let mut unit = change(unit(rank_of(&peers), true));
    let mut run = Run::new(&mut unit).seed(42);
    if let Some(peers) = peers {
        run = run.peers(peers);
    }
    run.train(&loader(ROWS), Train::epochs(4))?;
    drop(run);
    let skipped = unit.skipped();
    let (engine, _) = unit.into_parts();
    Ok((engine.state(Part::Module)?, engine.state(Part::Optimizer)?, skipped))
}

fn bytes(dict: &StateDict) -> usize {
    dict.iter().map(|(_, array)| array.bytes().len()).sum()
}

#[test]
fn four_ranks_have_a_quarter_of_the_optimizer_each() {
    let thawed = |mut unit: Unit| {
        for group in ["late", "never"] {
            unit.set_frozen(group, None).unwrap();
        }
        unit
    };
    let alone = bytes(&trained(None, thawed).unwrap().1);
    let ranks = on(4, |peers| trained(peers, thawed));
    let ranks: Vec<usize> = ranks.into_iter().map(|trained| bytes(&trained.unwrap().1)).collect();
    assert_eq!(ranks.iter().sum::<usize>(), alone);
    assert!(ranks.iter().all(|of_rank| *of_rank as f64 <= 0.3 * alone as f64), "{ranks:?} of {alone}");
}

#[test]
fn a_whole_optimizer_is_shared_out_at_the_start() {
    let arrays = on(3, |peers| {
        // All of them have trained alone.
        let mut unit = unit(0, true);
        Run::new(&mut unit).seed(42).train(&loader(ROWS), Train::epochs(2))?;
        let whole = unit.engine().state(Part::Optimizer)?.len();
        let mut run = Run::new(&mut unit).seed(42).peers(peers.ok_or("alone")?);
        run.train(&loader(ROWS), Train::steps(1))?;
        drop(run);
        Ok((unit.engine().state(Part::Optimizer)?.len(), whole))
    });
    let (own, whole): (Vec<usize>, Vec<usize>) = arrays.into_iter().map(Result::unwrap).unzip();
    assert_eq!(own.iter().sum::<usize>(), whole[0], "{own:?} of {whole:?}");
}

#[test]
fn more_ranks_than_parameters_train_too() {
    let small = |rank| {
        regimen_test::toy::manual_seed(7 + rank);
        let mut vars = regimen_test::toy::ToyVars::new();
        let mlp = regimen_test::toy::ToyMlp::plain(&mut vars, [4, 3, 1]);
        ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.9))
    };
    struct Small;
    impl regimen::Task<ToyEngine<regimen_test::toy::ToyMlp>> for Small {
        type Batch = super::Batch;
        type Output = ();

        fn compute_loss(
            &mut self,
            step: &regimen::Step,
            mlp: &regimen_test::toy::ToyMlp,
            (x, y): &super::Batch,
        ) -> Result<(regimen::Loss<regimen_test::toy::ToyArray>, ()), BoxError> {
            let loss = mlp.forward(x).mean_squared_error(y);
            Ok((regimen::Loss::mean(loss, step.samples as f64), ()))
        }
    }
    let train = |peers: Option<Arc<dyn Peers>>| {
        let mut unit = AutoUnit::new(small(rank_of(&peers)), Small).learning_rate(0.05).shard_optimizer(true);
        let mut run = Run::new(&mut unit).seed(1);
        if let Some(peers) = peers {
            run = run.peers(peers);
        }
        run.train(&loader(ROWS), Train::epochs(2))?;
        drop(run);
        Ok((unit.engine().state(Part::Module)?, unit.engine().state(Part::Optimizer)?))
    };
    let alone = on(0, train).remove(0).unwrap();
    let ranks = on(6, train);
    let of_ranks: Vec<(StateDict, StateDict)> = ranks.into_iter().map(Result::unwrap).collect();
    for (module, _) in &of_ranks {
        check_near(module, &alone.0, "the module of one of 6 ranks");
    }
    let arrays: Vec<usize> = of_ranks.iter().map(|(_, optimizer)| optimizer.len()).collect();
    assert_eq!(arrays, [2, 2, 2, 2, 0, 0]);
}

#[test]
fn updates_that_a_scale_skips_are_skipped_by_all() {
    let scaled = |unit: Unit| {
        let scaler = regimen::auto_unit::GradientScaler::new().initial(1e6).growth_interval(2);
        unit.precision(Precision::F16).gradient_scaler(scaler)
    };
    let whole = on(3, |peers| trained(peers, |unit| scaled(unit).shard_optimizer(false)));
    let shared = on(3, |peers| trained(peers, scaled));
    for (whole, shared) in whole.into_iter().zip(shared) {
        let (whole, shared) = (whole.unwrap(), shared.unwrap());
        assert!((1..12).contains(&whole.2), "{} updates of 12 were skipped", whole.2);
        assert_eq!((shared.0, shared.2), (whole.0, whole.2));
    }
}

#[test]
fn a_module_that_drifts_is_found() {
    let drifting = |unit: Unit, drifts: bool| {
        unit.before_update(move |engine: &mut ToyEngine<Net>, state| {
            if drifts && state.train_progress().updates == 3 {
                let mut module = engine.state(Part::Module)?;
                let bias = module.remove("layer-2.bias")?;
                let other = regimen::saved::Array::filled(bias.dtype(), bias.shape().to_vec(), |bytes| {
                    bytes.fill(0);
                    Ok(())
                })?;
                module.insert("layer-2.bias", other)?;
                engine.load_state(Part::Module, &module)?;
            }
            Ok(())
        })
    };
    let ended = on(3, |peers| {
        let drifts = rank_of(&peers) == 2;
        trained(peers, |unit| drifting(unit, drifts)).map(drop)
    });
    for error in ended {
        let error = error.unwrap_err();
        let expected = "rank 2 is no replica of rank 0: `layer-2.bias` of the module is another there; \
                        restore the same checkpoint on all ranks";
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_rank_without_the_setting_is_found_before_the_first_step() {
    let ended = on(3, |peers| {
        let shards = rank_of(&peers) != 1;
        trained(peers, |unit| unit.shard_optimizer(shards)).map(drop)
    });
    let errors: Vec<String> = ended.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| error.contains("the ranks make different calls: ")), "{errors:#?}");
}
