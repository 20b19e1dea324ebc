//! An optimizer's state by path.

use crate::support::{Net, Outcome, by_hand, device, engine, message, step};
use regimen_burn::burn::module::{Module, ParamGroup};
use regimen_burn::burn::optim::{
    AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig,
    ModuleOptimizer, MuonConfig, RmsPropConfig, SgdConfig, momentum::MomentumConfig,
};
use regimen_burn::{Burn, ModuleState, Momentum, OptimizerState};
use regimen_core::engine::{Engine, Part};
use regimen_core::saved::{Array, StateDict, Stateful};

fn momentum() -> SgdConfig {
    SgdConfig::new().with_momentum(Some(MomentumConfig::new()))
}

fn optimizers() -> Vec<(&'static str, ModuleOptimizer)> {
    vec![
        ("adafactor", AdafactorConfig::new().init()),
        ("adagrad", AdaGradConfig::new().init()),
        ("adam", AdamConfig::new().init()),
        ("amsgrad", AdamConfig::new().with_amsgrad(true).init()),
        ("adamw", AdamWConfig::new().init()),
        ("adan", AdanConfig::new().init()),
        ("lamb", LambConfig::new().init()),
        ("lion", LionConfig::new().init()),
        ("rmsprop", RmsPropConfig::new().with_centered(true).init()),
        ("sgd", SgdConfig::new().init()),
        ("momentum", momentum().init()),
        (
            "groups",
            AdamConfig::new()
                .init()
                .with_group(ParamGroup::from_predicate("head.weight"), MuonConfig::new().build(), None)
                .with_group(ParamGroup::from_predicate("bias"), momentum().build(), None),
        ),
    ]
}

#[test]
fn an_optimizer_with_a_momentum_that_changes_has_the_state_of_one_without() -> Outcome {
    let make = |momentum| {
        SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_momentum(momentum))).build()
    };
    let momentum = Momentum::new(0.9);
    let mut plain = engine(make(0.9).into());
    let mut changing = engine(momentum.optimizer(make).into()).momentum(momentum);
    changing.load_state(Part::Module, &plain.state(Part::Module)?)?;
    for salt in 0..3 {
        step(&mut plain, salt);
        step(&mut changing, salt);
    }
    for part in [Part::Module, Part::Optimizer] {
        assert_eq!(changing.state(part)?, plain.state(part)?);
    }
    changing.load_state(Part::Optimizer, &plain.state(Part::Optimizer)?)?;
    changing.set_momentum(0.5)?;
    step(&mut plain, 3);
    step(&mut changing, 3);
    assert_ne!(changing.state(Part::Module)?, plain.state(Part::Module)?);
    assert_eq!(
        message(plain.set_momentum(0.5)),
        "Burn's optimizers keep the momentum that they are made with; make this one of a `regimen_burn::Momentum`, and \
         give it to `Burn::momentum`"
    );
    Ok(())
}

#[test]
fn every_optimizer_goes_on_with_the_same_bits_in_another_module() -> Outcome {
    for (name, optimizer) in optimizers() {
        for steps in 0..4 {
            let mut first = engine(optimizer.clone());
            (0..steps).for_each(|salt| step(&mut first, salt));
            let mut second = engine(optimizer.clone());
            (0..2).for_each(|salt| step(&mut second, salt + 10));
            let state = first.state(Part::Optimizer)?;
            assert_eq!(state.is_empty(), steps == 0, "{name}");
            second.check_state(Part::Optimizer, &state)?;
            second.load_state(Part::Optimizer, &state)?;
            second.load_state(Part::Module, &first.state(Part::Module)?)?;
            assert_eq!(second.state(Part::Optimizer)?, state, "{name} after {steps} steps");
            for salt in 4..7 {
                step(&mut first, salt);
                step(&mut second, salt);
                assert_eq!(
                    second.state(Part::Module)?,
                    first.state(Part::Module)?,
                    "{name} from {steps} to {salt}"
                );
                assert_eq!(second.state(Part::Optimizer)?, first.state(Part::Optimizer)?, "{name}");
            }
        }
    }
    Ok(())
}

#[test]
fn names_are_paths_with_the_names_of_the_optimizer() -> Outcome {
    let mut engine = engine(AdamConfig::new().init());
    step(&mut engine, 0);
    let state = engine.state(Part::Optimizer)?.under("head.bias");
    let found: Vec<String> = state.iter().map(|(name, array)| format!("{name} {array:?}")).collect();
    assert_eq!(
        found,
        ["__rank U64[]", "momentum.moment_1 F32[3]", "momentum.moment_2 F32[3]", "momentum.time U64[]"]
    );
    assert_eq!(state.get::<u64>("__rank")?, 1);
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing() -> Outcome {
    let check = |change: &dyn Fn(&mut StateDict), expected: &str| {
        let mut engine = engine(AdamConfig::new().init());
        step(&mut engine, 0);
        let before = engine.state(Part::Optimizer).unwrap();
        let mut dict = before.clone();
        change(&mut dict);
        assert_eq!(message(engine.check_state(Part::Optimizer, &dict)), expected);
        assert_eq!(message(engine.load_state(Part::Optimizer, &dict)), expected);
        assert_eq!(engine.state(Part::Optimizer).unwrap(), before);
    };
    let moment = "head.bias.momentum.moment_1";
    let replace = |dict: &mut StateDict, name: &str, array: Array| {
        dict.remove(name).unwrap();
        dict.insert(name, array).unwrap();
    };
    let rank = "head.bias.__rank";
    check(&|dict| dict.insert("tail.moment", 1_u8).unwrap(), "`tail.moment` is not known to this optimizer");
    check(
        &|dict| dict.insert("head.bias.velocity", Array::from_slice(&[1_f32; 3])).unwrap(),
        "`head.bias.velocity` is not known to this optimizer",
    );
    check(
        &|dict| replace(dict, moment, Array::from_slice(&[1_f32])),
        &format!("`{moment}` is F32[1], not F32[3]"),
    );
    check(
        &|dict| replace(dict, moment, Array::from_slice(&[1_f64; 3])),
        &format!("`{moment}` is F64[3], not F32[3]"),
    );
    check(&|dict| replace(dict, rank, 2_u64.into()), &format!("`{rank}` is not that of its parameter"));
    check(
        &|dict| drop(dict.remove(rank)),
        &format!("the optimizer takes this state only in part: `{rank}` is missing"),
    );
    let message = "the optimizer takes this state only in part: `head.bias.__rank` is not known here; \
                   `head.bias.momentum.moment_1` is not known here; `head.bias.momentum.moment_2` is not known here";
    check(&|dict| drop(dict.remove("head.bias.momentum.time")), message);
    Ok(())
}

#[test]
fn state_of_another_optimizer_is_refused() -> Outcome {
    let (mut adam, sgd) = (engine(AdamConfig::new().init()), engine(SgdConfig::new().init()));
    step(&mut adam, 0);
    let refused = message(sgd.check_state(Part::Optimizer, &adam.state(Part::Optimizer)?));
    assert!(refused.starts_with("`conv.bias.momentum.moment_1` is not known to this optimizer"), "{refused}");
    Ok(())
}

#[test]
fn an_empty_state_makes_an_optimizer_new() -> Outcome {
    let mut engine = engine(AdamConfig::new().init());
    step(&mut engine, 0);
    engine.load_state(Part::Optimizer, &StateDict::new())?;
    assert!(engine.state(Part::Optimizer)?.is_empty());
    Ok(())
}

#[test]
fn a_plain_unit_gets_the_same_state_as_the_engine() -> Outcome {
    let mut optimizer = AdamConfig::new().init();
    let mut net = Net::new(&device().autodiff());
    let mut engine = Burn::new(net.clone(), optimizer.clone(), &device())?;
    engine.load_state(Part::Module, &ModuleState(&mut net).state_dict()?)?;
    for salt in 0..2 {
        // Batch norm of a clone shares the statistics, so each is stepped for itself.
        step(&mut engine, salt);
    }
    ModuleState(&mut net).load_state_dict(&engine.state(Part::Module)?)?;
    OptimizerState(&mut optimizer, &net).load_state_dict(&engine.state(Part::Optimizer)?)?;
    step(&mut engine, 2);
    net = by_hand(net, &mut optimizer, 2);
    assert_eq!(ModuleState(&mut net).state_dict()?, engine.state(Part::Module)?);
    assert_eq!(OptimizerState(&mut optimizer, &net).state_dict()?, engine.state(Part::Optimizer)?);
    Ok(())
}

#[test]
fn an_optimizer_with_the_state_of_another_module_is_an_error() -> Outcome {
    let (mut optimizer, net) = (AdamConfig::new().init(), Net::new(&device().autodiff()));
    by_hand(net, &mut optimizer, 0);
    let other = Net::new(&device()).train();
    let refused = message(OptimizerState(&mut optimizer, &other).state_dict());
    assert_eq!(refused, "the optimizer holds state for a parameter of another module");
    Ok(())
}
