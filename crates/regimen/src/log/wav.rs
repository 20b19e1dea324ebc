//! Sounds as WAV files.

use crate::metric::Audio;

/// The file of a sound.
pub(super) fn wav(audio: &Audio) -> Vec<u8> {
    let (rate, channels) = (audio.rate(), audio.channels());
    let frame = 2 * channels;
    // A file with a larger size is out of the format.
    let size = u32::try_from(2 * audio.samples().len()).unwrap_or(u32::MAX);
    let mut file = b"RIFF".to_vec();
    file.extend(size.saturating_add(36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.saturating_mul(u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(b"\x10\0data");
    file.extend(size.to_le_bytes());
    audio.samples().iter().for_each(|sample| file.extend(sample.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the module `wave` of Python.
    #[test]
    fn a_sound_is_the_file_of_another_writer() {
        let file = wav(&Audio::stereo(8000, &[0.0, 1.0, -1.0, 0.0]).unwrap());
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "524946462c00000057415645666d74201000000001000200401f0000007d00000400100064617461080000000000ff7f01800000"
        );
    }
}
