//! Keyed randomness: a choice is a pure function of its key, so there is no state to save.

/// Mixes a seed, the name of a stream and two indices into 64 well-spread bits.
///
/// The same key gives the same bits in every version of regimen, on every machine. Two streams
/// of one seed, and two indices of one stream, are unrelated.
pub fn keyed(seed: u64, stream: &str, epoch: u64, index: u64) -> u64 {
    // FNV-1a over the name; then one round of the SplitMix64 finalizer for each part of the key.
    let name = stream.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    [name, epoch, index].into_iter().fold(finalize(seed), |key, part| finalize(key ^ finalize(part)))
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014), a bijection on 64 bits.
const fn finalize(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A small generator (SplitMix64) for choices under one key: one sample, one epoch.
///
/// ```
/// use regimen_core::random::{Random, keyed};
/// let mut random = Random::new(keyed(42, "augment", 0, 17));
/// assert!(random.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose whole sequence is determined by `key`.
    pub const fn new(key: u64) -> Self {
        Random(key)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        let bits = finalize(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        bits
    }

    /// A number in `0..n`, uniform up to n / 2^64; 0 if `n` is 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        ((self.bits() as u128 * n as u128) >> 64) as u64
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub const fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number from the normal distribution with mean 0 and deviation 1 (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_splitmix64() {
        // The first outputs of the reference implementation in C, from seeds 0 and 1234567.
        let first = |seed, n: usize| {
            let mut random = Random::new(seed);
            (0..n).map(|_| random.bits()).collect::<Vec<_>>()
        };
        assert_eq!(first(0, 3), [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
        assert_eq!(first(1_234_567, 2), [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn every_part_of_a_key_matters() {
        let mut keys = vec![keyed(0, "order", 0, 0)];
        for n in 1..100 {
            keys.extend([keyed(n, "order", 0, 0), keyed(0, "order", n, 0), keyed(0, "order", 0, n)]);
            keys.push(keyed(0, &format!("order{n}"), 0, 0));
        }
        let keys_before = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), keys_before);
    }

    #[test]
    fn numbers_below_n_are_equally_likely() {
        let mut counts = [0_u32; 7];
        let mut random = Random::new(keyed(1, "dice", 0, 0));
        (0..70_000).for_each(|_| counts[random.below(7) as usize] += 1);
        // Chi-squared with 6 degrees of freedom: above 22.5 for one in a thousand seeds.
        let chi: f64 = counts.iter().map(|&n| (f64::from(n) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 22.5, "{counts:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let mut random = Random::new(keyed(2, "noise", 0, 0));
        let numbers: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let moment = |k| numbers.iter().map(|x| x.powi(k)).sum::<f64>() / 1e5;
        for (k, expected) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
            assert!((moment(k) - expected).abs() < 0.05, "moment {k} is {}", moment(k));
        }
    }
}
