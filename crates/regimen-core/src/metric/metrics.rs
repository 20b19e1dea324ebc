//! The metrics of one phase.

use std::borrow::Borrow;

use super::reading::Reading;
use super::{Key, Metric, Reduction, Tally};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// The metrics of one phase, in the order in which they were first logged.
///
/// Each has up to three values: the one logged [last](Metric::last_value), the one over the epoch
/// [so far](Metric::so_far), and the one over the newest [ended](Metric::epoch_value) epoch.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    list: Vec<Metric>,
    /// The step that can be taken back, by number, and the number of metrics before it.
    step: u64,
    before_step: usize,
    /// The epoch that has just ended, from 1, while logs still belong to it.
    ending: Option<u64>,
}

impl Metrics {
    /// Every metric, in the order in which they were first logged.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.list.iter()
    }

    /// The metric of `key`. Returns `None` if it was never logged in this phase.
    pub fn get(&self, key: impl Borrow<Key>) -> Option<&Metric> {
        let key = key.borrow();
        self.list.iter().find(|metric| metric.key.name() == key.name())
    }

    /// Adds a value. Returns an error if it cannot be added; then nothing is changed.
    pub(crate) fn log(
        &mut self,
        key: Key,
        value: impl Into<Reading>,
        weight: f64,
        step: u64,
    ) -> Result<(), String> {
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(format!(
                "`{key}` was logged with the weight {weight}; give a finite number of at least 0"
            ));
        }
        let found = self.list.iter().position(|metric| metric.key.name() == key.name());
        if let Some(metric) = found.map(|n| &self.list[n]) {
            metric.check(&key)?;
        }
        let n = found.unwrap_or_else(|| {
            self.list.push(Metric::new(key));
            self.list.len() - 1
        });
        // Its value is ignored: 0 times NaN is not 0.
        if weight == 0.0 {
            return Ok(());
        }
        let metric = &mut self.list[n];
        if metric.step != self.step {
            metric.settle(true);
            (metric.before, metric.step) = ((metric.tally, metric.waiting.len()), self.step);
        }
        metric.log(value.into(), weight, step);
        if let Some(epoch) = self.ending {
            metric.end_epoch(epoch);
        }
        Ok(())
    }

    /// A step begins; its logs can be [taken back](Metrics::take_back_step).
    pub(crate) fn begin_step(&mut self) {
        self.step += 1;
        self.before_step = self.list.len();
    }

    /// Takes back the logs since the step began.
    pub(crate) fn take_back_step(&mut self) {
        self.list.truncate(self.before_step);
        for metric in self.list.iter_mut().filter(|metric| metric.step == self.step) {
            let (tally, waiting) = metric.before;
            metric.tally = tally;
            metric.waiting.truncate(waiting);
        }
    }

    /// Turns the values so far into those of the ended epoch, the `n`-th. Logs until
    /// [`begin_epoch`](Metrics::begin_epoch) still belong to it.
    pub(crate) fn end_epoch(&mut self, n: u64) {
        self.list.iter_mut().for_each(|metric| metric.end_epoch(n));
        self.ending = Some(n);
    }

    /// Starts an empty epoch, after one that ended or is dropped.
    pub(crate) fn begin_epoch(&mut self) {
        self.ending = None;
        for metric in &mut self.list {
            metric.settle(false);
            (metric.tally.total, metric.tally.weight) = (0.0, 0.0);
        }
    }

    /// The values over the `n`-th epoch.
    pub(crate) fn of_epoch(&self, n: u64) -> Vec<(Key, f64)> {
        self.list.iter().filter_map(|metric| Some((metric.key.clone(), metric.in_epoch(n)?))).collect()
    }

    /// The metrics of all ranks as one, from the state of each in the order of the ranks.
    pub(crate) fn of_ranks(states: &[StateDict]) -> Result<Self, BoxError> {
        let mut all = Metrics::default();
        for (rank, state) in states.iter().enumerate() {
            let mut one = Metrics::default();
            one.load_state_dict(state)?;
            if rank == 0 { all = one } else { all.merge(&one)? }
        }
        Ok(all)
    }

    /// Adds the logs of another rank in the same epoch: means by their weights, exactly as if all
    /// values had been logged here. A metric that only `other` has is appended. One that both have with
    /// different reductions is an error, and nothing is changed.
    pub fn merge(&mut self, other: &Metrics) -> Result<(), BoxError> {
        let logged = || other.list.iter().filter(|metric| metric.weight() > 0.0);
        logged()
            .try_for_each(|theirs| self.get(&theirs.key).map_or(Ok(()), |ours| ours.check(&theirs.key)))?;
        let ending = self.ending;
        for theirs in logged() {
            match self.list.iter_mut().find(|metric| metric.key.name() == theirs.key.name()) {
                None => self.list.push(theirs.clone()),
                Some(ours) => {
                    ours.settle(false);
                    ours.tally.merge(theirs.key.reduction(), &theirs.read()?);
                }
            }
        }
        if let Some(epoch) = ending {
            self.list.iter_mut().for_each(|metric| metric.end_epoch(epoch));
        }
        Ok(())
    }
}

/// The epoch under way too: a metric restored in mid-epoch ends with the same value, bit for bit.
impl Stateful for Metrics {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        let (mut names, mut values, mut counts) = (String::new(), Vec::new(), Vec::new());
        for metric in &self.list {
            names.push_str(metric.key.name());
            let Tally { total, weight, last, logged_at } = metric.read()?;
            values.extend([total, weight, last, metric.epoch.unwrap_or(0.0)]);
            let (length, reduction) = (metric.key.name().len() as u64, metric.key.reduction() as u64);
            counts.extend([length, reduction, logged_at, metric.epoch.is_some().into(), metric.ended_in]);
        }
        dict.insert("names", Array::from_text(&names))?;
        dict.insert("values", Array::from_slice(&values))?;
        dict.insert("counts", Array::from_slice(&counts))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        const REDUCTIONS: [Reduction; 5] =
            [Reduction::Mean, Reduction::Sum, Reduction::Min, Reduction::Max, Reduction::Last];
        let (names, values) = (dict.array("names")?.to_text()?, dict.array("values")?.to_vec::<f64>()?);
        let counts = dict.array("counts")?.to_vec::<u64>()?;
        let ((values, []), (counts, [])) = (values.as_chunks::<4>(), counts.as_chunks::<5>()) else {
            return Err("metrics: a row is incomplete".into());
        };
        if values.len() != counts.len() {
            return Err(
                format!("metrics: {} rows of values, {} of counts", values.len(), counts.len()).into()
            );
        }
        let (mut list, mut rest) = (Vec::new(), &*names);
        for (&[total, weight, last, epoch], &[length, reduction, logged_at, ended, ended_in]) in
            values.iter().zip(counts)
        {
            let (name, after) = rest.split_at_checked(length as usize).ok_or("metrics: a name is cut off")?;
            rest = after;
            let reduction = REDUCTIONS.get(reduction as usize);
            let reduction = *reduction.ok_or_else(|| format!("metric `{name}`: unknown reduction"))?;
            let (key, epoch) = (Key::named(name, reduction), (ended != 0).then_some(epoch));
            let tally = Tally { total, weight, last, logged_at };
            list.push(Metric { tally, epoch, ended_in, ..Metric::new(key) });
        }
        if !rest.is_empty() {
            return Err(format!("metrics: `{rest}` names no metric").into());
        }
        *self = Metrics { list, ..Metrics::default() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Value;
    use crate::metric::reading::Readings;

    const KEYS: [Key; 5] =
        [Key::mean("mean"), Key::sum("sum"), Key::min("min"), Key::max("max"), Key::last("last")];

    fn logged(values: &[(f64, f64)]) -> Metrics {
        let mut metrics = Metrics::default();
        for (step, &(value, weight)) in values.iter().enumerate() {
            KEYS.iter().for_each(|key| metrics.log(key.clone(), value, weight, step as u64).unwrap());
        }
        metrics
    }

    fn so_far(metrics: &Metrics) -> Vec<Option<f64>> {
        KEYS.iter().map(|key| metrics.get(key).and_then(Metric::so_far)).collect()
    }

    #[track_caller]
    fn check(values: &[(f64, f64)], expected: [f64; 5]) {
        assert_eq!(so_far(&logged(values)), expected.map(Some));
    }

    #[test]
    fn values_become_one_as_their_key_says() {
        check(&[(3.0, 2.0)], [3.0, 6.0, 3.0, 3.0, 3.0]);
        check(&[(3.0, 2.0), (-1.0, 6.0)], [0.0, 0.0, -1.0, 3.0, -1.0]);
        check(&[(0.0, 1.0), (2.0, 1.0)], [1.0, 2.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    fn not_a_number_stays_not_a_number() {
        for values in [[(f64::NAN, 1.0), (1.0, 1.0)], [(1.0, 1.0), (f64::NAN, 1.0)]] {
            let found = so_far(&logged(&values));
            assert!(found[..4].iter().all(|value| value.is_some_and(f64::is_nan)), "{found:?}");
        }
    }

    #[test]
    fn a_weight_of_zero_counts_for_nothing() {
        let nothing = logged(&[(3.0, 0.0)]);
        assert_eq!(so_far(&nothing), [None; 5]);
        assert!(nothing.get(&KEYS[0]).is_some_and(|metric| metric.last_value().is_nan()));
        for nothing in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -9.0, 9.0] {
            check(&[(3.0, 2.0), (nothing, 0.0)], [3.0, 6.0, 3.0, 3.0, 3.0]);
            check(&[(nothing, 0.0), (3.0, 2.0)], [3.0, 6.0, 3.0, 3.0, 3.0]);
        }
    }

    #[test]
    fn an_epoch_that_ends_keeps_its_values_and_the_next_begins_anew() {
        let mut metrics = logged(&[(3.0, 1.0), (5.0, 1.0)]);
        let values = |metrics: &Metrics, n| -> Vec<f64> {
            metrics.of_epoch(n).into_iter().map(|(_, value)| value).collect()
        };
        metrics.end_epoch(1);
        assert_eq!(values(&metrics, 1), [4.0, 8.0, 3.0, 5.0, 5.0]);
        // Logs before the next one begins belong to it.
        metrics.log(KEYS[1].clone(), 1.0, 1.0, 2).unwrap();
        assert_eq!(values(&metrics, 1), [4.0, 9.0, 3.0, 5.0, 5.0]);
        metrics.begin_epoch();
        assert_eq!(so_far(&metrics), [None; 5]);
        metrics.log(KEYS[0].clone(), 7.0, 1.0, 2).unwrap();
        let mean = metrics.get(&KEYS[0]);
        assert_eq!(mean.map(|metric| (metric.so_far(), metric.epoch_value())), Some((Some(7.0), Some(4.0))));
        // A metric that was not logged in an epoch keeps the value of the newest in which it was.
        metrics.end_epoch(2);
        assert_eq!(values(&metrics, 2), [7.0]);
        let sum = metrics.get(&KEYS[1]);
        assert_eq!(
            sum.map(|sum| (sum.epoch_value(), sum.in_epoch(1), sum.in_epoch(2))),
            Some((Some(9.0), Some(9.0), None))
        );
    }

    #[test]
    fn a_value_is_of_the_step_in_which_it_was_logged_in_the_epoch_under_way() {
        let mut metrics = Metrics::default();
        metrics.log(KEYS[0].clone(), 7.0, 1.0, 3).unwrap();
        metrics.log(KEYS[0].clone(), 8.0, 0.0, 4).unwrap();
        let of_steps = |metrics: &Metrics| [2, 3, 4, 5].map(|n| metrics.get(&KEYS[0]).unwrap().in_step(n));
        assert_eq!(of_steps(&metrics), [None, Some(7.0), None, None]);
        metrics.end_epoch(1);
        metrics.begin_epoch();
        assert_eq!(of_steps(&metrics), [None; 4]);
    }

    #[test]
    fn a_step_that_is_taken_back_has_logged_nothing() {
        let mut metrics = logged(&[(3.0, 2.0)]);
        let before = metrics.state_dict().unwrap();
        for keys in [&KEYS[..], &[KEYS[1].clone(), Key::max("new")]] {
            metrics.begin_step();
            for key in keys.iter().chain(keys) {
                metrics.log(key.clone(), 9.0, 1.0, 1).unwrap();
            }
            metrics.take_back_step();
            assert_eq!(metrics.state_dict().unwrap(), before);
        }
        metrics.begin_step();
        metrics.take_back_step();
        assert_eq!(metrics.state_dict().unwrap(), before);
    }

    #[test]
    fn what_cannot_be_added_is_refused_and_changes_nothing() {
        let mut metrics = logged(&[(3.0, 2.0)]);
        let before = metrics.state_dict().unwrap();
        let mut check = |key: Key, weight, expected: &str| {
            assert_eq!(metrics.log(key, 1.0, weight, 0).unwrap_err(), expected);
            assert_eq!(metrics.state_dict().unwrap(), before);
        };
        let two = "two keys are named `mean`, one of Mean and one of Last; give them different names";
        check(Key::last("mean"), 1.0, two);
        check(Key::last("mean"), 0.0, two);
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            let text =
                format!("`mean` was logged with the weight {weight}; give a finite number of at least 0");
            check(Key::mean("mean"), weight, &text);
        }
        let mut other = Metrics::default();
        other.log(Key::mean("new"), 1.0, 1.0, 0).unwrap();
        other.log(Key::last("mean"), 1.0, 1.0, 0).unwrap();
        assert_eq!(metrics.merge(&other).unwrap_err().to_string(), two);
        assert_eq!(metrics.state_dict().unwrap(), before);
    }

    #[test]
    fn merging_ranks_equals_logging_everything_in_one() {
        let values = [(3.0, 1.0), (-2.0, 4.0), (8.0, 0.5), (1.0, 2.0)];
        for split in 0..=values.len() {
            let (mut ours, theirs) = (logged(&values[..split]), logged(&values[split..]));
            ours.merge(&theirs).unwrap();
            assert_eq!(so_far(&ours), so_far(&logged(&values)), "split at {split}");
        }
    }

    #[test]
    fn metrics_restored_in_mid_epoch_end_with_the_same_bits() {
        let values: Vec<(f64, f64)> = (1..40).map(|n| (1.0 / f64::from(n), f64::from(n % 5))).collect();
        let whole = so_far(&logged(&values));
        for split in 0..values.len() {
            let mut restored = Metrics::default();
            restored.load_state_dict(&logged(&values[..split]).state_dict().unwrap()).unwrap();
            for (step, &(value, weight)) in values.iter().enumerate().skip(split) {
                KEYS.iter().for_each(|key| restored.log(key.clone(), value, weight, step as u64).unwrap());
            }
            assert_eq!(so_far(&restored), whole, "split at {split}");
        }
    }

    #[test]
    fn a_name_may_hold_any_text() {
        let mut metrics = Metrics::default();
        let names = ["", "two\nlines", "a, \"b\""];
        names.iter().for_each(|name| metrics.log(Key::named(*name, Reduction::Last), 1.0, 1.0, 0).unwrap());
        let mut restored = Metrics::default();
        restored.load_state_dict(&metrics.state_dict().unwrap()).unwrap();
        assert_eq!(restored.iter().map(|metric| metric.key().name()).collect::<Vec<_>>(), names);
    }

    #[test]
    fn damaged_metrics_are_refused_and_change_nothing() {
        let mut metrics = logged(&[(3.0, 1.0)]);
        for (name, array) in [
            ("names", Array::from_text("mean")),
            ("names", Array::from_text("meansumminmaxlastmore")),
            ("values", Array::from_slice(&[0.0; 5])),
            ("values", Array::from_slice(&[0.0; 16])),
            ("counts", Array::from_slice(&[9_u64; 25])),
        ] {
            let mut dict = metrics.state_dict().unwrap();
            dict.remove(name).unwrap();
            assert!(metrics.load_state_dict(&dict).is_err(), "without {name}");
            dict.insert(name, array).unwrap();
            assert!(metrics.load_state_dict(&dict).is_err(), "with another {name}");
        }
        assert_eq!(so_far(&metrics), so_far(&logged(&[(3.0, 1.0)])));
    }

    #[test]
    fn values_that_are_read_later_are_summed_in_the_order_in_which_they_were_logged() {
        let values = [(0.1, 3.0), (1e16, 1.0), (-1e16, 1.0), (0.7, 2.0), (-0.3, 5.0)];
        let expected = logged(&values);
        for known in 0..values.len() {
            let mut readings = Readings::new(|numbers: &[f64]| Ok(numbers.to_vec()));
            let mut metrics = Metrics::default();
            for (step, &(value, weight)) in values.iter().enumerate() {
                // One is on the host already, and the look at one reads those before it.
                let is_known = step == known;
                let value = readings.add(if is_known { Value::Host(value) } else { Value::Device(value) });
                metrics.begin_step();
                KEYS.iter()
                    .for_each(|key| metrics.log(key.clone(), value.clone(), weight, step as u64).unwrap());
                assert_eq!(metrics.get(&KEYS[0]).map(Metric::logged_at), Some(step as u64));
                if is_known {
                    so_far(&metrics);
                }
            }
            assert_eq!(metrics.state_dict().unwrap(), expected.state_dict().unwrap());
        }
    }

    #[test]
    fn a_step_that_is_taken_back_leaves_those_that_wait() {
        let mut readings = Readings::new(|numbers: &[f64]| Ok(numbers.to_vec()));
        let mut metrics = Metrics::default();
        let key = &KEYS[1];
        for value in [1.0, 2.0, 4.0] {
            metrics.begin_step();
            metrics.log(key.clone(), readings.add(Value::Device(value)), 1.0, 0).unwrap();
            if value == 2.0 {
                metrics.take_back_step();
            }
        }
        assert_eq!(metrics.get(key).and_then(Metric::so_far), Some(5.0));
        // What was read meanwhile is no longer taken back one by one.
        metrics.begin_step();
        metrics.log(key.clone(), readings.add(Value::Device(8.0)), 1.0, 0).unwrap();
        metrics.take_back_step();
        assert_eq!(metrics.get(key).and_then(Metric::so_far), Some(5.0));
    }

    #[test]
    fn what_cannot_be_read_is_not_a_number_and_cannot_be_saved() {
        let mut readings = Readings::new(|_: &[f64]| Err("the device is gone".into()));
        let mut metrics = Metrics::default();
        metrics.log(KEYS[0].clone(), readings.add(Value::Device(1.0)), 1.0, 0).unwrap();
        assert!(metrics.get(&KEYS[0]).is_some_and(|metric| metric.last_value().is_nan()));
        assert_eq!(metrics.state_dict().unwrap_err().to_string(), "the device is gone");
    }
}
