//! Held gradients: norm, changes, saving and loading.

use crate::support::{Net, Outcome, Weights, backward, device, engine, held, holding, images, message};
use regimen_burn::Burn;
use regimen_burn::burn::optim::SgdConfig;
use regimen_core::BoxError;
use regimen_core::engine::{Bucket, Engine, Mode, Part};
use regimen_core::saved::{Array, StateDict};

fn sgd() -> regimen_burn::burn::optim::ModuleOptimizer {
    SgdConfig::new().init()
}

fn numbers(engine: &Burn<Net>) -> Vec<f32> {
    let gradients = engine.state(Part::Gradients).unwrap();
    gradients.iter().flat_map(|(_, array)| array.to_vec::<f32>().unwrap()).collect()
}

#[test]
fn the_norm_is_that_over_all_parameters_together() -> Outcome {
    let mut engine = engine(sgd());
    assert_eq!(engine.gradient_norm()?, 0.0);
    backward(&mut engine, 1);
    let by_hand = numbers(&engine).iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    assert!((engine.gradient_norm()? / by_hand - 1.0).abs() < 1e-6);
    assert_eq!(holding(&[0.0; 2], &[3.0, -4.0], sgd()).gradient_norm()?, 5.0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut engine = holding(&[0.0; 3], &[1.0, bad, 1.0], sgd());
        assert!(!engine.gradient_norm()?.is_finite());
        assert!(!engine.gradients_are_finite()?);
    }
    Ok(())
}

#[test]
fn the_norm_of_a_huge_parameter_does_not_depend_on_the_number_of_threads() -> Outcome {
    // From 4 M elements on, Burn's own sum does.
    let gradient: Vec<f32> = (0..8_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) % 1009) as f32)
        .map(|x| 0.37 * x.sin())
        .collect();
    let by_hand = gradient.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let mut engine = holding(&vec![0.0; gradient.len()], &gradient, sgd());
    let mut norm = |threads| -> Result<f64, BoxError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| engine.gradient_norm())
    };
    let first = norm(1)?;
    assert!((first / by_hand - 1.0).abs() < 1e-5, "{first}, not {by_hand}");
    for threads in [2, 3, 4, 8] {
        assert_eq!(norm(threads)?.to_bits(), first.to_bits(), "{threads} threads");
    }
    Ok(())
}

#[test]
fn values_are_clamped_and_nan_stays() -> Outcome {
    let mut engine = holding(&[0.0; 5], &[-3.0, -0.5, 0.0, 7.0, f32::NAN], sgd());
    engine.clip_gradient_values(1.5)?;
    let clipped = held(&engine);
    assert_eq!(clipped[..4], [-1.5, -0.5, 0.0, 1.5]);
    assert!(clipped[4].is_nan());
    Ok(())
}

/// The norm of each slice of `array` along `dimension`.
fn slice_norms(array: &Array, dimension: usize) -> Result<Vec<f64>, BoxError> {
    let shape = array.shape();
    let inner: usize = shape[dimension + 1..].iter().product();
    let mut squares = vec![0.0; shape[dimension]];
    for (n, element) in array.to_vec::<f32>()?.into_iter().enumerate() {
        squares[n / inner % shape[dimension]] += f64::from(element) * f64::from(element);
    }
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

#[test]
fn a_unit_is_an_output_of_a_convolution_and_of_a_linear_layer() -> Outcome {
    let mut engine = engine(sgd());
    backward(&mut engine, 1);
    let (module, whole) = (engine.state(Part::Module)?, engine.state(Part::Gradients)?);
    // So little that every unit is clipped.
    engine.clip_gradient_units(1e-6, 0.5)?;
    let clipped = engine.state(Part::Gradients)?;
    for (name, dimension) in [("conv.weight", 0), ("head.weight", 1)] {
        let norms = |dict: &StateDict| slice_norms(dict.array(name)?, dimension);
        let (weights, before, after) = (norms(&module)?, norms(&whole)?, norms(&clipped)?);
        assert!(before.iter().any(|norm| *norm > 0.0), "{name} has no gradient");
        for ((weight, before), after) in weights.into_iter().zip(before).zip(after) {
            let limit = before.min(1e-6 * weight.max(0.5));
            assert!((after - limit).abs() <= 1e-5 * limit, "{name}: {after}, not {limit}");
        }
    }
    // A vector is one unit.
    let mut engine = holding(&[3.0, 4.0], &[0.0, 2.0], sgd());
    engine.clip_gradient_units(0.1, 1e-3)?;
    assert_eq!(held(&engine), [0.0, 0.5]);
    Ok(())
}

#[test]
fn gradients_of_several_losses_add_up_by_their_factors() -> Outcome {
    let mut engine = engine(sgd());
    // Batch norm makes a gradient depend on its own batch only, not on what was done before.
    let mut alone = |salt| {
        engine.discard_gradients();
        backward(&mut engine, salt);
        numbers(&engine)
    };
    let (one, two) = (alone(1), alone(2));
    engine.discard_gradients();
    for (salt, factor) in [(1, Some(2.0)), (2, None)] {
        let images = images(5, salt, engine.device(Mode::Train).device());
        let loss = engine.with_module(Mode::Train, |net| net.loss(images));
        engine.backward(&loss, factor)?;
    }
    engine.scale_gradients(0.5)?;
    for (found, (one, two)) in numbers(&engine).into_iter().zip(one.into_iter().zip(two)) {
        assert!((found - (one + 0.5 * two)).abs() < 1e-6);
    }
    engine.discard_gradients();
    assert!(engine.state(Part::Gradients)?.is_empty());
    Ok(())
}

#[test]
fn gradients_go_out_and_come_in_by_name() -> Outcome {
    let (mut first, mut second) = (engine(sgd()), engine(sgd()));
    second.load_state(Part::Module, &first.state(Part::Module)?)?;
    backward(&mut first, 1);
    let gradients = first.state(Part::Gradients)?;
    second.load_state(Part::Gradients, &gradients)?;
    assert_eq!(second.state(Part::Gradients)?, gradients);
    first.step(&[0.1])?;
    second.step(&[0.1])?;
    assert_eq!(
        first.state(Part::Module)?.array("head.weight")?,
        second.state(Part::Module)?.array("head.weight")?
    );
    // A parameter that is not named holds none.
    let mut some = gradients.clone();
    some.remove("conv.weight")?;
    second.load_state(Part::Gradients, &some)?;
    assert_eq!(second.state(Part::Gradients)?, some);
    Ok(())
}

#[test]
fn gradients_that_do_not_fit_are_refused_by_name_and_change_nothing() -> Outcome {
    let check = |name: &str, array: Array, expected: &str| {
        let mut engine = engine(sgd());
        backward(&mut engine, 1);
        let before = engine.state(Part::Gradients).unwrap();
        let mut dict = StateDict::new();
        dict.insert(name, array).unwrap();
        assert_eq!(message(engine.check_state(Part::Gradients, &dict)), expected);
        assert_eq!(message(engine.load_state(Part::Gradients, &dict)), expected);
        assert_eq!(engine.state(Part::Gradients).unwrap(), before);
    };
    let of = |n: usize| Array::from_slice(&vec![1_f32; n]);
    check("tail", of(1), "gradients: `tail` is not known here");
    check("conv.bias", of(3), "gradients: `conv.bias` is F32[3], not F32[2]");
    check("conv.bias", Array::from_slice(&[1_f64; 2]), "gradients: `conv.bias` is F64[2], not F32[2]");
    check("norm.running_mean", of(2), "gradients: `norm.running_mean` is not trained");
    Ok(())
}

#[test]
fn buckets_hold_whole_parameters_in_the_order_of_their_names() -> Outcome {
    // conv.bias 2, conv.weight 18, head.bias 3, head.weight 24, norm.beta 2, norm.gamma 2
    let check = |bytes: usize, expected: &[usize]| {
        let mut engine = engine(sgd());
        backward(&mut engine, 1);
        let (before, order) = (engine.state(Part::Gradients).unwrap(), numbers(&engine));
        let (mut lengths, mut seen) = (Vec::new(), Vec::new());
        engine
            .exchange_gradients(bytes, &mut |bucket| {
                let Bucket::F32(flat) = bucket else { panic!("single precision") };
                lengths.push(flat.len());
                seen.extend_from_slice(flat);
                flat.iter_mut().for_each(|x| *x *= 2.0);
                Ok(())
            })
            .unwrap();
        assert_eq!(lengths, [&[6], expected].concat(), "buckets of {bytes} bytes");
        assert_eq!(seen, [&[1.0; 6], &*order].concat());
        engine.scale_gradients(0.5).unwrap();
        assert_eq!(engine.state(Part::Gradients).unwrap(), before);
    };
    check(1 << 20, &[51]);
    check(80, &[20, 3, 24, 4]);
    check(1, &[2, 18, 3, 24, 2, 2]);
    check(0, &[2, 18, 3, 24, 2, 2]);
    Ok(())
}

#[test]
fn a_parameter_holds_a_gradient_after_an_exchange_if_some_rank_held_one() -> Outcome {
    let mut engine = engine(sgd());
    let mut seen = Vec::new();
    engine.exchange_gradients(usize::MAX, &mut |bucket| {
        let Bucket::F32(flat) = bucket else { panic!("single precision") };
        seen.push(flat.to_vec());
        match seen.len() {
            // Another rank holds the gradient of `head.bias`.
            1 => flat[2] += 1.0,
            _ => flat.copy_from_slice(&[20.0, 21.0, 22.0]),
        }
        Ok(())
    })?;
    assert_eq!(seen, [vec![0.0; 6], vec![0.0; 3]]);
    let held = engine.state(Part::Gradients)?;
    assert_eq!(held.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["head.bias"]);
    assert_eq!(held.array("head.bias")?.to_vec::<f32>()?, [20.0, 21.0, 22.0]);
    Ok(())
}

#[test]
fn weight_decay_leaves_a_parameter_whose_gradient_no_rank_holds() -> Outcome {
    let decay = regimen_burn::burn::optim::decay::WeightDecayConfig::new(0.1);
    let mut engine =
        holding(&[1.0, 2.0], &[0.5, 0.5], SgdConfig::new().with_weight_decay(Some(decay)).init());
    engine.discard_gradients();
    engine.exchange_gradients(usize::MAX, &mut |_| Ok(()))?;
    engine.step(&[0.1])?;
    assert_eq!(engine.module().values(), [1.0, 2.0]);
    Ok(())
}

#[test]
fn a_failed_exchange_leaves_the_gradients_as_they_were() -> Outcome {
    let mut engine = engine(sgd());
    backward(&mut engine, 1);
    let before = engine.state(Part::Gradients)?;
    let mut left = 1;
    let failed = engine.exchange_gradients(1, &mut |bucket| {
        let Bucket::F32(flat) = bucket else { panic!("single precision") };
        flat.fill(9.0);
        left -= 1;
        if left < 0 { Err("the cable is out".into()) } else { Ok(()) }
    });
    assert_eq!(message(failed), "the cable is out");
    assert_eq!(engine.state(Part::Gradients)?, before);
    Ok(())
}

#[test]
fn a_frozen_parameter_takes_part_in_nothing() -> Outcome {
    use regimen_burn::burn::module::{Module, ParamGroup};
    let net = Net::new(&device()).freeze_group(ParamGroup::from_predicate("conv"));
    let mut engine = Burn::new(net, sgd(), &device())?;
    backward(&mut engine, 1);
    assert!(engine.state(Part::Gradients)?.under("conv").is_empty());
    let before = engine.state(Part::Module)?.under("conv");
    let mut lengths = Vec::new();
    engine.exchange_gradients(usize::MAX, &mut |bucket| {
        let Bucket::F32(flat) = bucket else { panic!("single precision") };
        lengths.push(flat.len());
        Ok(())
    })?;
    assert_eq!(lengths, [4, 31]);
    engine.step(&[0.1])?;
    assert_eq!(engine.state(Part::Module)?.under("conv"), before);
    Ok(())
}

#[test]
fn double_precision_stays_double() -> Outcome {
    use regimen_burn::burn::{
        module::Param,
        tensor::{DType, Tensor},
    };
    let device = device();
    let wide = Tensor::<1>::from_data([1.0_f64, 2.0], (&device, DType::F64));
    let module = Weights { weights: Param::from_tensor(wide) };
    let mut engine = Burn::new(module, sgd(), &device)?;
    let mut gradients = StateDict::new();
    gradients.insert("weights", Array::from_slice(&[1e-200, 1e-300_f64]))?;
    engine.load_state(Part::Gradients, &gradients)?;
    engine.exchange_gradients(8, &mut |bucket| match bucket {
        Bucket::F64(flat) => {
            flat.iter_mut().for_each(|x| *x *= 1e200);
            Ok(())
        }
        Bucket::F32([1.0]) => Ok(()),
        _ => Err("half of it is lost".into()),
    })?;
    assert_eq!(engine.state(Part::Gradients)?.array("weights")?.to_vec::<f64>()?, [1.0, 1e-300 * 1e200]);
    assert_eq!(engine.gradient_norm()?, 1.0);
    Ok(())
}
