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
/// use regimen_core::{Random, keyed};
/// let mut random = Random::new(keyed(42, "augment", 0, 17));
/// assert!(random.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose whole sequence is set by `key`.
    pub const fn new(key: u64) -> Self {
        Random(key)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        let bits = finalize(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        bits
    }

    /// A number in `0..n`, each as likely as any other up to n / 2^64; 0 where `n` is 0.
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
