//! The exit status that tells a launcher whether to run a program again.

use std::process::ExitCode;

use regimen_core::run::{Ended, Report};

/// Exit status of a program whose run is paused and saved: run it again. 75 is `EX_TEMPFAIL` of `sysexits.h`.
pub const RUN_AGAIN: u8 = 75;

/// The exit status of a program whose last call ended with `report`: [`RUN_AGAIN`] if the run is paused, and 0 if it is
/// complete or finished. An error is for the program to return, with status 1.
///
/// | status | | launcher |
/// |---|---|---|
/// | 0 | the run is complete, or a rule has finished it | ends |
/// | 75 | the run is paused | runs it again |
/// | 1 | an error | ends: it would come again |
/// | 86 | a call to another rank has waited too long | runs it again |
/// | above 128 | a signal, such as 137 after SIGKILL | runs it again |
///
/// Every rank has the same.
pub fn exit_code(report: &Report) -> ExitCode {
    match report.ended {
        Ended::Paused(_) => ExitCode::from(RUN_AGAIN),
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use regimen_core::run::Train;
    use regimen_core::unit::TrainUnit;
    use regimen_core::{BoxError, Run, State};

    use super::*;

    struct Stop(fn(&mut State));

    impl TrainUnit for Stop {
        type Batch = u64;

        fn train_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
            (self.0)(state);
            Ok(())
        }
    }

    #[test]
    fn a_pause_alone_asks_for_another_start() {
        let check = |stop: fn(&mut State), status: u8| {
            let report = Run::new(&mut Stop(stop)).train(&[0_u64; 3], Train::epochs(1)).unwrap();
            assert_eq!(
                format!("{:?}", exit_code(&report)),
                format!("{:?}", ExitCode::from(status)),
                "{report}"
            );
        };
        check(|_| {}, 0);
        check(|state| state.finish("enough"), 0);
        check(|state| state.pause("SIGTERM"), 75);
    }
}
