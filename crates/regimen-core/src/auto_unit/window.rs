//! The accumulation window: the steps whose gradients make one update.

use crate::BoxError;
use crate::data::Rank;
use crate::engine::Bucket;
use crate::metric::reading::Reading;
use crate::peers::Peers;
use crate::saved::{Array, Dtype, Element, StateDict, Stateful};
use crate::text::Count;

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

/// All steps of a window, the one under way included.
pub(super) struct Total {
    pub(super) weight: f64,
    pub(super) is_spoilt: bool,
}

impl Total {
    /// Whether it ends with an update, unless a gradient is not finite.
    pub(super) fn makes_update(&self) -> bool {
        !self.is_spoilt && self.weight != 0.0
    }
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

    /// Whether the gradients of the step under way are added to those held.
    pub(super) fn adds(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.weight > 0.0 && !step.is_spoilt)
    }

    /// The factor for the gradients of the step, with the scale of losses.
    pub(super) fn backward_factor(&self, scale: Option<f64>) -> Option<f64> {
        let weight = self.step.as_ref().map_or(self.unit, |step| step.weight);
        product(weight / self.unit, scale)
    }

    /// The factor that turns the held gradients into those of the mean over a window of `weight` in all.
    pub(super) fn mean_factor(&self, weight: f64, scale: Option<f64>) -> Option<f64> {
        product(self.unit / weight, scale.map(f64::recip))
    }

    /// The window with the step under way.
    pub(super) fn total(&self) -> Total {
        let weight = self.weight + self.step.as_ref().map_or(0.0, |step| step.weight);
        Total { weight, is_spoilt: self.is_spoilt() }
    }

    /// The same over all ranks. It is an error if one of them repeats a failed step from another stage.
    pub(super) fn total_of_ranks(&self, peers: &dyn Peers) -> Result<Total, BoxError> {
        let Total { weight, is_spoilt } = self.total();
        let stage = self.stage().map_or(0.0, |stage| f64::from(stage as u8));
        let mut sums = [weight, f64::from(u8::from(is_spoilt)), stage];
        peers.sum(Bucket::F64(&mut sums))?;
        if sums[2] != stage * peers.rank().count as f64 {
            return Err(
                "ranks repeat a failed step from different stages; restore a checkpoint on all".into()
            );
        }
        Ok(Total { weight: sums[0], is_spoilt: sums[1] != 0.0 })
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

    /// The step under way has changed no gradients, and is not in the window.
    pub(super) fn leave_out(&mut self) {
        self.step = None;
    }

    /// The loss of the step under way is not finite: there will be no update.
    pub(super) fn spoil(&mut self) {
        if let Some(step) = &mut self.step {
            step.is_spoilt = true;
        }
    }

    fn is_spoilt(&self) -> bool {
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

/// The window and the gradients with which `rank` continues those of another number of ranks: all of them on rank
/// 0, and as many steps of no weight on the others.
pub(super) fn share(saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
    let mut windows = Vec::new();
    for state in saved {
        let mut window = Window::default();
        window.load_state_dict(&state.under("window"))?;
        windows.push(window);
    }
    let first = windows.first().ok_or("no rank was saved")?;
    if windows.iter().any(|window| window.step.is_some() || window.steps != first.steps) {
        return Err(format!(
            "a step of an accumulation window had failed when it was saved; continue it with {}",
            Count(saved.len() as u64, "rank")
        )
        .into());
    }
    let mut window = Window { weight: 0.0, is_spoilt: false, ..first.clone() };
    let mut share = StateDict::new();
    if rank.is_first() {
        window.weight = windows.iter().map(|window| window.weight).sum();
        window.is_spoilt = windows.iter().any(|window| window.is_spoilt);
        for (state, of) in saved.iter().zip(&windows) {
            add_gradients(&mut share, state.under("gradients"), of.unit / first.unit)?;
        }
    }
    share.insert_all("window", window.state_dict()?)?;
    Ok(share)
}

/// Adds `factor` times `gradients` to those in `sum`.
fn add_gradients(sum: &mut StateDict, gradients: StateDict, factor: f64) -> Result<(), BoxError> {
    fn add<T: Element + Into<f64>>(
        a: &Array,
        b: &Array,
        factor: f64,
        round: fn(f64) -> T,
    ) -> Result<Array, BoxError> {
        let (a, b) = (a.to_vec::<T>()?, b.to_vec::<T>()?);
        let values: Vec<T> = a.into_iter().zip(b).map(|(a, b)| round(a.into() + factor * b.into())).collect();
        Ok(Array::from_slice(&values))
    }
    for (name, more) in gradients {
        let name = format!("gradients.{name}");
        let held = match sum.remove(&name) {
            Ok(held) => held,
            Err(_) => Array::new(more.dtype(), more.shape().to_vec(), vec![0; more.bytes().len()])?,
        };
        let added = match more.dtype() {
            Dtype::F32 => add(&held, &more, factor, |value| value as f32)?,
            Dtype::F64 => add(&held, &more, factor, |value| value)?,
            other => return Err(format!("`{name}`: gradients of type {other:?} cannot be added").into()),
        };
        sum.insert(name, Array::new(more.dtype(), more.shape().to_vec(), added.into_bytes())?)?;
    }
    Ok(())
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
