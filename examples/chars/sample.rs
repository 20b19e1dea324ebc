//! Text generation, one character at a time.

use regimen::BoxError;
use regimen::random::Random;
use regimen_burn::burn::tensor::{Device, Int, Tensor};

use crate::network::Transformer;

/// Softmax temperature. Below 1, likely characters become likelier, which makes fewer misspelt words.
const TEMPERATURE: f64 = 0.8;

/// Generates `length` characters with `network`, from character 0, a line end in most texts.
pub(crate) fn sample(
    network: &Transformer,
    (length, context): (usize, usize),
    random: &mut Random,
    device: &Device,
) -> Result<Vec<u32>, BoxError> {
    let mut characters = vec![0];
    for _ in 0..length {
        let seen = &characters[characters.len().saturating_sub(context)..];
        let seen: Tensor<1, Int> = Tensor::from_data(seen, device);
        let logits = network.forward(seen.unsqueeze());
        let [_, length, alphabet] = logits.dims();
        let logits = logits.slice([0..1, length - 1..length, 0..alphabet]).try_into_data()?;
        characters.push(draw(&logits.iter::<f64>().collect::<Vec<_>>(), random) as i64);
    }
    Ok(characters.into_iter().skip(1).map(|character| character as u32).collect())
}

/// Draws an index from the softmax distribution of the logits.
fn draw(logits: &[f64], random: &mut Random) -> usize {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| ((logit - largest) / TEMPERATURE).exp()).collect();
    let mut left = random.uniform() * weights.iter().sum::<f64>();
    let reached = |weight: &f64| {
        left -= weight;
        left < 0.0
    };
    // Rounding may leave a remainder at the end.
    weights.iter().position(reached).unwrap_or(logits.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_drawn_as_often_as_softmax_says() {
        let mut random = Random::new(5);
        let logits = [0.0, TEMPERATURE * 2_f64.ln(), TEMPERATURE * 5_f64.ln(), f64::NEG_INFINITY];
        let mut counts = [0_u32; 4];
        (0..80_000).for_each(|_| counts[draw(&logits, &mut random)] += 1);
        for (count, expected) in counts.into_iter().zip([10_000.0_f64, 20_000.0, 50_000.0, 0.0]) {
            // Five standard deviations of a count.
            assert!((f64::from(count) - expected).abs() <= 5.0 * expected.sqrt(), "{counts:?}");
        }
    }
}
