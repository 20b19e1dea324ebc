use regimen::callback::EarlyStopping;
use regimen::metric::Key;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};
const LOSS: Key = Key::mean("eval/loss");
struct Line(f64);
impl TrainUnit for Line {
    type Batch = (f64, f64);
    fn train_step(&mut self, _: &mut State, (x, y): (f64, f64)) -> Result<(), BoxError> {
        self.0 += 0.1 * (y - self.0 * x) * x;
        Ok(())
    }
}
impl EvalUnit for Line {
    type Batch = (f64, f64);
    fn eval_step(&mut self, state: &mut State, (x, y): (f64, f64)) -> Result<(), BoxError> {
        state.log(LOSS, (y - self.0 * x).powi(2), 1.0);
        Ok(())
    }
}
fn main() -> Result<(), Error> {
    let (train, eval, mut line) = ([(1.0, 2.0), (0.5, 1.0)], [(2.0, 4.0)], Line(0.0));
    let mut run = Run::new(&mut line).callback(EarlyStopping::min(LOSS, 3));
    let report = run.fit(&train, &eval, Fit::epochs(99))?;
    println!("{}, loss {:?}", report.ended, report.metric(LOSS));
    Ok(())
}
