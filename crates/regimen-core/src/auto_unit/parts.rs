//! The parts of an [`AutoUnit`] in a checkpoint.

use std::collections::BTreeMap;

use super::averaging::{Average, AveragePart};
use super::pending::Pending;
use super::settings::{Count, Scheduled, Settings};
use super::window::{Stage, Window};
use super::{AutoUnit, GradientScaler, Plateau, thaw};
use crate::data::Rank;
use crate::engine::{Engine, Part};
use crate::saved::{AppState, Array, Parts, StateDict, Stateful};
use crate::{BoxError, Task};

/// The parts `module` (the trained weights), `optimizer` and `auto_unit`. With [averaging](AutoUnit::average)
/// also `averaged_module`, which has the layout of `module` and is empty during the warm-up. `auto_unit`
/// holds the accumulation window with its gradients, the numbers of completed updates and epochs and of skipped
/// updates, and the state of scale, plateau and average. `task` is the state of the task, if it has
/// [one](Task::stateful). A [sharded](AutoUnit::shard_optimizer) `optimizer` has the shares of all ranks.
///
/// A scale of losses, a plateau or an average that the checkpoint lacks starts from the beginning. A saved
/// one that is not used is ignored. So precision and average can be changed at a restart, also within a
/// window. Settings that differ from the saved ones are reported when training starts.
impl<E: Engine, T: Task<E>> AppState for AutoUnit<E, T> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        self.close_step()?;
        parts.part("module", &mut self.engine.part(Part::Module))?;
        self.visit_optimizer(parts)?;
        let AutoUnit { engine, settings, window, pending, .. } = self;
        let AutoUnit { skipped, skipped_in_a_row, frozen, count, has_asked_unreached, rewinds, .. } = self;
        match &mut self.average {
            Some(average) => {
                parts.optional("averaged_module", Some(&mut AveragePart { engine: &*engine, average }))?;
            }
            None => parts.optional("averaged_module", None)?,
        }
        let scaler = settings.is_scaling().then_some(&mut self.scaler);
        let (average, plateau, used, changes) =
            (&mut self.average, &mut self.plateau, &mut self.used, &mut self.changes);
        let own = &mut OwnPart {
            engine,
            settings,
            window,
            pending,
            skipped,
            skipped_in_a_row,
            frozen,
            count,
            has_asked_unreached,
            rewinds,
            scaler,
            average,
            plateau,
            used,
            changes,
        };
        parts.part("auto_unit", own)?;
        parts.optional("task", self.task.stateful())
    }
}

struct OwnPart<'u, E: Engine> {
    engine: &'u mut E,
    settings: &'u Settings<E>,
    window: &'u mut Window,
    pending: &'u mut Pending<E::Scalar>,
    skipped: &'u mut u64,
    skipped_in_a_row: &'u mut u64,
    frozen: &'u mut Vec<bool>,
    count: &'u mut Count,
    has_asked_unreached: &'u mut bool,
    rewinds: &'u mut Option<u64>,
    scaler: Option<&'u mut GradientScaler>,
    average: &'u mut Option<Average<E::Weights>>,
    plateau: &'u mut Option<Plateau>,
    used: &'u mut Option<Scheduled>,
    changes: &'u mut Vec<String>,
}

/// The state that an [`OwnPart`] reads, without the gradients.
struct Read {
    window: Window,
    skipped: u64,
    skipped_in_a_row: u64,
    count: Count,
    scaler: Option<GradientScaler>,
    taken: u64,
    plateau: Option<Plateau>,
    used: Option<Scheduled>,
    changes: Vec<String>,
}

/// Prefix of the names of settings.
const SETTINGS: &str = "settings";
/// The changes that are not reported yet, a line each.
const UNTOLD: &str = "untold_changes";
/// Whether the check for parameters without a gradient is done. Only a dry run puts it back: a restored run has other
/// settings perhaps, and asks again.
const HAS_ASKED: &str = "has_asked_unreached";

impl<E: Engine> OwnPart<'_, E> {
    fn read(&self, dict: &StateDict) -> Result<Read, BoxError> {
        let mut window = Window::default();
        window.load_state_dict(&dict.under("window"))?;
        let mut scaler = self.scaler.as_deref().cloned();
        let saved = dict.under("scaler");
        if let Some(scaler) = scaler.as_mut().filter(|_| !saved.is_empty()) {
            scaler.load_state_dict(&saved)?;
        }
        let mut plateau = self.plateau.clone();
        let saved = dict.under("plateau");
        if let Some(plateau) = plateau.as_mut().filter(|_| !saved.is_empty()) {
            plateau.load_state_dict(&saved)?;
        }
        let number = |name: &str| if dict.contains(name) { dict.count(name) } else { Ok(0) };
        let taken = if self.average.is_some() { number("averaged")? } else { 0 };
        let used = match dict.contains("rates.values") {
            false => None,
            true => {
                let (updates, epochs) = (dict.count("rates.updates")?, dict.count("rates.epochs")?);
                let rates = dict.array("rates.values")?.to_vec()?;
                let name = "rates.momentum";
                let momentum = if dict.contains(name) { Some(dict.get(name)?) } else { None };
                Some(Scheduled { at: Count { updates, epochs }, rates, momentum })
            }
        };
        let mut changes = Vec::new();
        // A setting that was changed between two calls is no news after a dry run.
        if !dict.contains(HAS_ASKED) {
            changes = self.changed_settings(&dict.under(SETTINGS))?;
            changes.extend(used.iter().flat_map(|used| self.changed_rates(used)));
        }
        let untold = if dict.contains(UNTOLD) { dict.array(UNTOLD)?.to_text()? } else { String::new() };
        // A rate that is still another is in both.
        let untold: Vec<&str> =
            untold.lines().filter(|&line| changes.iter().all(|change| change != line)).collect();
        changes.extend(untold.into_iter().map(str::to_owned));
        let (skipped, skipped_in_a_row) = (dict.count("skipped")?, number("skipped_in_a_row")?);
        // Older checkpoints lack them. The start of training sets them.
        let count = Count { updates: number("updates")?, epochs: number("epochs")? };
        Ok(Read { window, skipped, skipped_in_a_row, count, scaler, taken, plateau, used, changes })
    }

    fn told_settings(&self) -> BTreeMap<String, String> {
        let engine = self.engine.settings().into_iter();
        let mut told: BTreeMap<String, String> = self.settings.told().into_iter().chain(engine).collect();
        let average = self.average.as_ref().map(|average| format!("{:?}", average.averaging));
        told.extend(average.map(|average| ("average".to_owned(), average)));
        told
    }

    fn changed_settings(&self, saved: &StateDict) -> Result<Vec<String>, BoxError> {
        // Absent in older checkpoints.
        if saved.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.told_settings();
        let mut changes = Vec::new();
        for (name, value) in saved.iter() {
            let value = value.to_text()?;
            match now.get(name) {
                Some(now) if *now == value => {}
                Some(now) => {
                    changes.push(format!("`{name}` is {now} now, and was {value} in the checkpoint"))
                }
                None => changes.push(format!("`{name}` is not set now, and was {value} in the checkpoint")),
            }
        }
        let new = now.iter().filter(|(name, _)| !saved.contains(name));
        changes.extend(
            new.map(|(name, value)| format!("`{name}` is {value} now, and was not set in the checkpoint")),
        );
        Ok(changes)
    }

    /// The schedules that now give other numbers for the newest update.
    fn changed_rates(&self, Scheduled { at, rates, momentum }: &Scheduled) -> Vec<String> {
        let changed = |what: String, before: f64, now: f64| {
            let update = at.updates + 1;
            (now.to_bits() != before.to_bits())
                .then(|| format!("the {what} was {before} at update {update}, and would be {now} now"))
        };
        let rates = self.engine.groups().iter().zip(rates).filter_map(|(group, &before)| {
            changed(format!("learning rate of `{group}`"), before, self.settings.rate_of(group, *at))
        });
        let momentum = momentum.zip(self.settings.momentum_at(*at));
        let momentum = momentum.and_then(|(before, now)| changed("momentum".to_owned(), before, now));
        rates.chain(momentum).collect()
    }
}

impl<E: Engine> Stateful for OwnPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        // A change that was not reported is not saved: a run would go on from it.
        self.pending.read()?;
        self.pending.check()?;
        let mut dict = StateDict::new();
        dict.insert("updates", self.count.updates)?;
        dict.insert("epochs", self.count.epochs)?;
        dict.insert("skipped", *self.skipped)?;
        dict.insert("skipped_in_a_row", *self.skipped_in_a_row)?;
        if let Some(scaler) = &self.scaler {
            dict.insert_all("scaler", scaler.state_dict()?)?;
        }
        if let Some(average) = &self.average {
            dict.insert("averaged", average.taken)?;
        }
        if let Some(plateau) = &self.plateau {
            dict.insert_all("plateau", plateau.state_dict()?)?;
        }
        if let Some(Scheduled { at: Count { updates, epochs }, rates, momentum }) = &self.used {
            dict.insert("rates.updates", *updates)?;
            dict.insert("rates.epochs", *epochs)?;
            dict.insert("rates.values", Array::from_slice(rates))?;
            if let Some(momentum) = momentum {
                dict.insert("rates.momentum", *momentum)?;
            }
        }
        for (name, value) in self.told_settings() {
            dict.insert(format!("{SETTINGS}.{name}"), Array::from_text(&value))?;
        }
        if !self.changes.is_empty() {
            dict.insert(UNTOLD, Array::from_text(&self.changes.join("\n")))?;
        }
        if self.window.is_lost() {
            dict.insert_all("window", Window::default().state_dict()?)?;
        } else {
            dict.insert_all("window", self.window.state_dict()?)?;
            dict.insert_all("gradients", self.engine.state(Part::Gradients)?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let read = self.read(dict)?;
        // The next step freezes groups again; it knows the progress of the run.
        thaw(self.engine, self.frozen)?;
        let gradients = dict.under("gradients");
        self.engine.check_state(Part::Gradients, &gradients)?;
        // The device's instruction for the next update is dropped with them.
        self.engine.discard_gradients();
        self.engine.load_state(Part::Gradients, &gradients)?;
        let saved =
            if dict.contains("scaler.scale") { f64::from(dict.get::<f32>("scaler.scale")?) } else { 1.0 };
        let scale = read.scaler.as_ref().map_or(1.0, GradientScaler::scale);
        // A mean over the window has no scale.
        if saved != scale && read.window.stage() <= Some(Stage::Added) {
            self.engine.scale_gradients(scale / saved)?;
        }
        (*self.window, *self.plateau, *self.used) = (read.window, read.plateau, read.used);
        (*self.skipped, *self.skipped_in_a_row) = (read.skipped, read.skipped_in_a_row);
        (*self.count, *self.changes, *self.rewinds) = (read.count, read.changes, None);
        *self.has_asked_unreached = dict.contains(HAS_ASKED) && dict.get::<u8>(HAS_ASKED)? != 0;
        self.pending.forget_unchecked();
        if let (Some(scaler), Some(read)) = (&mut self.scaler, read.scaler) {
            **scaler = read;
        }
        // A loss that was left out keeps its count as well.
        if let Some(average) = self.average.as_mut().filter(|average| average.is_loaded) {
            (average.taken, average.is_loaded) = (read.taken, false);
        }
        Ok(())
    }

    fn kept_state(&self) -> Result<StateDict, BoxError> {
        let mut dict = self.state_dict()?;
        dict.insert(HAS_ASKED, u8::from(*self.has_asked_unreached))?;
        Ok(dict)
    }

    fn is_of_rank(&self, name: &str) -> bool {
        ["window.", "gradients."].iter().any(|prefix| name.starts_with(prefix))
    }

    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        super::window::share(saved, rank)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict)?;
        self.engine.check_state(Part::Gradients, &dict.under("gradients"))
    }
}
