//! What a checkpoint holds of an [`AutoUnit`].

use super::averaging::{Average, AveragePart};
use super::window::Window;
use super::{AutoUnit, GradientScaler, Plateau, thaw};
use crate::{AppState, BoxError, Engine, Parts, StateDict, Stateful, Task};

/// The parts `module`, which has the weights that are trained, `optimizer` and `auto_unit`, and
/// with [averaging](AutoUnit::average) `averaged_module`, which is laid out as `module` or, during
/// the warm-up, empty. `auto_unit` is the accumulation window with its held gradients, the number of
/// skipped updates, and where scale, plateau and average stand. A task's own state is not among
/// them.
///
/// A scale of losses and a plateau that the checkpoint does not know begin anew, and what is not
/// used is passed over: so the precision can be changed at a restart, also within a window. An
/// average cannot be added or taken away so; load the other parts by their names for that.
impl<E: Engine, T: Task<E>> AppState for AutoUnit<E, T> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut ModulePart(&mut self.engine))?;
        parts.part("optimizer", &mut OptimizerPart(&mut self.engine))?;
        let AutoUnit { engine, window, skipped, frozen, average, plateau, .. } = self;
        if let Some(average) = average {
            parts.part("averaged_module", &mut AveragePart { engine: &*engine, average })?;
        }
        let scaler = self.settings.is_scaling().then_some(&mut self.scaler);
        parts.part("auto_unit", &mut OwnPart { engine, window, skipped, frozen, scaler, average, plateau })
    }
}

struct ModulePart<'e, E>(&'e mut E);

impl<E: Engine> Stateful for ModulePart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.module_state()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.load_module(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.check_module(dict)
    }
}

struct OptimizerPart<'e, E>(&'e mut E);

impl<E: Engine> Stateful for OptimizerPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.optimizer_state()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.load_optimizer(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.check_optimizer(dict)
    }
}

struct OwnPart<'u, E: Engine> {
    engine: &'u mut E,
    window: &'u mut Window,
    skipped: &'u mut u64,
    frozen: &'u mut Vec<bool>,
    scaler: Option<&'u mut GradientScaler>,
    average: &'u mut Option<Average<E::Weights>>,
    plateau: &'u mut Option<Plateau>,
}

/// What an [`OwnPart`] reads from a state, beside the gradients.
struct Read {
    window: Window,
    skipped: u64,
    scaler: Option<GradientScaler>,
    taken: u64,
    plateau: Option<Plateau>,
}

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
        let taken = if self.average.is_some() { dict.count("averaged")? } else { 0 };
        Ok(Read { window, skipped: dict.count("skipped")?, scaler, taken, plateau })
    }
}

impl<E: Engine> Stateful for OwnPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("skipped", *self.skipped)?;
        if let Some(scaler) = &self.scaler {
            dict.insert_all("scaler", scaler.state_dict()?)?;
        }
        if let Some(average) = &self.average {
            dict.insert("averaged", average.taken)?;
        }
        if let Some(plateau) = &self.plateau {
            dict.insert_all("plateau", plateau.state_dict()?)?;
        }
        if self.window.is_torn() {
            dict.insert_all("window", Window::default().state_dict()?)?;
        } else {
            dict.insert_all("window", self.window.state_dict()?)?;
            dict.insert_all("gradients", self.engine.gradients()?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let read = self.read(dict)?;
        // What is frozen there is frozen again by the next step, which knows where the run stands.
        thaw(self.engine, self.frozen)?;
        self.engine.set_gradients(&dict.under("gradients"))?;
        let saved =
            if dict.contains("scaler.scale") { f64::from(dict.get::<f32>("scaler.scale")?) } else { 1.0 };
        let scale = read.scaler.as_ref().map_or(1.0, GradientScaler::scale);
        if saved != scale {
            self.engine.scale_gradients(scale / saved)?;
        }
        (*self.window, *self.skipped, *self.plateau) = (read.window, read.skipped, read.plateau);
        if let (Some(scaler), Some(read)) = (&mut self.scaler, read.scaler) {
            **scaler = read;
        }
        if let Some(average) = self.average {
            average.taken = read.taken;
        }
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict)?;
        self.engine.check_gradients(&dict.under("gradients"))
    }
}
