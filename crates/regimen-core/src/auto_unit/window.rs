//! The accumulation window: the steps whose gradients make one update.

use crate::BoxError;
use crate::metric::reading::Reading;
use crate::saved::{StateDict, Stateful};

/// Progress of a window. The engine holds the gradients themselves.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Completed steps, and their weight.
    steps: u64,
    weight: f64,
    /// The unit of weights. A window that may be of one step, or whose losses are scaled, takes the weight of
    /// its first step. Then a lone step is not multiplied, and the scale alone decides whether a gradient
    /// overflows.
    unit: f64,
    /// A loss in it was not finite, and the policy is to skip its update.
    is_spoilt: bool,
    /// The training step that continues the window. `None` if loaded from an older checkpoint.
    next: Option<u64>,
    step: Option<InWindow>,
}

/// The step under way, or one that failed. A repeated step continues at its stage, so a batch is in a window
/// once.
#[derive(Clone, Debug)]
struct InWindow {
    index: u64,
    /// Its loss, which identifies the batch of a repeated step.
    loss: Reading,
    weight: f64,
    is_spoilt: bool,
    stage: Stage,
}

/// Stage of the held gradients in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Being added to. A step that fails here leaves a window that cannot be used.
    Torn,
    /// Those of the step are included.
    Added,
    /// They are the mean over the window.
    Averaged,
    /// They are clipped.
    Clipped,
}

impl Default for Window {
    fn default() -> Self {
        Window { steps: 0, weight: 0.0, unit: 1.0, is_spoilt: false, next: None, step: None }
    }
}

impl Window {
    /// Steps that wait for an update.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether it holds gradients of completed steps or of a failed one.
    pub(super) fn is_open(&self) -> bool {
        self.steps > 0 || self.step.is_some()
    }

    /// Whether the window belongs to another run than that of training step `index`. A unit around this one
    /// may leave out steps, but never repeats earlier ones.
    pub(super) fn is_foreign(&self, index: u64) -> bool {
        self.steps > 0 && self.next.is_some_and(|next| next > index)
    }

    /// Whether a step failed in a window that step `index`, of `loss` and `weight`, cannot continue.
    pub(super) fn is_torn(&self, index: u64, loss: &Reading, weight: f64) -> Result<bool, BoxError> {
        let Some(step) = &self.step else { return Ok(false) };
        let may_be_same = (step.index, step.weight) == (index, weight) && step.stage != Stage::Torn;
        Ok(!may_be_same || step.loss.get()?.to_bits() != loss.get()?.to_bits())
    }

    /// Whether there is nothing to save of it.
    pub(super) fn is_lost(&self) -> bool {
        self.stage() == Some(Stage::Torn)
    }

    /// A step of a window of `size` steps begins to change the held gradients.
    pub(super) fn begin(&mut self, index: u64, loss: Reading, weight: f64, size: u64, is_scaled: bool) {
        if self.weight == 0.0 && weight > 0.0 {
            self.unit = if is_scaled || size == 1 { weight } else { 1.0 };
        }
        self.step = Some(InWindow { index, loss, weight, is_spoilt: false, stage: Stage::Torn });
    }

    /// The factor for the gradients of the step, with the scale of losses.
    pub(super) fn backward_factor(&self, scale: Option<f64>) -> Option<f64> {
        let weight = self.step.as_ref().map_or(self.unit, |step| step.weight);
        product(weight / self.unit, scale)
    }

    /// The factor that turns the held gradients into those of the mean over the window.
    pub(super) fn mean_factor(&self, scale: Option<f64>) -> Option<f64> {
        product(self.unit / self.total_weight(), scale.map(f64::recip))
    }

    /// The weight of the window with the step under way.
    pub(super) fn total_weight(&self) -> f64 {
        self.weight + self.step.as_ref().map_or(0.0, |step| step.weight)
    }

    /// The stage of the step under way or of the failed one. `None` if there is no such step.
    pub(super) fn stage(&self) -> Option<Stage> {
        self.step.as_ref().map(|step| step.stage)
    }

    pub(super) fn reach(&mut self, stage: Stage) {
        if let Some(step) = &mut self.step {
            step.stage = stage;
        }
    }

    /// The loss of the step under way is not finite: there will be no update.
    pub(super) fn spoil(&mut self) {
        if let Some(step) = &mut self.step {
            step.is_spoilt = true;
        }
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.is_spoilt || self.step.as_ref().is_some_and(|step| step.is_spoilt)
    }

    /// Whether the step under way, or the failed one, is the last of a window of `size`.
    pub(super) fn is_full(&self, size: u64) -> bool {
        size <= self.steps + 1 || self.stage() > Some(Stage::Added)
    }

    /// Training step `index` is complete and left the window open.
    pub(super) fn end_step(&mut self, index: u64) {
        self.steps += 1;
        self.next = Some(index + 1);
        if let Some(step) = self.step.take() {
            self.weight += step.weight;
            self.is_spoilt |= step.is_spoilt;
        }
    }
}

/// A factor to multiply by; `None` if it is 1.
fn product(factor: f64, scale: Option<f64>) -> Option<f64> {
    let product = factor * scale.unwrap_or(1.0);
    (product != 1.0).then_some(product)
}

impl Stateful for Window {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("steps", self.steps)?;
        dict.insert("weight", self.weight)?;
        dict.insert("unit", self.unit)?;
        dict.insert("spoilt", u8::from(self.is_spoilt))?;
        if let Some(next) = self.next {
            dict.insert("next", next)?;
        }
        if let Some(step) = &self.step {
            dict.insert("step.index", step.index)?;
            dict.insert("step.loss", step.loss.get()?)?;
            dict.insert("step.weight", step.weight)?;
            dict.insert("step.spoilt", u8::from(step.is_spoilt))?;
            dict.insert("step.stage", step.stage as u8)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        // Older checkpoints have neither another unit nor the next step.
        let unit = if dict.contains("unit") { dict.get("unit")? } else { 1.0 };
        let next = if dict.contains("next") { Some(dict.count("next")?) } else { None };
        let step = match dict.contains("step.loss") {
            false => None,
            true => Some(InWindow {
                index: dict.count("step.index")?,
                loss: dict.get::<f64>("step.loss")?.into(),
                weight: dict.get("step.weight")?,
                is_spoilt: dict.get::<u8>("step.spoilt")? != 0,
                stage: match dict.get::<u8>("step.stage")? {
                    1 => Stage::Added,
                    2 => Stage::Averaged,
                    3 => Stage::Clipped,
                    other => return Err(format!("`step.stage`: {other} is not known here").into()),
                },
            }),
        };
        let is_spoilt = dict.get::<u8>("spoilt")? != 0;
        let (steps, weight) = (dict.count("steps")?, dict.get("weight")?);
        *self = Window { steps, weight, unit, is_spoilt, next, step };
        Ok(())
    }
}
