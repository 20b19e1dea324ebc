//! The question whether to go on.

use std::io::{self, BufReader, Cursor, Read};

use regimen::State;
use regimen::callback::Event;
use regimen::checkpoint::Checkpointer;
use regimen::fitloop::{AskToContinue, DryRun, FitTable, max, record};
use regimen::peers::Peers;
use regimen::run::Ended;
use regimen::timer::Timer;
use regimen_test::peers::{Threads, on_ranks};

use crate::fitloop::{
    Printed, Trainer, Unit, bare, classifier, loader, module, scored, table, weights_after,
};
use crate::ranks_agree::PATIENCE;

const QUESTION: &str = "continue loop ([y]/n): \n";

fn asking(every: u64, answers: &'static str, printed: &Printed) -> AskToContinue {
    AskToContinue::every(every).input(Cursor::new(answers)).output(printed.clone())
}

fn one_batch<'a>() -> Trainer<'a> {
    bare().train_data(loader(0, 4))
}

#[test]
fn it_asks_after_every_few_epochs_except_the_last_and_only_n_stops() {
    for (every, answers, questions, epochs) in [
        (2, "y\nno\n", 2, 6),
        (2, "n\n", 1, 2),
        (2, "\nn", 2, 4),
        (2, "", 2, 6),
        (3, "N\n", 1, 6),
        (1, " n\nn \nnn\nyes\nn\r\n", 5, 5),
        (6, "n\n", 0, 6),
        (7, "n\n", 0, 6),
        (0, "n\n", 0, 6),
    ] {
        let printed = Printed::default();
        let report = one_batch().callback(asking(every, answers, &printed)).fit(6).unwrap();
        let ended = match epochs {
            6 => Ended::Complete,
            _ => Ended::Finished(format!("stopped after epoch {epochs}, as answered")),
        };
        assert_eq!((report.train.epochs, report.ended), (epochs, ended), "{answers:?}");
        printed.assert_reads(&QUESTION.repeat(questions));
    }
}

#[test]
fn a_fit_that_an_answer_stops_has_the_best_weights_and_its_totals() {
    let printed = Printed::default();
    let mut trainer = scored(&[3.0, 1.0, 9.0])
        .criteria(max("score"))
        .callback(asking(2, "n\n", &printed))
        .callback(table(&printed).only(["score"]).clock(Default::default));
    trainer.fit(4).unwrap();
    assert_eq!(module(&mut trainer), weights_after(1));
    let time = "00 s 000 ms";
    printed.assert_reads(&format!(
        "[1/4] - train :: \n        valid :: score: 3.0000\n        epoch time: {time}\n\n\
         [2/4] - train :: \n        valid :: score: 1.0000\n        epoch time: {time}\n\n\
         {QUESTION}-----\ntotal time: {time}\nbest score: 3.0000\n"
    ));
}

#[test]
fn a_stopped_fit_stays_stopped_until_it_is_told_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let printed = Printed::default();
    let new = |answers| {
        one_batch().callback(asking(2, answers, &printed)).saver(Checkpointer::new(folder.path().join("run")))
    };
    let mut first = new("n\n");
    first.fit(9).unwrap();
    assert_eq!(first.fit(9).unwrap().train.epochs, 2);
    drop(first);
    let mut second = new("");
    second.restore_latest().unwrap().unwrap();
    assert_eq!(second.fit(9).unwrap().train.epochs, 2);
    printed.assert_reads(QUESTION);
    second.go_on();
    // Its own number of epochs, and not asked again after the second.
    assert_eq!(second.fit(3).unwrap().train.epochs, 5);
    printed.assert_reads(QUESTION);
}

#[test]
fn an_epoch_after_which_it_asked_is_not_asked_about_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let printed = Printed::default();
    for (pause, epochs) in [(true, 2), (false, 3)] {
        let on_start = move |state: &mut State, _: &mut Unit| {
            if pause && state.train_progress().epochs == 2 {
                state.pause("after the question");
            }
        };
        let mut trainer = one_batch()
            .callback(asking(2, "y\n", &printed))
            .on(Event::CycleStart, on_start)
            .saver(Checkpointer::new(folder.path().join("run")));
        trainer.restore_latest().unwrap();
        assert_eq!(trainer.fit(3).unwrap().train.epochs, epochs);
    }
    printed.assert_reads(QUESTION);
}

#[test]
fn a_sanity_check_a_profile_and_a_test_ask_nothing() {
    let printed = Printed::default();
    let mut trainer = classifier().callback(asking(1, "n\n", &printed));
    trainer.sanity_check(DryRun::epochs(3)).unwrap();
    trainer.profile(DryRun::epochs(3), Timer::new()).unwrap();
    trainer.test().unwrap();
    printed.assert_reads("");
}

#[test]
fn the_first_of_several_ranks_asks_and_its_answer_counts_for_all() {
    let printed = Printed::default();
    let ended = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let own = printed.clone();
        let answers = if peers.rank().index == 0 { "y\nn\n" } else { "n\n" };
        let mut trainer = bare().train_data(loader(0, 8)).peers(peers).callback(asking(1, answers, &own));
        let report = trainer.fit(6).map_err(|error| format!("{error:?}"))?;
        Ok::<_, String>((report.train.epochs, report.ended))
    });
    let expected = (2, Ended::Finished("stopped after epoch 2, as answered".to_owned()));
    assert_eq!(ended, [(); 3].map(|()| Ok(Ok(expected.clone()))));
    printed.assert_reads(&QUESTION.repeat(2));
}

#[test]
fn an_answer_that_cannot_be_read_goes_on_with_a_notice() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no terminal"))
        }
    }
    let ask = AskToContinue::every(1).input(BufReader::new(Broken)).output(io::sink());
    let report = one_batch().callback(ask).fit(2).unwrap();
    assert_eq!(report.notices, ["goes on after epoch 1: no answer was read: no terminal"]);
    // The short way asks on standard input, and here it never comes to it.
    let mut trainer =
        one_batch().epoch_end(|_| Ok(record! {})).ask_every(9).callback(FitTable::to(io::sink()));
    trainer.fit(2).unwrap();
}
