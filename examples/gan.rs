//! A generative adversarial network on a toy distribution: a plain unit with two engines, which
//! no `AutoUnit` could hold.
//!
//! The generator learns to turn uniform noise into points on a ring. Their mean distance from it is
//! printed while it learns.

use regimen::callback::{Event, Every};
use regimen::data::each_epoch;
use regimen::engine::Engine;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::AppState;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{Linear, LinearConfig, Relu};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::activation::{softplus, tanh};
use regimen_burn::burn::tensor::{Device, Distribution, Tensor};
use regimen_burn::{Burn, burn, initialize, place, seed_step};

const NOISE: usize = 2;
const BATCH: usize = 128;
const OFF_RING: Key = Key::mean("train/off_ring");

/// Two hidden layers, for either player.
#[derive(Module, Debug)]
struct Player {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Player {
    fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Player { first: layer(inputs, 64), second: layer(64, 64), last: layer(64, outputs) }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = Relu::new().forward(self.first.forward(x));
        self.last.forward(tanh(self.second.forward(x)))
    }
}

#[derive(AppState)]
struct Gan {
    #[app_state(nested)]
    generator: Burn<Player>,
    #[app_state(nested)]
    discriminator: Burn<Player>,
    #[app_state(skip)]
    device: Device,
}

impl TrainUnit for Gan {
    type Batch = Tensor<2>;

    fn train_step(&mut self, state: &mut State, real: Tensor<2>) -> Result<(), BoxError> {
        let Gan { generator, discriminator, device } = self;
        seed_step(state, device);
        let noise = Tensor::random([BATCH, NOISE], Distribution::Uniform(-1.0, 1.0), &*device);
        let (real, fake) = (place(real, device)?, generator.module().forward(noise));

        // softplus(-x) is the cross-entropy of a logit x with "real", softplus(x) with "fake".
        let judge = discriminator.module();
        let real = softplus(-judge.forward(real), 1.0).mean();
        let loss = real + softplus(judge.forward(fake.clone().detach()), 1.0).mean();
        discriminator.backward(&loss, None)?;
        discriminator.step(&[3e-4])?;

        let loss = softplus(-discriminator.module().forward(fake.clone()), 1.0).mean();
        generator.backward(&loss, None)?;
        generator.step(&[3e-4])?;

        let radius = fake.powi_scalar(2).sum_dim(1).sqrt();
        let off_ring = (radius - 1.0).abs().mean().try_into_scalar::<f64>()?;
        state.log(OFF_RING, off_ring, BATCH as f64);
        Ok(())
    }
}

fn trained(player: Player, device: &Device) -> Result<Burn<Player>, BoxError> {
    Burn::new(player, AdamConfig::new().with_beta_1(0.5).init(), device)
}

fn main() -> Result<(), BoxError> {
    let cpu = regimen_burn::device("cpu")?;
    let device = cpu.clone().autodiff();
    let mut gan = Gan {
        generator: trained(initialize(1, &device, |device| Player::new(NOISE, 2, device))?, &cpu)?,
        discriminator: trained(initialize(2, &device, |device| Player::new(2, 1, device))?, &cpu)?,
        device,
    };
    let ring = each_epoch(move |_epoch| {
        let cpu = cpu.clone();
        (0..50).map(move |batch| {
            let angle = |i| std::f32::consts::TAU * (i as f32 + batch as f32 / 50.0) / BATCH as f32;
            let points: Vec<f32> = (0..BATCH).flat_map(|i| [angle(i).cos(), angle(i).sin()]).collect();
            Tensor::<1>::from_floats(points.as_slice(), &cpu).reshape([BATCH, 2])
        })
    });
    let report = Run::new(&mut gan)
        .seed(7)
        .on(Event::TrainEpochEnd.every(Every::epochs(10)), |state: &mut State, _: &mut Gan| {
            let off = state.value(OFF_RING);
            println!(
                "epoch {:2}: mean distance from the ring {:.3}",
                state.train_progress().epochs,
                off.unwrap_or(f64::NAN)
            );
        })
        .train(&ring, Train::epochs(60))?;
    match report.metric(OFF_RING) {
        Some(off) if off < 0.2 => Ok(()),
        off => Err(format!("the points are not on the ring: {off:?} from it").into()),
    }
}
