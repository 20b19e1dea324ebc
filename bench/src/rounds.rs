//! Measurement in rounds: contestants take turns, so that a slowdown of the machine affects all alike.

/// Runs `n` rounds after a warm-up round. Returns one list of `n` values per contestant. Within a
/// round, contestants run one after another.
pub fn rounds<E>(
    n: usize,
    contestants: &mut [&mut dyn FnMut() -> Result<f64, E>],
) -> Result<Vec<Vec<f64>>, E> {
    let mut measured = vec![Vec::with_capacity(n); contestants.len()];
    for round in 0..=n {
        for (run, values) in contestants.iter_mut().zip(&mut measured) {
            let value = run()?;
            if round != 0 {
                values.push(value);
            }
        }
    }
    Ok(measured)
}

/// Returns the median, which of an even number of values is the upper middle one. Returns NaN if
/// there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn contestants_take_turns_and_the_first_round_is_not_kept() {
        let turns = RefCell::new(String::new());
        let run = |name: char| {
            turns.borrow_mut().push(name);
            Ok::<_, ()>(turns.borrow().len() as f64)
        };
        let measured = rounds(2, &mut [&mut || run('a'), &mut || run('b')]);
        assert_eq!(turns.into_inner(), "ababab");
        assert_eq!(measured, Ok(vec![vec![3.0, 5.0], vec![4.0, 6.0]]));
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert!(median(Vec::new()).is_nan());
    }
}
