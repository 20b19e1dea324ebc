//! Measuring in turns, so that a machine that grows slower slows all contestants alike.

/// What each of `contestants` measures in each of `n` rounds, after one that is not kept: as many
/// lists as contestants, of `n` values each. In a round they run one after another.
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

/// The middle value; of an even number, the upper of the two in the middle. Not a number if there
/// is none.
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
