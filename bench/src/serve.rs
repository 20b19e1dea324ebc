//! Measurement on request, so that contestants in several programs take turns.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use regimen::BoxError;

/// Makes the given number of training steps, and returns the mean loss.
pub type Contestant = Box<dyn FnMut(usize) -> Result<f64, BoxError>>;

/// Answers every input line `MODEL BATCH TRAINER STEPS` with the milliseconds per step, until the
/// input ends.
///
/// `make` receives the first three and builds the contestant on its first request. The contestant
/// is warmed up, kept, and trained further by later lines.
pub fn serve(make: impl Fn(&str, usize, &str) -> Result<Contestant, BoxError>) -> Result<(), BoxError> {
    let mut contestants = BTreeMap::new();
    for line in io::stdin().lines() {
        writeln!(io::stdout(), "{}", answer(&line?, &mut contestants, &make)?)?;
    }
    Ok(())
}

const WARM_UP: usize = 3;

fn answer(
    line: &str,
    contestants: &mut BTreeMap<String, Contestant>,
    make: impl Fn(&str, usize, &str) -> Result<Contestant, BoxError>,
) -> Result<f64, BoxError> {
    let words: Vec<&str> = line.split(' ').collect();
    let [model, batch, trainer, steps] = words[..] else {
        return Err(format!("`{line}`: expected MODEL BATCH TRAINER STEPS").into());
    };
    let (name, steps) = (format!("{model} {batch} {trainer}"), steps.parse()?);
    if !contestants.contains_key(&name) {
        let mut contestant = make(model, batch.parse()?, trainer)?;
        contestant(WARM_UP)?;
        contestants.insert(name.clone(), contestant);
    }
    let contestant = contestants.get_mut(&name).ok_or("a contestant is missing")?;
    let begun = Instant::now();
    contestant(steps)?;
    Ok(begun.elapsed().as_secs_f64() * 1e3 / steps as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn a_contestant_is_built_and_warmed_up_once_and_then_makes_the_steps_it_is_told() {
        let seen = Rc::new(RefCell::new(String::new()));
        let make = |model: &str, batch: usize, trainer: &str| {
            seen.borrow_mut().push_str(&format!(" {model}/{batch}/{trainer}"));
            let seen = Rc::clone(&seen);
            let steps = move |steps| {
                seen.borrow_mut().push_str(&format!(" {steps}"));
                Ok(0.0)
            };
            Ok(Box::new(steps) as Contestant)
        };
        let mut contestants = BTreeMap::new();
        for line in ["mlp 8 hand 20", "mlp 8 unit 30", "mlp 8 hand 40"] {
            answer(line, &mut contestants, make).unwrap();
        }
        assert_eq!(*seen.borrow(), " mlp/8/hand 3 20 mlp/8/unit 3 30 40");
        let error = answer("mlp 8", &mut contestants, make).unwrap_err().to_string();
        assert_eq!(error, "`mlp 8`: expected MODEL BATCH TRAINER STEPS");
    }
}
