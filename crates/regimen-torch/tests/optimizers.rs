//! A hundred steps of every optimizer against PyTorch's own, over the same gradients.
//!
//! `tests/reference/optimizers.py` wrote PyTorch's results. If the kernel is the same, so are the bits; the
//! others agree to 1e-6 of the largest element.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::collections::BTreeMap;

use regimen_core::engine::{Engine, Part};
use regimen_core::saved::{StateDict, Stateful};
use regimen_torch::tch::nn::VarStore;
use regimen_torch::tch::{Device, Kind, Tensor, no_grad, set_num_threads};
use regimen_torch::{Adam, Algorithm, ModuleState, Optim, RmsProp, Sgd, Torch};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/optimizers.safetensors");
const NAMES: [&str; 3] = ["p0", "p1", "p2"];
const RATE: f64 = 1e-2;

/// The tolerance.
#[derive(Clone, Copy, Debug)]
enum Alike {
    Bits,
    Nearly,
}
use Alike::{Bits, Nearly};

fn reference() -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(FILE).unwrap().into_iter().collect()
}

fn model(reference: &BTreeMap<String, Tensor>) -> VarStore {
    let vars = VarStore::new(Device::Cpu);
    for name in NAMES {
        let _ = vars.root().var_copy(name, &reference[&format!("start.{name}")]);
    }
    vars
}

/// The gradients of a step by name, as arrays of a state.
fn gradients(reference: &BTreeMap<String, Tensor>, step: i64) -> StateDict {
    let vars = VarStore::new(Device::Cpu);
    let factors = reference["factors"].get(step);
    for name in NAMES.into_iter().filter(|name| *name != "p2" || 5 <= step) {
        let [base, drift] = ["base", "drift"].map(|part| &reference[&format!("{part}.{name}")]);
        let _ = vars.root().var_copy(name, &(base * factors.get(0) + drift * factors.get(1)));
    }
    let mut vars = vars;
    ModuleState(&mut vars).state_dict().unwrap()
}

#[track_caller]
fn check(variant: &str, algorithm: impl Into<Algorithm>, alike: Alike) {
    let reference = reference();
    let vars = model(&reference);
    let engine = Torch::new(vars, (), algorithm).unwrap();
    check_engine(variant, engine, &[RATE], &reference, alike);
}

#[track_caller]
fn check_engine(
    variant: &str,
    mut engine: Torch<()>,
    rates: &[f64],
    reference: &BTreeMap<String, Tensor>,
    alike: Alike,
) {
    set_num_threads(1);
    let alike = match alike {
        Bits if !has_the_same_kernels() => {
            eprintln!("NOT RUN: the bits of {variant} need an x86-64 with AVX2; compared to 1e-6 instead");
            Nearly
        }
        alike => alike,
    };
    for step in 0..100 {
        engine.load_state(Part::Gradients, &gradients(reference, step)).unwrap();
        engine.step(rates).unwrap();
        if [1, 10, 100].contains(&(step + 1)) {
            let found = engine.vars().variables();
            for name in NAMES {
                compare(&format!("{variant}.after{}.{name}", step + 1), &found[name], reference, alike);
            }
        }
    }
    // The state comes out under PyTorch's names, whole.
    let prefix = format!("{variant}.state.");
    let expected: Vec<&str> = reference.keys().filter_map(|name| name.strip_prefix(&prefix)).collect();
    let state = engine.state(Part::Optimizer).unwrap();
    assert_eq!(state.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected, "{variant}");
    for (name, array) in state.iter() {
        let shape: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
        let found = Tensor::from_data_size(array.bytes(), &shape, Kind::Float);
        compare(&format!("{prefix}{name}"), &found, reference, alike);
    }
}

#[track_caller]
fn compare(name: &str, found: &Tensor, reference: &BTreeMap<String, Tensor>, alike: Alike) {
    let expected = &reference[name];
    // Before the difference, which would stretch a number over a matrix.
    assert_eq!(found.size(), expected.size(), "{name}");
    let apart = no_grad(|| (found - expected).abs().max() / expected.abs().max()).double_value(&[]);
    match alike {
        Bits => assert_eq!(found, expected, "{name} is {apart:e} apart"),
        Nearly => assert!(apart < 1e-6, "{name} is {apart:e} apart"),
    }
}

/// Whether libtorch chooses a kernel here that agrees with the file to the bit: those for AVX2 and AVX-512.
/// The plain ones round between a multiplication and the addition after it.
fn has_the_same_kernels() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

#[test]
fn sgd_has_the_bits_of_pytorchs_fused_kernel() {
    let sgd = Sgd::new().momentum(0.9);
    check("sgd", Sgd::new(), Bits);
    check("sgd-momentum", sgd, Bits);
    check("sgd-nesterov", sgd.nesterov(true).weight_decay(0.01), Bits);
    check("sgd-dampening", sgd.dampening(0.2), Bits);
    check("sgd-maximize", sgd.maximize(true), Bits);
}

#[test]
fn adam_has_the_bits_of_pytorchs_fused_kernel() {
    check("adam", Adam::new(), Bits);
    check("adam-decay", Adam::new().weight_decay(0.01).betas(0.8, 0.99).epsilon(1e-6), Bits);
    check("adam-amsgrad", Adam::new().amsgrad(true), Bits);
    check("adam-maximize", Adam::new().maximize(true), Bits);
    check("adamw", Adam::with_decoupled_decay(), Bits);
    check("adamw-amsgrad", Adam::with_decoupled_decay().amsgrad(true).maximize(true), Bits);
}

#[test]
fn what_has_no_fused_kernel_agrees_with_pytorchs_default() {
    check("sgd-default", Sgd::new().momentum(0.9).weight_decay(0.01), Nearly);
    check("adam-default", Adam::new(), Nearly);
    check("rmsprop", RmsProp::new(), Nearly);
    check("rmsprop-momentum", RmsProp::new().alpha(0.9).momentum(0.9).weight_decay(0.01), Nearly);
    check("rmsprop-centered", RmsProp::new().centered(true).epsilon(1e-6).maximize(true), Nearly);
    check("rmsprop-all", RmsProp::new().centered(true).momentum(0.5).weight_decay(0.01), Nearly);
}

#[test]
fn python_makes_the_same_of_the_gradients_today() {
    let Some(python) = std::env::var_os("REGIMEN_PEERS_PYTHON") else {
        eprintln!("NOT RUN: python_makes_the_same_of_the_gradients_today needs REGIMEN_PEERS_PYTHON");
        return;
    };
    let now = concat!(env!("CARGO_TARGET_TMPDIR"), "/optimizers.safetensors");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/optimizers.py");
    assert!(std::process::Command::new(python).args([script, now]).status().unwrap().success());
    if has_the_same_kernels() {
        assert!(std::fs::read(now).unwrap() == std::fs::read(FILE).unwrap(), "PyTorch has changed");
    }
}

#[test]
fn a_group_has_its_own_rate_and_settings() {
    let reference = reference();
    let adam = Adam::with_decoupled_decay();
    let engine = Torch::new(model(&reference), (), adam).unwrap();
    let engine = engine.group("second", |name| name == "p1", adam.weight_decay(0.1)).unwrap();
    check_engine("adamw-groups", engine, &[RATE, RATE / 2.0], &reference, Bits);
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let reference = reference();
    let vars = model(&reference);
    let mut optim = Optim::new(&vars, Adam::new()).unwrap();
    let mut state = StateDict::new();
    for (name, value) in [("p0.exp_avg", 1.0_f32), ("p0.step", 1.0), ("p1.momentum_buffer", 1.0)] {
        state.insert(name, value).unwrap();
    }
    assert_eq!(
        optim.load_state_dict(&state).unwrap_err().to_string(),
        "`p0.exp_avg` is F32[], not F32[33, 17]; `p0.exp_avg_sq` is missing; \
         `p1.momentum_buffer` is not known to this optimizer"
    );
    assert!(optim.state_dict().unwrap().is_empty());
}

#[test]
fn a_gradient_that_does_not_fit_moves_nothing() {
    let vars = VarStore::new(Device::Cpu);
    let own = vars.root().ones("table", &[4, 2]);
    let mut optim = Optim::new(&vars, Sgd::new().momentum(0.9)).unwrap();
    let before = own.copy();
    let index = Tensor::from_slice(&[1_i64, 2]);
    Tensor::embedding(&own, &index, -1, false, true).sum(Kind::Float).backward();
    let error = optim.step(&[0.1]).unwrap_err().to_string();
    assert_eq!(error, "the gradient is sparse; use a layer with a dense gradient");
    assert!(optim.state_dict().unwrap().is_empty());
    assert_eq!(own, before);
}

/// The change of a parameter by one step, divided by the rate, by hand: given the state, the number of the step from
/// 1, the momentum and the gradient.
type ByHand = fn(&mut [f64; 2], i32, f64, f64) -> f64;

fn adam(state: &mut [f64; 2], t: i32, momentum: f64, gradient: f64) -> f64 {
    let [first, second] = state;
    *first = momentum * *first + (1.0 - momentum) * gradient;
    *second = 0.999 * *second + 0.001 * gradient * gradient;
    let unbiased = |mean: f64, beta: f64| mean / (1.0 - beta.powi(t));
    unbiased(*first, momentum) / (unbiased(*second, 0.999).sqrt() + 1e-8)
}

fn rms_prop(state: &mut [f64; 2], _: i32, momentum: f64, gradient: f64) -> f64 {
    let [velocity, square] = state;
    *square = 0.99 * *square + 0.01 * gradient * gradient;
    *velocity = momentum * *velocity + gradient / (square.sqrt() + 1e-8);
    *velocity
}

fn dampened(state: &mut [f64; 2], t: i32, momentum: f64, gradient: f64) -> f64 {
    let share = if t == 1 { 1.0 } else { 0.8 };
    state[0] = momentum * state[0] + share * gradient;
    state[0]
}

fn nesterov(state: &mut [f64; 2], _: i32, momentum: f64, gradient: f64) -> f64 {
    state[0] = momentum * state[0] + gradient;
    gradient + momentum * state[0]
}

#[test]
fn a_changed_momentum_is_that_of_the_next_steps() {
    let sgd = Sgd::new().momentum(0.3);
    let cases: [(Algorithm, ByHand); 4] = [
        (Adam::new().into(), adam),
        (RmsProp::new().momentum(0.3).into(), rms_prop),
        (sgd.dampening(0.2).into(), dampened),
        (sgd.nesterov(true).into(), nesterov),
    ];
    for (algorithm, by_hand) in cases {
        let vars = VarStore::new(Device::Cpu);
        let own = vars.root().ones("w", &[1]);
        let mut optim = Optim::new(&vars, algorithm).unwrap();
        let (mut value, mut state) = (1.0, [0.0; 2]);
        for (t, momentum) in (1..).zip([0.9, 0.5, 0.0, 0.0, 0.8, 0.95]) {
            let gradient = f64::from(t).sin() + 0.5;
            (&own * gradient).sum(Kind::Float).backward();
            optim.set_momentum(momentum).unwrap();
            optim.step(&[RATE]).unwrap();
            value -= RATE * by_hand(&mut state, t, momentum, gradient);
            let found = own.double_value(&[0]);
            assert!((found - value).abs() < 1e-6, "{algorithm:?} step {t}: {found} is not {value}");
        }
    }
}

#[test]
fn a_momentum_needs_an_optimizer_that_has_one() {
    let vars = model(&reference());
    let plain = Optim::new(&vars, Sgd::new().momentum(0.9)).unwrap();
    let mut optim = plain.group("plain", |name| name == "p1", Sgd::new()).unwrap();
    assert_eq!(
        optim.set_momentum(0.5).unwrap_err().to_string(),
        "the optimizer of group `plain` has no momentum; make it with one above 0"
    );
    let mut engine = Torch::new(model(&reference()), (), Adam::new()).unwrap();
    let settings = engine.settings();
    engine.set_momentum(0.5).unwrap();
    assert_eq!(engine.settings(), settings);
    assert_eq!(
        engine.set_momentum(1.0).unwrap_err().to_string(),
        "`momentum` is 1; it must be at least 0 and less than 1"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let vars = model(&reference());
    let error = |algorithm: Algorithm| Optim::new(&vars, algorithm).unwrap_err().to_string();
    assert_eq!(
        error(Adam::new().betas(1.0, 0.9).into()),
        "`betas.0` is 1; it must be at least 0 and less than 1"
    );
    assert_eq!(error(Sgd::new().nesterov(true).into()), "`nesterov` needs a momentum and no dampening");
    assert_eq!(
        error(RmsProp::new().weight_decay(f64::NAN).into()),
        "`weight_decay` is NaN; it must be a number of at least 0"
    );
    let optim = || Optim::new(&vars, Sgd::new()).unwrap();
    let error = |name: &str, members: &str| {
        optim().group(name, |path| path == members, Sgd::new()).unwrap_err().to_string()
    };
    assert_eq!(error("default", "p0"), "two parameter groups are named `default`");
    assert_eq!(error("new", "q"), "no trained parameter is in group `new`; there are: p0, p1, p2");
    assert_eq!(optim().step(&[1.0, 2.0]).unwrap_err().to_string(), "2 learning rates for 1 parameter groups");
}
