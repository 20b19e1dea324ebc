//! Flat buffers of gradients and of running statistics, as ranks exchange them.

use regimen_core::BoxError;
use regimen_core::engine::{Bucket, Engine, Part, Role};
use regimen_core::saved::StateDict;

use super::measure::{all_numbers, changed, ensure, ensure_close, ensure_same};
use super::task::backward;
use super::{EngineFixture, ROWS};

/// After the flags, buckets hold whole parameters in the order of their names, up to the given size. The values
/// left in them are held afterwards, unless the exchange failed.
pub fn exchange_hands_out_flat_buckets<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let held = backward(fixture, &mut engine, 0..ROWS)?;
    let sizes: Vec<usize> = held.iter().map(|(_, array)| array.bytes().len()).collect();
    let largest = sizes.iter().copied().max().unwrap_or(0);

    let whole = exchanged(&mut engine, usize::MAX)?;
    ensure(whole.len() == 1, "without a limit there is more than one bucket")?;
    let single = exchanged(&mut engine, 1)?;
    let found: Vec<usize> = single.iter().map(|bucket| bucket.bytes).collect();
    ensure(found == sizes, format!("parameters of {sizes:?} bytes in buckets of at most 1: {found:?}"))?;
    for limit in [largest, 2 * largest, 3 * largest / 2] {
        let buckets = exchanged(&mut engine, limit)?;
        let within = buckets.iter().all(|bucket| bucket.bytes <= limit);
        ensure(within, format!("a bucket is larger than {limit} bytes"))?;
        let mut ends = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        let mut filled = 0;
        let cuts = buckets.iter().all(|bucket| {
            filled += bucket.bytes;
            ends.any(|end| end == filled)
        });
        ensure(cuts, format!("with buckets of {limit} bytes a parameter is cut in two"))?;
        ensure(contents(&buckets) == contents(&whole), "the size of buckets changes what is in them")?;
    }
    ensure(contents(&whole) == all_numbers(&held)?, "buckets do not hold the gradients in order of name")?;
    ensure_same("gradients that the exchange left alone", &engine.state(Part::Gradients)?, &held)?;

    for failing in 1..=3 {
        let mut calls = 0;
        let failed = engine.exchange_gradients(1, &mut |bucket| {
            calls += 1;
            change(bucket, |_| 1.0);
            if calls == failing { Err("the other rank is gone".into()) } else { Ok(()) }
        });
        ensure(failed.is_err() && calls == failing, "an exchange that failed went on")?;
        ensure_same("gradients after an exchange that failed", &engine.state(Part::Gradients)?, &held)?;
    }

    let mut calls = 0;
    engine.exchange_gradients(largest, &mut |bucket| {
        calls += 1;
        if 1 < calls {
            change(bucket, |element| 2.0 * element + 1.0);
        }
        Ok(())
    })?;
    let expected = changed(&held, |element| 2.0 * element + 1.0)?;
    ensure_close(
        "what the exchange left",
        &all_numbers(&engine.state(Part::Gradients)?)?,
        &all_numbers(&expected)?,
        fixture.tolerance(),
    )
}

/// The first buffer says which gradients are held. After the exchange those are held whose flag is not 0: a gradient
/// of another rank is added to zeros, and one that no rank holds is neither exchanged nor held.
pub fn exchange_holds_what_some_rank_holds<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let all = backward(fixture, &mut engine, 0..ROWS)?;
    let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    let last = names.len() - 1;
    // This rank holds the first and the last gradient, another one the last two.
    let own = of(&all, &[names[0], names[last]])?;
    engine.load_state(Part::Gradients, &own)?;
    let mut flags = vec![0.0; names.len()];
    (flags[0], flags[last]) = (1.0, 1.0);
    let mut passed = Vec::new();
    engine.exchange_gradients(usize::MAX, &mut |bucket| {
        let first = passed.is_empty();
        ensure(!first || matches!(bucket, Bucket::F32(_)), "flags are not in single precision")?;
        passed.push(change_each(bucket, |i, element| match first {
            true if last - 1 <= i => element + 1.0,
            true => element,
            false => element + 0.5,
        }));
        Ok(())
    })?;
    let [found, gradients] = &passed[..] else {
        return Err(format!("the flags and one bucket are {} buffers", passed.len()).into());
    };
    ensure(*found == flags, format!("flags are {found:?}, and not {flags:?}"))?;
    let zeros = changed(&of(&all, &[names[last - 1]])?, |_| 0.0)?;
    let parts = [of(&all, &[names[0]])?, zeros, of(&all, &[names[last]])?];
    let mut expected = StateDict::new();
    for (name, array) in parts.iter().flat_map(StateDict::iter) {
        expected.insert(name, array.clone())?;
    }
    ensure(
        *gradients == all_numbers(&expected)?,
        "the bucket does not hold the gradients of some rank, with zeros for those that are not held here",
    )?;
    let expected = changed(&expected, |element| element + 0.5)?;
    ensure_same("gradients that some rank holds", &engine.state(Part::Gradients)?, &expected)?;

    // No rank holds any.
    engine.discard_gradients();
    let mut lengths = Vec::new();
    engine.exchange_gradients(usize::MAX, &mut |bucket| {
        lengths.push(change_each(bucket, |_, element| element).len());
        Ok(())
    })?;
    ensure(lengths == [names.len()], format!("flags of no gradients are buffers of {lengths:?}"))?;
    let held = engine.state(Part::Gradients)?;
    ensure(held.is_empty(), "a gradient is held that no rank held")
}

/// The buffers of a module are one flat buffer in the order of their names, in double precision. The values left in it
/// are taken up, integers rounded to the nearest, and nothing else changes. After an error nothing has changed.
/// Without buffers nothing is passed.
pub fn exchange_takes_up_buffers<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    for engine in [Some(fixture.plain()), Some(fixture.regularized()), fixture.with_integer_buffer()] {
        let Some(mut engine) = engine else { continue };
        engine.seed(5);
        let gradients = backward(fixture, &mut engine, 0..ROWS)?;
        let before = engine.state(Part::Module)?;
        let variables = engine.variables()?;
        let names: Vec<&str> = variables
            .iter()
            .filter(|variable| variable.role == Role::Buffer)
            .map(|variable| variable.name.as_str())
            .collect();
        let own = of(&before, &names)?;

        let mut passed = Vec::new();
        engine.exchange_buffers(&mut |bucket| {
            ensure(matches!(bucket, Bucket::F64(_)), "buffers are not in double precision")?;
            passed.push(change_each(bucket, |_, element| element));
            Ok(())
        })?;
        let expected = if names.is_empty() { vec![] } else { vec![all_numbers(&own)?] };
        ensure(passed == expected, format!("buffers {names:?} are passed as {passed:?}, not {expected:?}"))?;
        ensure_same("buffers that the exchange left alone", &engine.state(Part::Module)?, &before)?;
        if names.is_empty() {
            continue;
        }

        let failed = engine.exchange_buffers(&mut |bucket| {
            change(bucket, |_| 1.0);
            Err("the other rank is gone".into())
        });
        ensure(failed.is_err(), "an exchange of buffers that failed is no error")?;
        ensure_same("the module after an exchange that failed", &engine.state(Part::Module)?, &before)?;

        engine.exchange_buffers(&mut |bucket| {
            change(bucket, |element| 2.0 * element + 1.75);
            Ok(())
        })?;
        let mut expected = StateDict::new();
        for (name, array) in before.iter() {
            let exchanged = names.contains(&name);
            let one = of(&before, &[name])?;
            let one = changed(&one, |element| if exchanged { 2.0 * element + 1.75 } else { element })?;
            ensure(one.array(name)?.dtype() == array.dtype(), "the suite changes a type")?;
            expected.insert(name, one.array(name)?.clone())?;
        }
        ensure_same("the module after an exchange of buffers", &engine.state(Part::Module)?, &expected)?;
        ensure_same("gradients after it", &engine.state(Part::Gradients)?, &gradients)?;
        // An evaluation takes up running statistics that a pass has left pending.
        engine.with_module(regimen_core::engine::Mode::Eval, |_| ());
        ensure_same("the module after an evaluation", &engine.state(Part::Module)?, &expected)?;
    }
    Ok(())
}

/// An exchange with a rank that holds the gradients of all parameters, which are zeros.
pub(super) fn exchange_with_a_rank_of_zeros(engine: &mut impl Engine) -> Result<(), BoxError> {
    let mut calls = 0;
    engine.exchange_gradients(usize::MAX, &mut |bucket| {
        calls += 1;
        if calls == 1 {
            change(bucket, |flag| flag + 1.0);
        }
        Ok(())
    })
}

/// The arrays of these names.
fn of(dict: &StateDict, names: &[&str]) -> Result<StateDict, BoxError> {
    let mut some = StateDict::new();
    for name in names {
        some.insert(*name, dict.array(name)?.clone())?;
    }
    Ok(some)
}

struct Seen {
    bytes: usize,
    elements: Vec<f64>,
}

/// The buckets of gradients in an exchange that changes nothing.
fn exchanged(engine: &mut impl Engine, bytes: usize) -> Result<Vec<Seen>, BoxError> {
    let mut seen = Vec::new();
    engine.exchange_gradients(bytes, &mut |bucket| {
        let bytes = match &bucket {
            Bucket::F32(elements) => size_of_val(*elements),
            Bucket::F64(elements) => size_of_val(*elements),
            other => return Err(other.refused()),
        };
        seen.push(Seen { bytes, elements: change_each(bucket, |_, element| element) });
        Ok(())
    })?;
    ensure(!seen.is_empty(), "the flags are not passed")?;
    seen.remove(0);
    Ok(seen)
}

fn contents(buckets: &[Seen]) -> Vec<f64> {
    buckets.iter().flat_map(|bucket| &bucket.elements).copied().collect()
}

pub(super) fn change(bucket: Bucket<'_>, f: impl Fn(f64) -> f64) {
    change_each(bucket, |_, element| f(element));
}

/// Changes each element by its place, and returns those before.
fn change_each(bucket: Bucket<'_>, f: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut before = Vec::new();
    let mut change = |element: f64| {
        before.push(element);
        f(before.len() - 1, element)
    };
    match bucket {
        Bucket::F32(elements) => {
            elements.iter_mut().for_each(|element| *element = change(f64::from(*element)) as f32);
        }
        Bucket::F64(elements) => elements.iter_mut().for_each(|element| *element = change(*element)),
        // An exchange of host memory passes no others.
        _ => {}
    }
    before
}
