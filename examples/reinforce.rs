//! Reinforcement learning: REINFORCE balances a pole on a cart. A plain unit, because the batch of a
//! step is what the policy itself does in the environment.

use regimen::callback::Event;
use regimen::data::each_epoch;
use regimen::metric::{Key, Metric};
use regimen::random::Random;
use regimen::run::Train;
use regimen::saved::{AppState, Parts};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{Linear, LinearConfig};
use regimen_burn::burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use regimen_burn::burn::tensor::activation::log_softmax;
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_burn::{ModuleState, OptimizerState, burn, device, initialize};

const REWARD: Key = Key::mean("train/reward");
/// Games that are played side by side, and the most steps of one.
const GAMES: usize = 16;
const LONGEST: usize = 200;

/// A cart with a pole: position, speed, angle and speed of the angle, in SI units.
#[derive(Clone, Copy)]
struct Pole([f32; 4]);

impl Pole {
    /// A push to the left or the right, and 20 ms later. Returns whether the pole still stands.
    fn push(&mut self, right: bool) -> bool {
        let [x, v, angle, spin] = self.0;
        let force = if right { 10.0 } else { -10.0 };
        let (sin, cos) = angle.sin_cos();
        let push = (force + 0.05 * spin * spin * sin) / 1.1;
        let turn = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos * cos / 1.1));
        let pull = push - 0.05 * turn * cos / 1.1;
        self.0 = [x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * spin, spin + 0.02 * turn];
        self.0[0].abs() < 2.4 && self.0[2].abs() < 0.21
    }
}

#[derive(Module, Debug)]
struct Policy {
    hidden: Linear,
    output: Linear,
}

impl Policy {
    /// Poles, `[batch, 4]`, to the logarithms of the chances of both pushes, `[batch, 2]`.
    fn forward(&self, poles: Tensor<2>) -> Tensor<2> {
        log_softmax(self.output.forward(self.hidden.forward(poles).tanh()), 1)
    }
}

struct Reinforce {
    policy: Policy,
    optimizer: ModuleOptimizer,
    device: Device,
}

impl TrainUnit for Reinforce {
    /// The number of the step: the games are drawn from it.
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
        let mut random = Random::new(state.step_seed());
        let mut poles: Vec<Pole> =
            (0..GAMES).map(|_| Pole([(); 4].map(|()| random.uniform() as f32 * 0.1 - 0.05))).collect();
        // Per move: the game, what was seen, and which push was chosen.
        let mut moves: Vec<(usize, [f32; 4], i64)> = Vec::new();
        let (mut standing, mut lengths) = ((0..GAMES).collect::<Vec<_>>(), [0_usize; GAMES]);
        let judge = self.policy.valid();
        for _ in 0..LONGEST {
            let seen: Vec<[f32; 4]> = standing.iter().map(|&game| poles[game].0).collect();
            let chances = judge.forward(rows(&seen, &self.device.clone().inner())).exp().try_into_data()?;
            let chances: Vec<f32> = chances.iter().collect();
            let pushes = standing.clone().into_iter().zip(seen).zip(chances.chunks(2));
            standing = Vec::new();
            for ((game, seen), chance) in pushes {
                let right = random.uniform() > f64::from(chance[0]);
                moves.push((game, seen, i64::from(right)));
                lengths[game] += 1;
                if poles[game].push(right) {
                    standing.push(game);
                }
            }
        }
        // The return of a move is how long its game went on after it, beside the mean of all.
        let mut left = lengths;
        let mut returns: Vec<f32> = Vec::new();
        for (game, ..) in &moves {
            returns.push(left[*game] as f32);
            left[*game] -= 1;
        }
        let mean = returns.iter().sum::<f32>() / returns.len() as f32;
        let square = returns.iter().map(|gain| (gain - mean).powi(2)).sum::<f32>() / returns.len() as f32;
        returns.iter_mut().for_each(|gain| *gain = (*gain - mean) / (square.sqrt() + 1e-6));

        let seen: Vec<[f32; 4]> = moves.iter().map(|(_, seen, _)| *seen).collect();
        let pushes: Vec<i64> = moves.iter().map(|(.., push)| *push).collect();
        let pushes = Tensor::<1, Int>::from_data(pushes.as_slice(), &self.device).reshape([-1, 1]);
        let returns = Tensor::<1>::from_floats(returns.as_slice(), &self.device).reshape([-1, 1]);
        let chosen = self.policy.forward(rows(&seen, &self.device)).gather(1, pushes);
        let gradients = GradientsParams::from_grads((chosen * returns).mean().neg().backward(), &self.policy);
        self.policy = self.optimizer.step(0.02, self.policy.clone(), gradients);
        state.log(REWARD, lengths.iter().sum::<usize>() as f64 / GAMES as f64, GAMES as f64);
        Ok(())
    }
}

fn rows(seen: &[[f32; 4]], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(seen.as_flattened().to_vec(), [seen.len(), 4]), device)
}

impl AppState for Reinforce {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("policy", &mut ModuleState(&mut self.policy))?;
        parts.part("optimizer", &mut OptimizerState(&mut self.optimizer, &self.policy))
    }
}

fn main() -> Result<(), BoxError> {
    let device = device("cpu")?.autodiff();
    let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&device);
    let policy = initialize(7, &device, |_| Policy { hidden: layer(4, 32), output: layer(32, 2) })?;
    let mut unit = Reinforce { policy, optimizer: AdamConfig::new().init(), device };
    let steps = each_epoch(|_| 0..10);
    let mut run =
        Run::new(&mut unit).seed(7).on(Event::TrainEpochEnd, |state: &mut State, _: &mut Reinforce| {
            let reward = state.metric(REWARD).and_then(Metric::epoch_value).unwrap_or(f64::NAN);
            println!(
                "after {:2} updates the pole stands {reward:.0} steps of {LONGEST}",
                state.train_progress().steps
            );
        });
    let report = run.train(&steps, Train::epochs(6))?;
    match report.metric(REWARD) {
        Some(reward) if reward > 100.0 => Ok(()),
        reward => Err(format!("the policy has not learned to balance: {reward:?} steps").into()),
    }
}
