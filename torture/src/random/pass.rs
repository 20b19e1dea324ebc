//! Manual passes of a case. Each must see its own data from the beginning.

use regimen::auto_unit::EVAL_LOSS;
use regimen::run::Evaluate;
use regimen::state::Phase;

use super::case::{Item, resumable};
use super::drive::{Process, Subject};
use super::world::{Pass, Place};

impl<U: Subject> Process<'_, '_, U> {
    /// Starts a manual pass.
    pub(super) fn begin(&mut self, predicts: bool, batches: u64, resumable: bool) -> Result<(), String> {
        let mut world = self.shared.lock();
        let resumable = resumable.then_some(world.passes);
        world.passes += 1;
        world.at.pass =
            Some(Pass { predicts, resumable, batches, steps: Vec::new(), done: false, trained: 0 });
        drop(world);
        self.pass()
    }

    /// Resumes the last manual pass if it is resumable. Does nothing if the pass is finished.
    pub(super) fn resume(&mut self) -> Result<(), String> {
        let resumable = self.shared.lock().at.pass.as_ref().and_then(|pass| pass.resumable);
        if resumable.is_some() { self.pass() } else { Ok(()) }
    }

    /// Runs the pass, or the rest of it.
    fn pass(&mut self) -> Result<(), String> {
        let trained = self.run.state().train_progress().steps;
        if let Some(pass) = self.shared.lock().at.pass.as_mut().filter(|pass| pass.trained != trained) {
            pass.steps.clear();
            (pass.trained, pass.done) = (trained, false);
        }
        let pass = self.shared.lock().at.pass.clone();
        let Some(Pass { predicts, resumable: name, batches, .. }) = pass else { return Ok(()) };
        let config = name.map_or(Evaluate::whole(), resumable);
        let item = |id: u64| (100 + id, 7.0 + id as f64, 1.0 + id as f64);
        let items: Vec<Item> = (0..batches).map(item).collect();
        let data = self.data(&items, 0);
        let waiting = self.before(true);
        let result = if predicts {
            let shared = &self.shared;
            self.run.predict(&data, config, |id| {
                shared.visit(Place::Sink)?;
                shared.lock().at.pass.iter_mut().for_each(|pass| pass.steps.push((id, 0, 0)));
                Ok(())
            })
        } else {
            self.run.evaluate(&data, config)
        };
        let phase = if predicts { Phase::Predict } else { Phase::Eval };
        let report = self.after(result, phase, waiting)?;
        let pass = self.shared.lock().at.pass.clone();
        let (Some(pass), Some(report)) = (pass, report) else { return Ok(()) };
        let ids: Vec<u64> = pass.steps.iter().map(|(id, ..)| *id).collect();
        if ids != items.iter().map(|(id, ..)| *id).collect::<Vec<_>>() {
            return Err(format!("a manual pass over {batches} batches, from 100 on, was {ids:?}"));
        }
        let weighed = |f: fn(f64, f64) -> f64| {
            let weighed = pass.steps.iter().map(|(_, x, w)| f(f64::from_bits(*x), f64::from_bits(*w)));
            weighed.fold(0.0, |sum, x| sum + x)
        };
        let mean = weighed(|loss, weight| loss * weight) / weighed(|_, weight| weight);
        match report.metric(EVAL_LOSS) {
            Some(told) if !predicts && told.to_bits() != mean.to_bits() => {
                Err(format!("a manual evaluation returned {told}, but the mean of its steps is {mean}"))
            }
            _ => Ok(()),
        }
    }
}
