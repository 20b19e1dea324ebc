//! A module's state by path.

use crate::support::{Net, Outcome, backward, device, engine, images, message, step};
use regimen::saved::{AppState, load_parts, save_parts};
use regimen_burn::ModuleState;
use regimen_burn::burn::module::{Module, ModuleMapper, Param};
use regimen_burn::burn::optim::SgdConfig;
use regimen_burn::burn::tensor::{Int, Tensor};
use regimen_core::engine::{Engine, Mode, Part};
use regimen_core::saved::{Array, StateDict, Stateful};

#[test]
fn names_are_paths_and_shapes_are_those_in_memory() -> Outcome {
    let state = engine(SgdConfig::new().init()).state(Part::Module)?;
    let found: Vec<String> = state.iter().map(|(name, array)| format!("{name} {array:?}")).collect();
    assert_eq!(
        found,
        [
            "conv.bias F32[2]",
            "conv.weight F32[2, 1, 3, 3]",
            "head.bias F32[3]",
            "head.weight F32[8, 3]",
            "norm.beta F32[2]",
            "norm.gamma F32[2]",
            "norm.running_mean F32[2]",
            "norm.running_var F32[2]",
        ]
    );
    Ok(())
}

#[derive(AppState)]
struct Unit {
    #[app_state(with = ModuleState)]
    net: Net,
    steps: u64,
}

#[test]
fn a_derived_unit_has_its_module_through_the_wrapper() -> Outcome {
    let unit = |steps| Unit { net: Net::new(&device()), steps };
    let saved = save_parts(&mut unit(1))?;
    let mut other = unit(2);
    assert_ne!(save_parts(&mut other)?, saved);
    load_parts(&mut other, &saved)?;
    assert_eq!(save_parts(&mut other)?, saved);
    assert_eq!(saved["net"].len(), 8);
    Ok(())
}

#[test]
fn a_loaded_module_computes_the_same_bits_and_goes_on_with_the_same_bits() -> Outcome {
    let (mut first, mut second) = (engine(SgdConfig::new().init()), engine(SgdConfig::new().init()));
    for salt in 0..3 {
        step(&mut first, salt);
    }
    step(&mut second, 9);
    second.load_state(Part::Module, &first.state(Part::Module)?)?;
    assert_eq!(second.state(Part::Module)?, first.state(Part::Module)?);
    for salt in 3..6 {
        step(&mut first, salt);
        step(&mut second, salt);
        assert_eq!(second.state(Part::Module)?, first.state(Part::Module)?, "after step {salt}");
    }
    let images = images(4, 0, &device());
    let [a, b] = [&mut first, &mut second]
        .map(|engine| engine.with_module(Mode::Eval, |net| net.loss(images.clone())).into_scalar::<f32>());
    assert_eq!(a.to_bits(), b.to_bits());
    Ok(())
}

#[test]
fn running_statistics_are_saved_with_their_newest_update() -> Outcome {
    // By definition: mean <- 0.9 * mean + 0.1 * (mean of the batch), from a mean of 0.
    let mut engine = engine(SgdConfig::new().init());
    let conv = |engine: &mut regimen_burn::Burn<Net>, salt| -> Vec<f32> {
        let images = images(5, salt, &device());
        let state = engine.state(Part::Module).unwrap();
        let weight: Vec<f32> = state.array("conv.weight").unwrap().to_vec().unwrap();
        let bias: Vec<f32> = state.array("conv.bias").unwrap().to_vec().unwrap();
        let pixels: Vec<f32> = images.into_data().try_to_vec().unwrap();
        (0..2)
            .map(|channel| {
                let mut sum = 0.0;
                for (n, y, x) in (0..20).map(|i| (i / 4, i / 2 % 2, i % 2)) {
                    for (dy, dx) in (0..9).map(|i| (i / 3, i % 3)) {
                        sum += weight[channel * 9 + dy * 3 + dx] * pixels[n * 16 + (y + dy) * 4 + x + dx];
                    }
                }
                sum / 20.0 + bias[channel]
            })
            .collect()
    };
    let (one, two) = (conv(&mut engine, 1), conv(&mut engine, 2));
    backward(&mut engine, 1);
    backward(&mut engine, 2);
    let saved: Vec<f32> = engine.state(Part::Module)?.array("norm.running_mean")?.to_vec()?;
    for channel in 0..2 {
        let expected = 0.9 * 0.1 * one[channel] + 0.1 * two[channel];
        assert!((saved[channel] - expected).abs() < 1e-6, "{saved:?}, not {expected} in {channel}");
    }
    Ok(())
}

#[test]
fn loaded_running_statistics_are_not_overwritten_by_a_pending_update() -> Outcome {
    let (mut first, mut second) = (engine(SgdConfig::new().init()), engine(SgdConfig::new().init()));
    step(&mut first, 1);
    let saved = first.state(Part::Module)?;
    backward(&mut second, 2);
    second.load_state(Part::Module, &saved)?;
    assert_eq!(second.state(Part::Module)?, saved);
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing() -> Outcome {
    let check = |change: &dyn Fn(&mut StateDict), expected: &str| {
        let mut engine = engine(SgdConfig::new().init());
        let before = engine.state(Part::Module).unwrap();
        let mut dict = before.clone();
        change(&mut dict);
        assert_eq!(message(engine.check_state(Part::Module, &dict)), expected);
        assert_eq!(message(engine.load_state(Part::Module, &dict)), expected);
        assert_eq!(engine.state(Part::Module).unwrap(), before);
    };
    let replace = |dict: &mut StateDict, name: &str, array: Array| {
        dict.remove(name).unwrap();
        dict.insert(name, array).unwrap();
    };
    check(&|dict| drop(dict.remove("head.bias")), "`head.bias` is missing");
    check(&|dict| dict.insert("tail", 1_u8).unwrap(), "`tail` is not known here");
    check(
        &|dict| replace(dict, "norm.beta", Array::from_slice(&[1_f32; 3])),
        "`norm.beta` is F32[3], not F32[2]",
    );
    check(
        &|dict| replace(dict, "conv.bias", Array::from_slice(&[1_f64; 2])),
        "`conv.bias` is F64[2], not F32[2]",
    );
    Ok(())
}

/// A module can also hold integers and truth values, and can be partly frozen.
#[derive(Module, Debug)]
struct Mixed {
    counts: Param<Tensor<1, Int>>,
    mask: Param<Tensor<1, regimen_burn::burn::tensor::Bool>>,
    frozen: Param<Tensor<1>>,
}

impl Mixed {
    fn new(counts: [i64; 2], mask: [bool; 3], frozen: f32) -> Self {
        let device = device().autodiff();
        let id = regimen_burn::burn::module::ParamId::new;
        Mixed {
            counts: Param::initialized(id(), Tensor::from_data(counts, &device)),
            mask: Param::initialized(id(), Tensor::from_data(mask, &device)),
            frozen: Param::from_data([frozen], &device).set_require_grad(false),
        }
    }
}

#[test]
fn integers_truth_values_and_frozen_parameters_are_part_of_the_state() -> Outcome {
    let mut first = Mixed::new([1 << 30, -2], [true, false, true], 0.5);
    let mut second = Mixed::new([0, 0], [false; 3], 0.0);
    let state = ModuleState(&mut first).state_dict()?;
    ModuleState(&mut second).load_state_dict(&state)?;
    assert_eq!(second.counts.val().into_data().try_to_vec_as::<i64>()?, [1 << 30, -2]);
    assert_eq!(second.mask.val().into_data().try_to_vec_as::<bool>()?, [true, false, true]);
    assert_eq!(second.frozen.val().into_scalar::<f32>(), 0.5);
    assert!(!second.frozen.is_require_grad());
    assert_eq!(ModuleState(&mut second).state_dict()?, state);
    Ok(())
}

#[test]
fn every_bit_of_a_number_survives() -> Outcome {
    struct To(u16);
    impl ModuleMapper for To {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.cast(regimen_burn::burn::tensor::DType::BF16) * f32::from(self.0))
        }
    }
    let mut net = Net::new(&device()).map(&mut To(3));
    let state = ModuleState(&mut net).state_dict()?;
    assert_eq!(format!("{:?}", state.array("conv.bias")?), "BF16[2]");
    let mut other = Net::new(&device()).map(&mut To(1));
    ModuleState(&mut other).load_state_dict(&state)?;
    assert_eq!(ModuleState(&mut other).state_dict()?, state);
    Ok(())
}
