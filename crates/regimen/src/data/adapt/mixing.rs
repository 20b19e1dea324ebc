//! The random choices of adaptors that mix samples.

use std::ops::Range;

use regimen_core::BoxError;
use regimen_core::data::SampleArray;
use regimen_core::random::Random;
use regimen_core::text::Count;

use crate::data::Permutation;

/// Which batches are mixed, and the distribution of the shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixing {
    pub(super) alpha: f64,
    pub(super) probability: f64,
}

/// The choices for one batch.
pub(super) struct Mixed {
    /// From the distribution Beta(alpha, alpha).
    pub(super) share: f64,
    /// The partner of each sample: a permutation.
    pub(super) partners: Vec<usize>,
}

impl Mixing {
    pub(super) fn new(alpha: f64) -> Self {
        Mixing { alpha, probability: 0.5 }
    }

    /// The choices for a batch. Returns `None` if it is left as it is, or has no two samples.
    pub(super) fn draw<D>(
        &self,
        inputs: &impl SampleArray<D>,
        targets: &impl SampleArray<D>,
        random: &mut Random,
    ) -> Result<Option<Mixed>, BoxError> {
        let Mixing { alpha, probability } = *self;
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(format!("an alpha of {alpha} is not above 0").into());
        }
        if !(0.0..=1.0).contains(&probability) {
            return Err(format!("a probability of {probability} is not between 0 and 1").into());
        }
        let samples = |array: &[usize]| Count(array.first().copied().unwrap_or(1) as u64, "sample");
        let (inputs, targets) = (samples(&inputs.shape()), samples(&targets.shape()));
        if inputs.0 != targets.0 {
            return Err(format!("inputs of {inputs} and targets of {targets}").into());
        }
        if random.uniform() >= probability || inputs.0 < 2 {
            return Ok(None);
        }
        let share = symmetric_beta(alpha, random);
        let order = Permutation::new(inputs.0, random.bits());
        let partners = (0..order.len()).map(|sample| order.index(sample) as usize).collect();
        Ok(Some(Mixed { share, partners }))
    }
}

/// A box of an image of `[height, width]` at a uniform centre, clipped at the edges. Before that it has the smaller
/// of `share` and `1 - share` of the area.
pub(super) fn draw_box(share: f64, [height, width]: [usize; 2], random: &mut Random) -> [Range<usize>; 2] {
    let side = share.min(1.0 - share).sqrt();
    [height, width].map(|length| {
        let cut = (length as f64 * side) as usize;
        let centre = random.below(length as u64) as usize;
        centre.saturating_sub(cut / 2)..length.min(centre + cut.div_ceil(2))
    })
}

/// The height and width of images: the last two dimensions of three or more.
pub(super) fn image_size<D>(images: &impl SampleArray<D>) -> Result<[usize; 2], BoxError> {
    match *images.shape() {
        [_, .., height, width] => Ok([height, width]),
        ref shape => {
            Err(format!("images of shape {shape:?} have no height and width after the samples").into())
        }
    }
}

/// A number from the distribution Beta(alpha, alpha): of a `t` with `2 alpha` degrees of freedom, which is
/// made of two uniform numbers (Bailey, "Polar generation of random variates with the t-distribution", 1994; Devroye,
/// "Random variate generation in one line of code", 1996). Exact for every alpha above 0.
fn symmetric_beta(alpha: f64, random: &mut Random) -> f64 {
    let cosine = (std::f64::consts::TAU * random.uniform()).cos();
    // The square of t over its degrees of freedom. It can be infinite, and then the result is 0 or 1.
    let square = ((1.0 - random.uniform()).powf(-1.0 / alpha) - 1.0) * cosine * cosine;
    0.5 + (0.5 / (1.0 + 1.0 / square).sqrt()).copysign(cosine)
}

#[cfg(test)]
mod tests {
    use regimen_core::random::keyed;

    use super::*;

    /// The moments E[X], E[X^2], E[X^4] of Beta(a, a), by the product over r < k of (a + r) / (2 a + r).
    #[test]
    fn shares_have_the_moments_of_the_beta_distribution() {
        for alpha in [0.01, 0.1, 0.2, 0.4, 0.5, 1.0, 2.0, 8.0, 100.0] {
            let mut random = Random::new(keyed(3, "beta", 0, 0));
            let shares: Vec<f64> = (0..100_000).map(|_| symmetric_beta(alpha, &mut random)).collect();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "alpha {alpha}");
            for power in [1, 2, 4] {
                let found = shares.iter().map(|share| share.powi(power)).sum::<f64>() / 1e5;
                let expected: f64 =
                    (0..power).map(|r| (alpha + f64::from(r)) / (2.0 * alpha + f64::from(r))).product();
                // Five standard errors: a share has a variance of at most 1/4.
                assert!((found - expected).abs() < 5.0 * 0.5 / 1e5_f64.sqrt(), "{alpha} {power}: {found}");
            }
        }
    }

    /// Beta(1/2, 1/2) is the arcsine law, and Beta(1, 1) the uniform one.
    #[test]
    fn shares_are_distributed_as_known_laws_say() {
        let check = |alpha, law: fn(f64) -> f64| {
            let mut random = Random::new(keyed(4, "beta", 0, 0));
            let mut shares: Vec<f64> = (0..50_000).map(|_| symmetric_beta(alpha, &mut random)).collect();
            shares.sort_by(f64::total_cmp);
            let distance =
                shares.iter().zip(1..).map(|(&share, rank)| (law(share) - f64::from(rank) / 5e4).abs());
            // Kolmogorov and Smirnov: above 1.95 / sqrt(n) for one in a thousand seeds.
            assert!(distance.fold(0.0, f64::max) < 1.95 / 5e4_f64.sqrt(), "alpha {alpha}");
        };
        check(1.0, |x| x);
        check(0.5, |x| x.sqrt().asin() * std::f64::consts::FRAC_2_PI);
        check(2.0, |x| x * x * (3.0 - 2.0 * x));
    }

    #[test]
    fn boxes_are_inside_and_have_the_smaller_share_of_the_area_unless_clipped() {
        let mut random = Random::new(keyed(5, "box", 0, 0));
        let mut whole = 0;
        for n in 0..10_000 {
            let share = f64::from(n) / 10_000.0;
            let [rows, columns] = draw_box(share, [2000, 3000], &mut random);
            assert!(rows.start <= rows.end && rows.end <= 2000);
            assert!(columns.start <= columns.end && columns.end <= 3000);
            let side = share.min(1.0 - share).sqrt();
            let largest = [(2000.0 * side) as usize, (3000.0 * side) as usize];
            assert!(rows.len() <= largest[0] && columns.len() <= largest[1]);
            whole += usize::from([rows.len(), columns.len()] == largest);
        }
        // Of a box with sides of `s` per side of the image, both are whole with probability (1 - s)^2. The mean for
        // s^2 uniform up to 1/2 is 0.3072; five standard errors are 231.
        assert!((2_841..3_303).contains(&whole), "{whole}");
    }
}
