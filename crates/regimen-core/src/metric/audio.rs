//! A sound.

use crate::BoxError;

/// A sound with 16 bits per sample.
///
/// ```
/// use regimen_core::metric::Audio;
///
/// let samples: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.345).sin()).collect();
/// let tone = Audio::mono(8000, &samples)?;
/// # Ok::<(), regimen_core::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    rate: u32,
    channels: u16,
    samples: Vec<i16>,
}

impl Audio {
    /// A sound of one channel, with `rate` samples per second. A sample is a number from -1 to 1: others are
    /// clipped, and NaN is 0. Returns an error if there is no sample, or the rate is 0.
    pub fn mono(rate: u32, samples: &[f32]) -> Result<Self, BoxError> {
        Audio::new(rate, 1, samples)
    }

    /// A sound of two channels: a sample of the left one, then one of the right one, and so on; otherwise as
    /// [`mono`](Audio::mono). Also an error if the number of samples is odd.
    pub fn stereo(rate: u32, samples: &[f32]) -> Result<Self, BoxError> {
        Audio::new(rate, 2, samples)
    }

    fn new(rate: u32, channels: u16, samples: &[f32]) -> Result<Self, BoxError> {
        let number = samples.len();
        if rate == 0 || number == 0 || !number.is_multiple_of(usize::from(channels)) {
            let of = format!("{channels} channels and {rate} samples per second");
            return Err(format!("a sound with {of} cannot be made of {number} samples").into());
        }
        // The conversion clips, and takes NaN for 0.
        let samples = samples.iter().map(|sample| (sample * f32::from(i16::MAX)).round() as i16).collect();
        Ok(Audio { rate, channels, samples })
    }

    /// Samples per second of a channel.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The number of channels: 1 or 2.
    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// The samples, in turn of each channel.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_has_samples_for_each_channel() {
        let samples = [0.0, 1.0, -0.5, f32::NAN, 2.0, f32::NEG_INFINITY];
        let sound = Audio::stereo(8000, &samples).unwrap();
        assert_eq!((sound.rate(), sound.channels()), (8000, 2));
        assert_eq!(sound.samples(), [0, 32767, -16384, 0, 32767, -32768]);
        for (rate, samples) in [(0, &samples[..]), (8000, &[]), (8000, &samples[..3])] {
            assert_eq!(
                Audio::stereo(rate, samples).unwrap_err().to_string(),
                format!(
                    "a sound with 2 channels and {rate} samples per second cannot be made of {} samples",
                    samples.len()
                )
            );
        }
    }
}
