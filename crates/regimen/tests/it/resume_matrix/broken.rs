//! The toy engine in a run with one defect.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use regimen::callback::{Event, Events};
use regimen::checkpoint::Checkpointer;
use regimen::data::{At, Data, Epoch};
use regimen::engine::{Mode, Precision};
use regimen::run::{Moment, Restored, Saver, Which};
use regimen::saved::{AppState, Array, StateDict, load_parts, save_parts};
use regimen::state::Phase;
use regimen::{BoxError, Error, Loss};
use regimen_test::engine_suite::EngineFixture;
use regimen_test::resume_matrix::{Interface, ResumeFixture};
use regimen_test::toy::{ToyArray, ToyMlp, manual_seed};

use super::toy::{TOY, Toy};

/// The defects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Dropout draws from the generator of the process.
    NoSeeding,
    /// The gradients of a window under way are not restored.
    NoGradients,
    /// The counts of a window under way are not restored.
    NoWindow,
    /// An epoch begins with its first batch, regardless of the batches consumed.
    NoSkip,
    /// Logs of an epoch under way are not restored.
    NoMetrics,
    /// The state of callbacks is not restored.
    NoCallbacks,
    /// The scale of losses starts over.
    NoScale,
    /// The count of averages is not restored.
    NoAverage,
    /// The values seen by the plateau are not restored.
    NoPlateau,
    /// The progress of passes by hand is not restored.
    NoPasses,
    /// The numbers of the epoch under way, which the task keeps, are not restored.
    NoTask,
}

/// The fixture of a run with a defect.
#[derive(Clone)]
pub(crate) struct Broken {
    pub(crate) defect: Defect,
    pub(crate) interface: Interface,
    pub(crate) test: &'static str,
}

impl EngineFixture for Broken {
    type Engine = <Toy as EngineFixture>::Engine;
    type Batch = <Toy as EngineFixture>::Batch;

    fn plain(&self) -> Self::Engine {
        TOY.plain()
    }

    fn regularized(&self) -> Self::Engine {
        TOY.regularized()
    }

    fn batch(&self, rows: Range<u64>) -> Self::Batch {
        TOY.batch(rows)
    }

    fn misshapen(&self) -> Self::Batch {
        TOY.misshapen()
    }

    fn loss(&self, mode: Mode, mlp: &ToyMlp, batch: &Self::Batch) -> Result<Loss<ToyArray>, BoxError> {
        static DRAWS: AtomicU64 = AtomicU64::new(0);
        if self.defect == Defect::NoSeeding {
            manual_seed(DRAWS.fetch_add(1, Ordering::Relaxed));
        }
        TOY.loss(mode, mlp, batch)
    }

    fn tolerance(&self) -> f64 {
        TOY.tolerance()
    }

    fn test_name(&self) -> &str {
        self.test
    }
}

impl ResumeFixture for Broken {
    fn interface(&self) -> Interface {
        self.interface
    }

    fn precision(&self) -> Precision {
        if self.defect == Defect::NoScale { Precision::F16 } else { Precision::F32 }
    }

    fn data<D: Data>(&self, data: D) -> impl Data<Batch = D::Batch> {
        Unskipped { data, defect: self.defect }
    }

    fn saver(&self, saver: Checkpointer) -> impl Saver {
        Forgetful { saver, defect: self.defect }
    }
}

struct Unskipped<D> {
    data: D,
    defect: Defect,
}

impl<D: Data> Data for Unskipped<D> {
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        let beginning = At::epoch(at.epoch, at.seed).rank(at.rank);
        self.data.epoch(if self.defect == Defect::NoSkip { beginning } else { at })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }
}

struct Forgetful {
    saver: Checkpointer,
    defect: Defect,
}

impl Saver for Forgetful {
    fn events(&self) -> Events {
        Saver::events(&self.saver)
    }

    fn begin(&mut self, phase: Phase, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.saver.begin(phase, moment)
    }

    fn on_event(&mut self, event: Event, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.saver.on_event(event, moment)
    }

    fn on_error(&mut self, error: &Error, moment: &mut Moment<'_>) {
        self.saver.on_error(error, moment);
    }

    fn restore(&mut self, which: Which<'_>, moment: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        let (new, new_parts) = (moment.run_state()?, save_parts(moment.unit())?);
        let restored = self.saver.restore(which, moment)?;
        let mut run = moment.run_state()?;
        match self.defect {
            Defect::NoGradients => {
                let mut parts = save_parts(moment.unit())?;
                let part = parts.get_mut("auto_unit").ok_or("no window was saved")?;
                remove_under(part, "gradients.");
                load_parts(moment.unit(), &parts)?;
            }
            Defect::NoWindow => {
                let mut parts = save_parts(moment.unit())?;
                let (part, new) = (parts.get_mut("auto_unit"), new_parts.get("auto_unit"));
                let (part, new) = part.zip(new).ok_or("no window was saved")?;
                remove_under(part, "window.");
                part.insert_all("window", new.under("window"))?;
                load_parts(moment.unit(), &parts)?;
            }
            Defect::NoTask => {
                let mut parts = save_parts(moment.unit())?;
                let (part, new) = (parts.get_mut("task"), new_parts.get("task"));
                let (part, new) = part.zip(new).ok_or("the task saved nothing")?;
                // A `FitLoop` without its last epoch is another run.
                let goal = part.remove("goal").ok();
                *part = new.clone();
                if let Some(goal) = goal {
                    drop(part.remove("goal")?);
                    part.insert("goal", goal)?;
                }
                load_parts(moment.unit(), &parts)?;
            }
            Defect::NoScale => {
                reset(moment.unit(), &[("scaler.scale", 65536_f32.into()), ("scaler.streak", 0_u64.into())])?
            }
            Defect::NoAverage => reset(moment.unit(), &[("averaged", 0_u64.into())])?,
            Defect::NoPlateau => reset(
                moment.unit(),
                &[
                    ("plateau.best", Array::from_slice::<f64>(&[])),
                    ("plateau.bad", 0_u64.into()),
                    ("plateau.scale", 1_f64.into()),
                ],
            )?,
            Defect::NoMetrics => {
                for phase in ["train", "eval"] {
                    empty_metrics(&mut run, &format!("run.{phase}.metrics.values"))?;
                }
            }
            Defect::NoPasses => {
                remove_under(&mut run, "run.predict.");
                run.insert_all("run.predict", new.under("run.predict"))?;
            }
            Defect::NoCallbacks => {
                remove_under(&mut run, "callbacks.");
                run.insert_all("callbacks", new.under("callbacks"))?;
            }
            Defect::None | Defect::NoSeeding | Defect::NoSkip => {}
        }
        moment.load_run_state(&run)?;
        Ok(restored)
    }
}

/// Replaces a part of `auto_unit`.
fn reset(unit: &mut dyn AppState, arrays: &[(&str, Array)]) -> Result<(), BoxError> {
    let mut parts = save_parts(unit)?;
    let part = parts.get_mut("auto_unit").ok_or("nothing was saved")?;
    for (name, array) in arrays {
        drop(part.remove(name)?);
        part.insert(*name, array.clone())?;
    }
    load_parts(unit, &parts)
}

fn remove_under(dict: &mut StateDict, prefix: &str) {
    let names: Vec<String> = dict.iter().map(|(name, _)| name.to_owned()).collect();
    names.iter().filter(|name| name.starts_with(prefix)).for_each(|name| drop(dict.remove(name)));
}

/// Sets the totals and weights of the epoch under way to zero: two of the four values of each.
fn empty_metrics(run: &mut StateDict, name: &str) -> Result<(), BoxError> {
    let mut values: Vec<f64> = run.array(name)?.to_vec()?;
    for metric in values.chunks_exact_mut(4) {
        metric[..2].fill(0.0);
    }
    drop(run.remove(name));
    run.insert(name, Array::from_slice(&values))
}
