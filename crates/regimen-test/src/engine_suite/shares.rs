//! Ranks that each have the optimizer of a share of the parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use regimen_core::data::Rank;
use regimen_core::engine::{Bucket, Engine, Part, Role};
use regimen_core::peers::Peers;
use regimen_core::run::Train;
use regimen_core::saved::{Dtype, StateDict, load_parts_except, save_parts, save_parts_of_ranks};
use regimen_core::{BoxError, Run};

use super::measure::{all_numbers, changed, ensure, ensure_close, ensure_same};
use super::ranks::{on, part_of};
use super::task::{backward, unit};
use super::{EngineFixture, ROWS};

/// Gradients that are not retained are discarded, and the others stay. A step then leaves the parameters without one as
/// they are, and makes no optimizer state for them. Such a state is loaded.
pub fn a_step_with_a_share_of_the_gradients_leaves_the_rest<F: EngineFixture>(
    fixture: &F,
) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let rates = vec![fixture.learning_rate(); engine.groups().len()];
    let all = backward(fixture, &mut engine, 0..ROWS)?;
    let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    let is_own = |name: &str| names.iter().position(|own| *own == name).is_some_and(|n| n % 2 == 0);
    engine.retain_gradients(&|_| true)?;
    ensure_same("gradients that are all retained", &engine.state(Part::Gradients)?, &all)?;
    engine.retain_gradients(&is_own)?;
    let own = chosen(&all, is_own)?;
    ensure_same("the gradients that are retained", &engine.state(Part::Gradients)?, &own)?;

    let before = engine.state(Part::Module)?;
    engine.step(&rates)?;
    let mut whole = fixture.plain();
    backward(fixture, &mut whole, 0..ROWS)?;
    whole.step(&rates)?;
    let (module, optimizer) = (whole.state(Part::Module)?, whole.state(Part::Optimizer)?);
    let after = engine.state(Part::Module)?;
    for name in &names {
        let expected = if is_own(name) { &module } else { &before };
        let is_right = after.array(name)? == expected.array(name)?;
        ensure(is_right, format!("`{name}`: own: {}, and a step moves it otherwise", is_own(name)))?;
    }
    let of_own = |name: &str| names.iter().any(|own| is_own(own) && name.starts_with(&format!("{own}.")));
    let share = chosen(&optimizer, of_own)?;
    ensure(!share.is_empty() && share.len() < optimizer.len(), "the optimizer names no state by parameters")?;
    ensure_same("the optimizer of a share", &engine.state(Part::Optimizer)?, &share)?;

    let mut other = fixture.plain();
    other.load_state(Part::Optimizer, &optimizer)?;
    other.check_state(Part::Optimizer, &share)?;
    other.load_state(Part::Optimizer, &share)?;
    ensure_same("the optimizer of a share, loaded over all", &other.state(Part::Optimizer)?, &share)?;
    engine.retain_gradients(&|_| false)?;
    ensure(engine.state(Part::Gradients)?.is_empty(), "no gradient is retained, and one is held")
}

/// Buckets hold whole parameters in the order of their names, up to the given size: those of its own, and negative
/// zeros for the others. Frozen parameters and buffers are left out. The values left there are taken up, and nothing else
/// changes.
pub fn exchange_takes_up_parameters<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let groups = fixture.regularized().groups().len();
    for frozen in [None, Some(groups - 1)].into_iter().filter(|&frozen| frozen != Some(0)) {
        let mut engine = fixture.regularized();
        engine.freeze(&(0..groups).map(|group| Some(group) == frozen).collect::<Vec<_>>())?;
        let rates = vec![fixture.learning_rate(); groups];
        backward(fixture, &mut engine, 0..ROWS)?;
        engine.step(&rates)?;
        let gradients = backward(fixture, &mut engine, 0..ROWS)?;
        let (module, optimizer) = (engine.state(Part::Module)?, engine.state(Part::Optimizer)?);
        let variables = engine.variables()?;
        let trained: Vec<&str> = variables
            .iter()
            .filter(|variable| variable.role == Role::Trained)
            .map(|variable| variable.name.as_str())
            .collect();
        let own = chosen(&module, |name| trained.contains(&name))?;
        let is_own = |name: &str| trained.iter().position(|own| *own == name).is_some_and(|n| n % 2 == 0);

        let sizes: Vec<usize> = own.iter().map(|(_, array)| array.bytes().len()).collect();
        for limit in [1, sizes.iter().sum()] {
            let (mut passed, mut lengths) = (Vec::new(), Vec::new());
            engine.exchange_parameters(limit, &is_own, &mut |bucket| {
                let (bytes, elements) = seen(bucket)?;
                lengths.push(bytes);
                passed.extend(elements);
                Ok(())
            })?;
            let expected = if limit == 1 { sizes.clone() } else { vec![limit] };
            ensure(lengths == expected, format!("parameters of {sizes:?} bytes in buckets of {lengths:?}"))?;
            let mut expected = Vec::new();
            for name in &trained {
                let array = chosen(&own, |of| of == *name)?;
                let array = if is_own(name) { array } else { changed(&array, |_| -0.0)? };
                expected.extend(all_numbers(&array)?);
            }
            let alike = passed.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x: &f64| x.to_bits()));
            ensure(
                alike,
                "buckets do not hold the own parameters in the order of names, and negative zeros",
            )?;
            // The others are zeros now.
            engine.load_state(Part::Module, &module)?;
        }

        engine.exchange_parameters(usize::MAX, &|_| true, &mut |bucket| change(bucket, |x| 2.0 * x + 1.0))?;
        let mut expected = StateDict::new();
        for (name, array) in module.iter() {
            let one = chosen(&module, |of| of == name)?;
            let one = if trained.contains(&name) { changed(&one, |x| 2.0 * x + 1.0)? } else { one };
            ensure(one.array(name)?.dtype() == array.dtype(), "the suite changes a type")?;
            expected.insert(name, one.array(name)?.clone())?;
        }
        ensure_same("the module after an exchange of parameters", &engine.state(Part::Module)?, &expected)?;
        ensure_same("gradients after it", &engine.state(Part::Gradients)?, &gradients)?;
        ensure_same("the optimizer after it", &engine.state(Part::Optimizer)?, &optimizer)?;
        let failed = engine.exchange_parameters(1, &is_own, &mut |_| Err("the other rank is gone".into()));
        ensure(failed.is_err(), "an exchange of parameters that failed is no error")?;
    }
    Ok(())
}

/// Ranks with shares train as one process does. Their checkpoint is that of one, 4 ranks go on from it as 2, 1 and 4
/// again, and with or without sharding.
pub fn ranks_with_shares_train_as_one<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let legs = [
        (4, [true, false, true]),
        (2, [true, true, false]),
        (1, [true, false, true]),
        (4, [true, true, false]),
    ];
    let mut alone = unit(fixture, fixture.plain()).accumulate(2).clip_norm(0.1);
    let mut saved = [const { BTreeMap::new() }; 3];
    for (n, (ranks, shares)) in legs.into_iter().enumerate() {
        Run::new(&mut alone).train(&part_of(fixture, Rank::default()), Train::epochs(1))?;
        let expected = save_parts(&mut alone)?;
        for (saved, shares) in saved.iter_mut().zip(shares) {
            let what = format!("in part {n}, on {ranks} ranks that shard ({shares})");
            let leg = |peers: Arc<dyn Peers>, engine| {
                let rank = peers.rank();
                let mut unit = unit(fixture, engine).accumulate(2).clip_norm(0.1).shard_optimizer(shares);
                if n > 0 {
                    load_parts_except(&mut unit, saved, &[], rank)?;
                }
                Run::new(&mut unit).peers(peers.clone()).train(&part_of(fixture, rank), Train::epochs(1))?;
                Ok((save_parts_of_ranks(&mut unit, &*peers)?, unit.engine().state(Part::Optimizer)?.len()))
            };
            let mut of_ranks = on(fixture, ranks, leg)?;
            let all = expected["optimizer"].len();
            let is_shared = of_ranks.iter().map(|(_, own)| own).sum::<usize>() == all;
            ensure(
                is_shared == (shares || ranks == 1),
                format!("{what}, the optimizer is not of each rank's own"),
            )?;
            *saved = of_ranks.swap_remove(0).0;
            for part in ["module", "optimizer"] {
                let what = format!("`{part}` {what}");
                let (found, expected) = (&saved[part], &expected[part]);
                expected.check_same_layout(found).map_err(|cause| format!("{what}: {cause}"))?;
                let [found, expected] = [found, expected].map(floats);
                ensure_close(&what, &found?, &expected?, 20.0 * fixture.tolerance())?;
            }
        }
    }
    Ok(())
}

/// The elements of the arrays of floats.
fn floats(dict: &StateDict) -> Result<Vec<f64>, BoxError> {
    let mut floats = StateDict::new();
    for (name, array) in dict.iter().filter(|(_, array)| matches!(array.dtype(), Dtype::F32 | Dtype::F64)) {
        floats.insert(name, array.clone())?;
    }
    all_numbers(&floats)
}

/// The arrays of these names.
fn chosen(dict: &StateDict, is_chosen: impl Fn(&str) -> bool) -> Result<StateDict, BoxError> {
    let mut some = StateDict::new();
    for (name, array) in dict.iter().filter(|(name, _)| is_chosen(name)) {
        some.insert(name, array.clone())?;
    }
    Ok(some)
}

/// The bytes of a bucket, and its elements.
fn seen(bucket: Bucket<'_>) -> Result<(usize, Vec<f64>), BoxError> {
    match bucket {
        Bucket::F32(elements) => {
            Ok((size_of_val(elements), elements.iter().map(|element| f64::from(*element)).collect()))
        }
        Bucket::F64(elements) => Ok((size_of_val(elements), elements.to_vec())),
        other => Err(other.refused()),
    }
}

fn change(bucket: Bucket<'_>, f: impl Fn(f64) -> f64) -> Result<(), BoxError> {
    match bucket {
        Bucket::F32(elements) => {
            elements.iter_mut().for_each(|element| *element = f(f64::from(*element)) as f32);
        }
        Bucket::F64(elements) => elements.iter_mut().for_each(|element| *element = f(*element)),
        other => return Err(other.refused()),
    }
    Ok(())
}
