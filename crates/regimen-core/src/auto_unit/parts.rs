//! What a checkpoint holds of an [`AutoUnit`].

use super::AutoUnit;
use super::window::Window;
use crate::{AppState, BoxError, Engine, Parts, StateDict, Stateful, Task};

/// The parts `module`, `optimizer` and `auto_unit`: the last is the accumulation window with its
/// held gradients, and the number of skipped updates. A task's own state is not among them.
impl<E: Engine, T: Task<E>> AppState for AutoUnit<E, T> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut ModulePart(&mut self.engine))?;
        parts.part("optimizer", &mut OptimizerPart(&mut self.engine))?;
        let AutoUnit { engine, window, skipped, .. } = self;
        parts.part("auto_unit", &mut WindowPart { engine, window, skipped })
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

struct WindowPart<'e, E> {
    engine: &'e mut E,
    window: &'e mut Window,
    skipped: &'e mut u64,
}

impl<E: Engine> Stateful for WindowPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("skipped", *self.skipped)?;
        if self.window.is_torn() {
            dict.insert_all("window", Window::default().state_dict()?)?;
        } else {
            dict.insert_all("window", self.window.state_dict()?)?;
            dict.insert_all("gradients", self.engine.gradients()?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut window = Window::default();
        window.load_state_dict(&dict.under("window"))?;
        let skipped = dict.get("skipped")?;
        self.engine.set_gradients(&dict.under("gradients"))?;
        (*self.window, *self.skipped) = (window, skipped);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Window::default().load_state_dict(&dict.under("window"))?;
        dict.get::<u64>("skipped")?;
        self.engine.check_gradients(&dict.under("gradients"))
    }
}
