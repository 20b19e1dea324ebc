//! Modules scripted in Python are trained, saved and frozen here, and load into PyTorch again.
//!
//! `tests/reference/script.py` wrote the modules and logits read here, and reads those written here.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use regimen::checkpoint::safetensors::save_file;
use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::saved::{load_parts, save_parts};
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_torch::tch::nn::VarStore;
use regimen_torch::tch::{Device, Kind, Tensor, no_grad, set_num_threads};
use regimen_torch::{Adam, ScriptModule, Torch};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/script").join(name)
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn load(name: &str) -> (VarStore, ScriptModule) {
    set_num_threads(1);
    let vars = VarStore::new(Device::Cpu);
    let script = ScriptModule::load(reference(name), &vars.root()).unwrap();
    (vars, script)
}

fn engine() -> Torch<ScriptModule> {
    let (vars, script) = load("network.pt");
    Torch::new(vars, script, Adam::new()).unwrap()
}

/// The images and the logits of Python's eager model.
fn images_and_logits() -> [Tensor; 2] {
    let io = Tensor::read_safetensors(reference("io.safetensors")).unwrap();
    ["images", "logits"].map(|wanted| io.iter().find(|(name, _)| name == wanted).unwrap().1.shallow_clone())
}

fn logits(script: &ScriptModule, images: &Tensor) -> Tensor {
    no_grad(|| script.forward(&[images], false)).unwrap()
}

fn apart(found: &Tensor, expected: &Tensor) -> f64 {
    (found - expected).abs().max().double_value(&[])
}

fn ones(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, (Kind::Float, Device::Cpu))
}

/// The one-line error of a call that must fail.
#[track_caller]
fn error<T: std::fmt::Debug>(result: Result<T, BoxError>) -> String {
    let text = result.unwrap_err().to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// libtorch has one generator for the process: a test that draws holds this.
fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mean squares of the logits of random images.
struct Shrink;

impl Task<Torch<ScriptModule>> for Shrink {
    type Batch = u64;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        script: &ScriptModule,
        batch: &u64,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let images = Tensor::arange(8 * 16, (Kind::Float, Device::Cpu)).reshape([8, 1, 4, 4]);
        let images = (images * (*batch as f64)).sin();
        let logits = script.forward(&[&images], step.is_train())?;
        Ok((Loss::mean((logits - 1.0).square().mean(Kind::Float), 8.0), ()))
    }
}

fn unit() -> AutoUnit<Torch<ScriptModule>, Shrink> {
    AutoUnit::new(engine(), Shrink).learning_rate(0.05)
}

#[test]
fn variables_have_pythons_names_and_what_is_frozen_there_is_not_trained() {
    let engine = engine();
    let state = engine.state(Part::Module).unwrap();
    let names: Vec<&str> = state.iter().map(|(name, _)| name).collect();
    let expected = [
        "conv.bias",
        "conv.weight",
        "gate.bias",
        "gate.weight",
        "head.bias",
        "head.weight",
        "mean",
        "norm.bias",
        "norm.num_batches_tracked",
        "norm.running_mean",
        "norm.running_var",
        "norm.weight",
        "scale",
    ];
    assert_eq!(names, expected);
    assert_eq!(engine.vars().trainable_variables().len(), 8);
    assert!(!engine.vars().variables()["scale"].requires_grad());
}

#[test]
fn its_logits_are_those_of_the_eager_model_in_every_call() {
    let (_vars, script) = load("network.pt");
    let [images, expected] = images_and_logits();
    for _ in 0..4 {
        assert!(apart(&logits(&script, &images), &expected) <= 1e-6);
    }
}

#[test]
fn other_methods_return_tuples_and_lists_as_tensors_in_their_order() {
    let (_vars, script) = load("network.pt");
    let [images, expected] = images_and_logits();
    let ends = script.call("ends", &[&images], false).unwrap();
    let ends: Vec<f64> = ends.iter().map(|tensor| tensor.double_value(&[])).collect();
    let expected = [expected.max(), expected.min(), expected.mean(Kind::Float)].map(|x| x.double_value(&[]));
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
}

#[test]
fn a_run_that_was_saved_goes_on_to_the_same_bits() {
    let _generator = generator();
    let data: Vec<u64> = (1..=6).collect();
    let mut whole = unit();
    Run::new(&mut whole).train(&data, Train::steps(6)).unwrap();
    let expected = save_parts(&mut whole).unwrap();
    for stop in 1..6 {
        let mut first = unit();
        let mut run = Run::new(&mut first);
        run.train(&data, Train::steps(stop)).unwrap();
        let saved = save_parts(run.unit_mut()).unwrap();
        // From the file again, as in a new process: its first calls are ahead of it.
        let mut other = unit();
        load_parts(&mut other, &saved).unwrap();
        *run.unit_mut() = other;
        run.train(&data, Train::steps(6)).unwrap();
        drop(run);
        assert_eq!(save_parts(&mut first).unwrap(), expected, "stopped after {stop}");
    }
}

#[test]
fn a_buffer_that_the_script_assigns_is_trained_and_loaded_like_others() {
    let _generator = generator();
    let engine = engine();
    let mean = engine.vars().variables()["mean"].shallow_clone();
    let before = mean.copy();
    let [images, _] = images_and_logits();
    let output = engine.module().forward(&[&images], true).unwrap();
    assert!(apart(&mean, &before) > 1e-3);
    // What the backward pass needs of it is as it was in the forward pass.
    output.sum(Kind::Float).backward();
    let after = logits(engine.module(), &images);
    no_grad(|| mean.shallow_clone().copy_(&before));
    assert!(apart(&logits(engine.module(), &images), &after) > 1e-3);
}

#[test]
fn a_saved_module_is_whole_in_evaluation_mode_and_replaces_the_file_that_was_there() {
    let (vars, script) = load("network.pt");
    let path = scratch("saved.pt");
    std::fs::write(&path, "old").unwrap();
    let _ = no_grad(|| vars.variables()["head.bias"].shallow_clone().fill_(3.0));
    script.save(&path).unwrap();
    let [images, _] = images_and_logits();
    let other = VarStore::new(Device::Cpu);
    let again = ScriptModule::load(&path, &other.root()).unwrap();
    assert_eq!(logits(&again, &images), logits(&script, &images));
    assert_eq!(other.variables()["mean"], vars.variables()["mean"]);
    assert!(!path.with_extension("pt.partial").exists());
}

#[test]
fn a_frozen_copy_predicts_the_same_and_is_not_reached_by_later_weights() {
    let (vars, script) = load("network.pt");
    let [images, expected] = images_and_logits();
    let frozen = script.freeze().unwrap();
    for _ in 0..4 {
        assert!(apart(&frozen.forward(&[&images]).unwrap(), &expected) <= 1e-5);
    }
    let _ = no_grad(|| vars.variables()["head.bias"].shallow_clone().fill_(3.0));
    assert!(apart(&frozen.forward(&[&images]).unwrap(), &expected) <= 1e-5);
    // The module itself can still be trained.
    let output = script.forward(&[&images.narrow(0, 0, 2)], false).unwrap();
    output.sum(Kind::Float).backward();
    assert!(vars.variables()["conv.weight"].grad().defined());
    assert!(!frozen.forward(&[&images]).unwrap().requires_grad());
}

#[test]
fn what_goes_wrong_inside_a_script_is_one_line_with_the_place() {
    let (_vars, script) = load("network.pt");
    let text = error(script.forward(&[&ones(&[2, 1, 3, 4, 4])], false));
    assert!(text.starts_with("`forward`: Expected 3D (unbatched) or 4D (batched) input"), "{text}");
    assert!(text.contains(", in code/__torch__.py, line "), "{text}");
    let text = error(script.call("ends", &[&ones(&[9, 1, 4, 4])], false));
    assert!(text.starts_with("`ends`: ValueError: too many images, in code/__torch__.py, line "), "{text}");
    let text = error(script.freeze().unwrap().forward(&[&ones(&[2, 2, 4, 4])]));
    assert!(text.starts_with("`forward`: Given groups=1") || text.contains("channels"), "{text}");
    let text = error(script.forward(&[], false));
    assert!(text.starts_with("`forward`: forward() is missing value for argument 'images'"), "{text}");
    let text = error(script.call("shape", &[&ones(&[1])], false));
    assert!(text.contains("it returns a value of type int: a tensor is wanted"), "{text}");
    assert_eq!(
        error(script.call("backward", &[], false)),
        "the script has no `backward`; there are: forward, ends, shape"
    );
    // And it goes on.
    let [images, expected] = images_and_logits();
    assert!(apart(&logits(&script, &images), &expected) <= 1e-6);
}

#[test]
fn a_file_that_cannot_be_trained_says_why_and_leaves_the_store_as_it_was() {
    let vars = VarStore::new(Device::Cpu);
    let text = |path: PathBuf| error(ScriptModule::load(path, &vars.root()));
    assert!(text(reference("missing.pt")).contains("missing.pt`: No such file"));
    let none = text(reference("io.safetensors"));
    assert!(none.contains("; a file of torch.jit.script(model).save(path) is wanted"), "{none}");
    assert!(text(reference("frozen.pt")).contains("it has no parameters"));
    assert!(text(reference("assigns.pt")).contains("the script assigns to `weight`"));
    assert!(vars.is_empty());
    ScriptModule::load(reference("network.pt"), &vars.root()).unwrap();
    let names = vars.len();
    assert!(text(reference("network.pt")).contains("the store has a `scale` already"));
    assert_eq!(vars.len(), names);
}

#[test]
fn a_parameter_under_two_names_is_told_by_both() {
    let (vars, script) = load("tied.pt");
    let text = error(Torch::new(vars, script, Adam::new()));
    assert!(text.starts_with("`first.weight` and `second.weight` are one parameter"), "{text}");
}

#[test]
fn a_buffer_that_gets_another_shape_is_an_error_and_stays_as_it_was() {
    let (vars, script) = load("grows.pt");
    let text = error(script.forward(&[&ones(&[2])], true));
    assert!(text.contains("the script makes `seen` Float[2], and it is Float[1]"), "{text}");
    assert_eq!(vars.variables()["seen"].size(), [1]);
}

#[test]
fn python_has_the_same_logits_from_trained_weights_and_from_the_script() {
    let Some(python) = std::env::var_os("REGIMEN_PEERS_PYTHON") else {
        eprintln!(
            "NOT RUN: python_has_the_same_logits_from_trained_weights_and_from_the_script needs \
             REGIMEN_PEERS_PYTHON, a Python with torch and safetensors"
        );
        return;
    };
    let _generator = generator();
    let mut unit = unit();
    Run::new(&mut unit).train(&(1..=6).collect::<Vec<u64>>(), Train::steps(6)).unwrap();
    let engine = unit.into_parts().0;
    let [images, untrained] = images_and_logits();
    let logits = logits(engine.module(), &images);
    assert!(apart(&logits, &untrained) > 0.1);

    let [weights, script, io] = ["trained.safetensors", "trained.pt", "trained_io.safetensors"].map(scratch);
    let _ = std::fs::remove_file(&weights);
    save_file(&engine.state(Part::Module).unwrap(), &weights).unwrap();
    engine.module().save(&script).unwrap();
    Tensor::write_safetensors(&[("images", &images), ("logits", &logits)], &io).unwrap();

    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/script.py");
    let output = Command::new(python).arg(check).arg("--check").args([weights, script, io]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
}
