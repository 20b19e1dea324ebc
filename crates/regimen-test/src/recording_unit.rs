//! Recording unit.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use regimen_core::saved::{AppState, Parts};
use regimen_core::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen_core::{BoxError, State};

use crate::act::Plan;
use crate::{Act, Transcript};

/// A unit for training, evaluation and prediction that records every call in a [`Transcript`], and
/// can act at some. Its batches are any type that implements `Debug`.
///
/// The hook `on_train_start` is recorded as `unit.train_start`, and a step on the batch 3 as
/// `unit.train_step(3)`. A prediction is the batch itself.
///
/// Its saved state, the part `steps`, is the number of calls of its steps.
///
/// ```
/// use regimen_core::Fit;
/// use regimen_core::run::fit;
/// use regimen_test::{Act, Call, RecordingUnit, Transcript};
///
/// let transcript = Transcript::new();
/// let mut unit = RecordingUnit::new(&transcript).at(Call::EvalStep, 1, Act::Fail);
/// let error = fit(&mut unit, &[1], &[2], Fit::epochs(1)).unwrap_err();
/// assert!(format!("{error:#}").ends_with("told to fail"));
/// transcript.assert_reads(
///     "unit.train_start unit.train_epoch_start unit.train_step(1) unit.train_epoch_end
///      unit.eval_start unit.eval_epoch_start unit.eval_step(2)",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct RecordingUnit<B> {
    name: Cow<'static, str>,
    transcript: Transcript,
    plan: Plan<Call>,
    steps: u64,
    batch: PhantomData<fn(B)>,
}

macro_rules! calls {
    ($($call:ident $name:literal,)*) => {
        /// A method of a unit, for [`RecordingUnit::at`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Call {
            $(#[doc = concat!("Recorded as `", $name, "`.")] $call,)*
        }

        impl Call {
            /// Name in the transcript.
            pub const fn name(self) -> &'static str {
                match self { $(Call::$call => $name,)* }
            }
        }
    };
}
calls! {
    TrainStart "train_start",
    TrainEpochStart "train_epoch_start",
    TrainStep "train_step",
    TrainEpochEnd "train_epoch_end",
    TrainEnd "train_end",
    EvalStart "eval_start",
    EvalEpochStart "eval_epoch_start",
    EvalStep "eval_step",
    EvalEpochEnd "eval_epoch_end",
    EvalEnd "eval_end",
    PredictStart "predict_start",
    PredictEpochStart "predict_epoch_start",
    PredictStep "predict_step",
    PredictEpochEnd "predict_epoch_end",
    PredictEnd "predict_end",
}

impl<B: Debug> RecordingUnit<B> {
    /// Creates a unit with the name `unit`.
    pub fn new(transcript: &Transcript) -> Self {
        let (transcript, plan) = (transcript.clone(), Plan::new());
        RecordingUnit { name: Cow::Borrowed("unit"), transcript, plan, steps: 0, batch: PhantomData }
    }

    /// Sets the name in the transcript.
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        RecordingUnit { name: name.into(), ..self }
    }

    /// Performs `act` once, at the `n`-th `call`, counted from 1.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn at(mut self, call: Call, n: u64, act: Act) -> Self {
        self.plan.add(call, n, act);
        self
    }

    fn hook(&mut self, call: Call, state: &mut State) -> Result<(), BoxError> {
        self.transcript.write(format!("{}.{}", self.name, call.name()));
        self.plan.perform(call, state)
    }

    fn step(&mut self, call: Call, state: &mut State, batch: &B) -> Result<(), BoxError> {
        self.steps += 1;
        self.transcript.write(format!("{}.{}({batch:?})", self.name, call.name()));
        self.plan.perform(call, state)
    }
}

macro_rules! hooks {
    ($($hook:ident $call:ident),*) => {$(
        fn $hook(&mut self, state: &mut State) -> Result<(), BoxError> {
            self.hook(Call::$call, state)
        }
    )*};
}

impl<B: Debug> TrainUnit for RecordingUnit<B> {
    type Batch = B;

    fn train_step(&mut self, state: &mut State, batch: B) -> Result<(), BoxError> {
        self.step(Call::TrainStep, state, &batch)
    }

    hooks!(on_train_start TrainStart, on_train_epoch_start TrainEpochStart,
           on_train_epoch_end TrainEpochEnd, on_train_end TrainEnd);
}

impl<B: Debug> EvalUnit for RecordingUnit<B> {
    type Batch = B;

    fn eval_step(&mut self, state: &mut State, batch: B) -> Result<(), BoxError> {
        self.step(Call::EvalStep, state, &batch)
    }

    hooks!(on_eval_start EvalStart, on_eval_epoch_start EvalEpochStart,
           on_eval_epoch_end EvalEpochEnd, on_eval_end EvalEnd);
}

impl<B: Debug> PredictUnit for RecordingUnit<B> {
    type Batch = B;
    type Output = B;

    fn predict_step(&mut self, state: &mut State, batch: B) -> Result<B, BoxError> {
        self.step(Call::PredictStep, state, &batch)?;
        Ok(batch)
    }

    hooks!(on_predict_start PredictStart, on_predict_epoch_start PredictEpochStart,
           on_predict_epoch_end PredictEpochEnd, on_predict_end PredictEnd);
}

impl<B> AppState for RecordingUnit<B> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("steps", &mut self.steps)
    }
}
