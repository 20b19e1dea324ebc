//! A module that panics or fails in the middle of a window.

use regimen_core::engine::{Engine, Part};
use regimen_core::error::ErrorKind;
use regimen_core::run::Train;
use regimen_core::{BoxError, Run};

use super::EngineFixture;
use super::measure::{ensure, ensure_same};
use super::task::{batches, unit};

/// A batch that the module cannot take is an error with its place. The run then continues as if it had not
/// been tried: the window under way keeps its gradients.
pub fn a_panic_in_the_module_is_an_error<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let good = batches(fixture, &[2, 3, 4, 5, 6]);
    let mut bad = good.clone();
    bad[3] = fixture.misshapen();

    let mut unharmed = unit(fixture, fixture.regularized()).accumulate(2);
    Run::new(&mut unharmed).train(&good, Train::epochs(1))?;
    let mut harmed = unit(fixture, fixture.regularized()).accumulate(2);
    let mut run = Run::new(&mut harmed);
    match run.train(&bad, Train::epochs(1)) {
        Ok(_) => return Err("the misshapen batch fits the module".into()),
        Err(error) => {
            let of_unit = matches!(error.kind(), ErrorKind::Unit(_));
            ensure(of_unit && error.place().step == 3, format!("misplaced: {error:#}"))?;
        }
    }
    run.train(&good, Train::epochs(1))?;
    drop(run);
    let (unharmed, harmed) = (unharmed.engine(), harmed.engine());
    ensure_same("the module after a panic", &harmed.state(Part::Module)?, &unharmed.state(Part::Module)?)?;
    ensure_same(
        "the optimizer after a panic",
        &harmed.state(Part::Optimizer)?,
        &unharmed.state(Part::Optimizer)?,
    )
}
