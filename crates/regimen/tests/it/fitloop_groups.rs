//! Parameter groups of a loop: rates, freezing, and the closure that sets them anew.

use regimen::fitloop::{FitLoop, Rates, min};
use regimen::saved::StateDict;
use regimen_test::Transcript;
use regimen_test::toy::{ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

use crate::fitloop::{Engine, Labels, Trainer, cause, criterion, differing, forward, loader, module};

const ALL: [&str; 4] = ["hidden.bias", "hidden.weight", "output.bias", "output.weight"];

fn engine() -> Engine {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::plain(&mut vars, [2, 6, 3]);
    ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.0))
}

fn of<'a>(engine: Engine) -> Trainer<'a> {
    FitLoop::new(engine, forward, |logits, labels: &Labels| criterion(logits, labels))
        .train_data(loader(0, 8))
        .valid_data(loader(0, 4))
}

/// Of the groups `default`, which is empty, `hidden` and `output`.
fn layered<'a>() -> Trainer<'a> {
    let [hidden, output] = ["hidden", "output"].map(|layer| move |name: &str| name.starts_with(layer));
    of(engine().group("hidden", hidden).group("output", output))
}

/// The parameters that a fit changes.
fn trained(trainer: &mut Trainer<'_>) -> Vec<String> {
    let before: StateDict = module(trainer);
    trainer.fit(1).unwrap();
    let after = module(trainer);
    let mut names: Vec<String> = differing(&before, &after).into_iter().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

fn rates(trainer: &Trainer<'_>) -> Vec<f64> {
    trainer.groups().iter().map(|group| group.rate).collect()
}

#[test]
fn rates_are_a_number_a_list_for_the_last_groups_or_a_span_over_those_that_train() {
    let check = |given: Rates, expected: [f64; 3]| {
        let mut trainer = layered().learning_rate(0.5);
        trainer.set_learning_rates(given.clone()).unwrap();
        let found = rates(&trainer);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{given:?}: {found:?}");
    };
    check(0.1.into(), [0.1; 3]);
    check([0.1].into(), [0.0, 0.0, 0.1]);
    check(vec![2.0, 3.0].into(), [0.0, 2.0, 3.0]);
    check([1.0, 2.0, 3.0, 4.0].into(), [2.0, 3.0, 4.0]);
    check((0.001..=0.1).into(), [0.001, 0.01, 0.1]);
    // A frozen group takes no part in a span.
    let mut trainer = layered().learning_rate(0.5);
    trainer.unlock_last(2).unwrap();
    trainer.set_learning_rates(0.01..=0.1).unwrap();
    assert_eq!(rates(&trainer), [0.5, 0.01, 0.1]);
    trainer.unlock_last(1).unwrap();
    trainer.set_learning_rates(0.3..=0.7).unwrap();
    assert_eq!(rates(&trainer), [0.5, 0.01, 0.7]);
}

#[test]
fn the_last_groups_can_be_trained_alone_and_all_again() {
    let mut trainer = layered();
    assert_eq!(trained(&mut trainer), ALL);
    trainer.unlock_last(1).unwrap();
    assert_eq!(trained(&mut trainer), ALL[2..]);
    trainer.unlock_last(2).unwrap();
    assert_eq!(trained(&mut trainer), ALL);
    trainer.unlock_last(9).unwrap();
    trainer.freeze("output").unwrap();
    assert_eq!(trained(&mut trainer), ALL[..2]);
    trainer.unfreeze("output").unwrap();
    assert_eq!(trained(&mut trainer), ALL);
    trainer.unlock_last(0).unwrap();
    assert_eq!(
        cause(&trainer.fit(1).unwrap_err()),
        "`freeze`: all parameter groups are frozen, so there is nothing to train"
    );
}

#[test]
fn groups_are_a_printed_list() {
    let mut trainer = layered();
    trainer.set_learning_rates([0.3, 0.03]).unwrap();
    trainer.freeze("hidden").unwrap();
    let lines: Vec<String> = trainer.groups().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "trains: true   rate: 0 :: default",
            "trains: false  rate: 0.3000 :: hidden",
            "trains: true   rate: 0.03000 :: output",
        ]
    );
}

#[test]
fn a_parameter_that_is_in_no_group_of_the_user_is_trained_too() {
    let mut trainer = of(engine().group("last", |name| name == "output.weight"));
    trainer.set_learning_rates([0.1, 0.2]).unwrap();
    assert_eq!(trained(&mut trainer), ALL);
}

#[test]
fn rates_and_groups_that_cannot_be_are_errors_and_change_nothing() {
    let mut trainer = layered().learning_rate(0.5);
    for (given, expected) in [
        (Rates::from(-1.0), "a rate of -1; give a finite number of at least 0"),
        (Rates::from([f64::NAN]), "a rate of NaN; give a finite number of at least 0"),
        (Rates::from(0.0..=1.0), "a span from 0 to 1 has no equal factors"),
    ] {
        let error = cause(&trainer.set_learning_rates(given).unwrap_err());
        assert_eq!(error, format!("`set_learning_rates`: {expected}"));
    }
    let unknown = "`set_frozen`: there is no group `head`; the engine has: default, hidden, output";
    assert_eq!(cause(&trainer.freeze("head").unwrap_err()), unknown);
    assert_eq!(cause(&trainer.unfreeze("head").unwrap_err()), unknown);
    assert!(trainer.groups().iter().all(|group| group.trains && group.rate == 0.5));
}

#[test]
fn the_optimizer_is_configured_anew_after_every_load_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    let transcript = Transcript::new();
    let calls = transcript.clone();
    let mut trainer =
        layered().criteria(min("loss")).keep_initial().folder(folder.path()).configure_optimizer(
            move |unit| {
                calls.write("configured");
                unit.set_group_learning_rate("hidden", 0.125)
            },
        );
    trainer.save("a").unwrap();
    trainer.save_model("a").unwrap();
    transcript.assert_reads("");
    trainer.load("a").unwrap();
    transcript.assert_reads("configured");
    assert_eq!(rates(&trainer)[1], 0.125);
    trainer.load_model("a").unwrap();
    transcript.assert_reads("configured");
    trainer.reset().unwrap();
    transcript.assert_reads("configured");
    // At its end with the weights of the best validation.
    trainer.fit(1).unwrap();
    transcript.assert_reads("configured");
    let mut failing = layered().keep_initial().configure_optimizer(|_| Err("no rates".into()));
    assert_eq!(cause(&failing.reset().unwrap_err()), "`configure_optimizer`: no rates");
}
