//! The saved state of a [`State`].

use super::phase_state::ByHand;
use super::{Cycle, EntryPoint, HyperParameters, PhaseState, State, Stop};
use crate::BoxError;
use crate::data::Rank;
use crate::metric::Metrics;
use crate::saved::{Array, StateDict, Stateful};

/// Progress and metrics of every phase and of the passes by hand that can be resumed, the seed, the
/// hyper-parameters, the position in a cycle, batches that are passed over, and a final stop. A pause is not saved: a restarted run continues.
impl Stateful for State {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert_all("train", self.train.state_dict()?)?;
        dict.insert_all("eval", self.eval.state_dict()?)?;
        dict.insert_all("evaluate", self.evaluate.state_dict()?)?;
        dict.insert_all("predict", self.predict.state_dict()?)?;
        dict.insert("seed", self.seed)?;
        dict.insert("cycle", self.cycle as u8)?;
        dict.insert("eval_due", u8::from(self.eval_due))?;
        dict.insert("other_weights", self.other_weights)?;
        if !self.hyper_parameters.is_empty() {
            dict.insert_all("hyper_parameters", self.hyper_parameters.state_dict()?)?;
        }
        // Training never returns to an epoch before this one.
        let epoch = self.train.progress.epochs;
        let passed_over = self.passed_over.range((epoch, 0)..).flat_map(|&(epoch, batch)| [epoch, batch]);
        let passed_over: Vec<u64> = passed_over.collect();
        if !passed_over.is_empty() {
            dict.insert("passed_over", Array::from_slice(&passed_over))?;
        }
        if let Some(stop) = [&self.stop, &self.aside].into_iter().flatten().find(|stop| stop.is_final()) {
            dict.insert("final_stop", Array::from_text(stop.reason()))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let [mut train, mut eval]: [PhaseState; 2] = Default::default();
        train.load_state_dict(&dict.under("train"))?;
        eval.load_state_dict(&dict.under("eval"))?;
        let [mut evaluate, mut predict]: [ByHand; 2] = Default::default();
        evaluate.load_state_dict(&dict.under("evaluate"))?;
        predict.load_state_dict(&dict.under("predict"))?;
        let seed = dict.get("seed")?;
        let cycle = match dict.get::<u8>("cycle")? {
            0 => Cycle::Closed,
            1 => Cycle::Open,
            2 => Cycle::Trained,
            other => return Err(format!("`cycle`: {other} is not known here").into()),
        };
        let eval_due = dict.get::<u8>("eval_due")? != 0;
        // Older checkpoints lack the count.
        let other_weights = if dict.contains("other_weights") { dict.count("other_weights")? } else { 0 };
        // Older checkpoints may hold a pass by hand in its place.
        if eval.epoch_open && !eval_due {
            eval.drop_epoch();
        }
        let stop = match dict.contains("final_stop") {
            true => Some(Stop::Finish(dict.array("final_stop")?.to_text()?.into())),
            false => None,
        };
        let passed_over = match dict.contains("passed_over") {
            true => dict.array("passed_over")?.to_vec::<u64>()?,
            false => Vec::new(),
        };
        let mut settings = HyperParameters::new();
        if dict.contains("hyper_parameters.counts") {
            settings.load_state_dict(&dict.under("hyper_parameters"))?;
        }
        if self.seed_is_chosen && self.seed != seed {
            self.notify(format!("the run goes on with the seed {seed}, as saved, not with {}", self.seed));
        }
        if self.hyper_parameters_are_given {
            for difference in self.hyper_parameters.differences(&settings) {
                self.notify(format!("hyper-parameters differ: {difference}"));
            }
        } else {
            self.hyper_parameters = settings;
        }
        self.forget_way_back();
        (self.train, self.eval, self.evaluate, self.predict) = (train, eval, evaluate, predict);
        (self.seed, self.cycle, self.eval_due, self.stop) = (seed, cycle, eval_due, stop);
        (self.entry, self.other_weights) = (EntryPoint::Train, other_weights);
        self.passed_over = passed_over.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(())
    }

    /// The metrics of an epoch under way, and what each rank has written of a prediction.
    fn is_of_rank(&self, name: &str) -> bool {
        name.split('.').any(|word| matches!(word, "metrics" | "sink"))
    }

    /// Metrics of all ranks go on on rank 0. A sink of a prediction goes on on its rank, if that is still there.
    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        let first = saved.first().ok_or("no rank was saved")?;
        let mut shared = StateDict::new();
        for prefix in first.iter().filter_map(|(name, _)| name.strip_suffix(".metrics.names")) {
            let prefix = &format!("{prefix}.metrics");
            let states: Vec<StateDict> = saved.iter().map(|state| state.under(prefix)).collect();
            let mut metrics = Metrics::of_ranks(&states)?;
            if !rank.is_first() {
                metrics.begin_epoch();
            }
            shared.insert_all(prefix, metrics.state_dict()?)?;
        }
        let own = usize::try_from(rank.index).ok().and_then(|index| saved.get(index));
        let is_of_sink = |name: &str| name.split('.').any(|word| word == "sink");
        for (name, array) in own.iter().flat_map(|own| own.iter()).filter(|(name, _)| is_of_sink(name)) {
            shared.insert(name, array.clone())?;
        }
        Ok(shared)
    }
}
