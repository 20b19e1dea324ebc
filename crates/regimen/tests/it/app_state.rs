//! `#[derive(AppState)]`: the parts it lists, and its compile errors.
#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used)]

use regimen::BoxError;
use regimen::engine::Engine as _;
use regimen::saved::{AppState, StateDict, Stateful, load_parts, save_parts, weight_parts};
use regimen_test::toy::{ToyArray, ToyEngine, ToyLinear, ToyOptimizer, ToyVars, manual_seed};

/// The names of the parts of `unit`, after all of them were saved and loaded.
#[track_caller]
fn check(mut unit: impl AppState, expected: &[&str]) {
    let saved = save_parts(&mut unit).unwrap();
    load_parts(&mut unit, &saved).unwrap();
    assert_eq!(saved.keys().collect::<Vec<_>>(), expected);
    assert_eq!(save_parts(&mut unit).unwrap(), saved);
}

#[derive(AppState)]
struct Line {
    slope: f64,
    #[app_state(rename = "offset-in-mm")]
    offset: f64,
    #[app_state(skip)]
    _data: fn(),
    r#type: u8,
}

#[derive(AppState)]
struct Pair(Vec<f32>, #[app_state(skip)] (), u64);

#[derive(AppState)]
struct Empty;

#[derive(AppState)]
struct Generic<'a, M, const N: usize>
where
    M: Clone,
{
    module: M,
    borrowed: &'a mut Vec<f32>,
    #[app_state(skip)]
    _skipped: [Option<M>; N],
}

/// A module of an engine, which is no part by itself.
struct Module(u8);

/// Borrows a module to save it.
struct Wrapper<'a>(&'a mut Module);

impl Stateful for Wrapper<'_> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.0.state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.0.load_state_dict(dict)
    }
}

#[derive(AppState)]
struct Gan<T> {
    #[app_state(with = Wrapper)]
    generator: Module,
    #[app_state(rename = "judge", with = self::Wrapper)]
    discriminator: Module,
    rest: T,
}

#[test]
fn a_field_is_saved_and_loaded_through_its_wrapper() {
    let gan = |generator, discriminator| Gan {
        generator: Module(generator),
        discriminator: Module(discriminator),
        rest: 3_u64,
    };
    check(gan(1, 2), &["generator", "judge", "rest"]);
    let mut other = gan(0, 0);
    load_parts(&mut other, &save_parts(&mut gan(1, 2)).unwrap()).unwrap();
    assert_eq!((other.generator.0, other.discriminator.0), (1, 2));
}

#[derive(AppState)]
struct Players<T> {
    #[app_state(nested)]
    first: Line,
    #[app_state(nested, rename = "second")]
    other: T,
    steps: u64,
}

#[test]
fn a_nested_field_is_saved_as_its_own_parts_behind_its_name() {
    let players = |slope| Players {
        first: Line { slope, offset: 2.0, _data: || (), r#type: 3 },
        other: Players {
            first: Line { slope, offset: 0.0, _data: || (), r#type: 0 },
            other: Empty,
            steps: 1,
        },
        steps: 2,
    };
    check(
        players(1.0),
        &[
            "first.offset-in-mm",
            "first.slope",
            "first.type",
            "second.first.offset-in-mm",
            "second.first.slope",
            "second.first.type",
            "second.steps",
            "steps",
        ],
    );
    let mut loaded = players(0.0);
    load_parts(&mut loaded, &save_parts(&mut players(5.0)).unwrap()).unwrap();
    assert_eq!((loaded.first.slope, loaded.other.first.slope), (5.0, 5.0));
}

/// The parts of a plain unit that trains by itself.
#[derive(AppState)]
struct ByHand {
    #[app_state(nested)]
    engine: ToyEngine<ToyLinear>,
    games: u64,
}

impl ByHand {
    fn new(seed: u64) -> Self {
        manual_seed(seed);
        let mut vars = ToyVars::new();
        let linear = ToyLinear::new(&mut vars, "linear", 1, 1);
        ByHand { engine: ToyEngine::new(vars, linear, ToyOptimizer::sgd(0.9)), games: 0 }
    }

    fn play(&mut self) {
        let x = ToyArray::new(&[1, 1], &[2.0]);
        let loss = self.engine.module().forward(&x).mean_squared_error(&x);
        self.engine.backward(&loss, None).unwrap();
        self.engine.step(&[0.1]).unwrap();
        self.games += 1;
    }
}

#[test]
fn an_engine_is_saved_as_its_module_and_its_optimizer_and_goes_on_alike() {
    let (mut one, mut other) = (ByHand::new(1), ByHand::new(2));
    one.play();
    let saved = save_parts(&mut one).unwrap();
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["engine.module", "engine.optimizer", "games"]);
    assert_eq!(weight_parts(&mut one).unwrap(), ["engine.module".to_owned()].into());
    load_parts(&mut other, &saved).unwrap();
    one.play();
    other.play();
    assert_eq!(save_parts(&mut one).unwrap(), save_parts(&mut other).unwrap());
}

#[test]
fn every_field_that_is_not_skipped_is_a_part() {
    check(Line { slope: 1.0, offset: 2.0, _data: || (), r#type: 3 }, &["offset-in-mm", "slope", "type"]);
    check(Pair(vec![1.0], (), 2), &["0", "2"]);
    check(Empty, &[]);
    let mut numbers = vec![2.0];
    let generic = Generic::<_, 1> { module: 1_u64, borrowed: &mut numbers, _skipped: [None] };
    check(generic, &["borrowed", "module"]);
}

#[test]
fn a_part_that_was_saved_is_the_one_that_is_loaded() {
    let mut line = Line { slope: 1.5, offset: -2.0, _data: || (), r#type: 3 };
    let saved = save_parts(&mut line).unwrap();
    let mut other = Line { slope: 0.0, offset: 0.0, _data: || (), r#type: 0 };
    load_parts(&mut other, &saved).unwrap();
    assert_eq!((other.slope, other.offset, other.r#type), (1.5, -2.0, 3));
}

#[test]
fn what_cannot_be_a_part_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/app_state/*.rs");
}
