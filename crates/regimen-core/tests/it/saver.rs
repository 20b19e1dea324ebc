//! The calls of a saver.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use crate::weighted::unit;
use regimen_core::callback::{Event, Events, Ranks};
use regimen_core::data::Rank;
use regimen_core::run::{Moment, Report, Restored, Saver, Train, Which};
use regimen_core::state::Phase;
use regimen_core::{BoxError, Error, Run};
use regimen_test::Transcript;

struct Told(Ranks, Transcript);

impl Saver for Told {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStepEnd])
    }

    fn ranks(&self) -> Ranks {
        self.0
    }

    fn begin(&mut self, _: Phase, _: &mut Moment<'_>) -> Result<(), BoxError> {
        self.1.write("begin");
        Ok(())
    }

    fn on_event(&mut self, _: Event, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.1.write("step");
        if moment.state().train_progress().steps == 2 { Err("told to fail".into()) } else { Ok(()) }
    }

    fn on_error(&mut self, _: &Error, _: &mut Moment<'_>) {
        self.1.write("error");
    }

    fn sum_up(&mut self, _: &mut Report, _: &mut Moment<'_>) {
        self.1.write("report");
    }

    fn restore(&mut self, _: Which<'_>, _: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        self.1.write("restore");
        Ok(None)
    }
}

#[test]
fn every_rank_restores_and_those_of_the_saver_save() {
    let check = |ranks: Ranks, index: u64, expected: &str| {
        let (transcript, mut unit) = (Transcript::new(), unit());
        let mut run =
            Run::new(&mut unit).rank(Rank { index, count: 2 }).saver(Told(ranks, transcript.clone()));
        run.restore_latest().unwrap();
        run.train(&[(1.0, 1.0); 3], Train::steps(1)).unwrap();
        let _ = run.train(&[(1.0, 1.0); 3], Train::steps(2));
        transcript.assert_reads(expected);
    };
    let all = "restore begin step report begin step error";
    check(Ranks::First, 0, all);
    check(Ranks::First, 1, "restore");
    check(Ranks::All, 1, all);
}
