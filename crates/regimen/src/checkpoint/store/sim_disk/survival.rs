//! The survival of unsynced changes in a power cut.

/// Decides by a seed. 0 lets nothing survive and 1 everything.
pub(crate) struct Survival {
    seed: u64,
    state: u64,
}

/// A file survives in pieces of this many bytes: small, so that small files break too.
const PIECE: usize = 16;

impl Survival {
    pub(crate) fn new(seed: u64) -> Self {
        Survival { seed, state: seed }
    }

    /// Whether a change of a directory survives.
    pub(crate) fn of_change(&mut self) -> bool {
        match self.seed {
            0 => false,
            1 => true,
            _ => self.below(2) == 0,
        }
    }

    /// The content of a file that was `synced` and then written to until it was `live`.
    pub(crate) fn of_file(&mut self, live: &[u8], synced: &[u8]) -> Vec<u8> {
        let choice = if self.seed < 2 { self.seed } else { self.below(4) };
        match choice {
            0 => synced.to_vec(),
            1 => live.to_vec(),
            2 => live[..self.below(live.len() as u64 + 1) as usize].to_vec(),
            _ => {
                // The length is known but some of the content was never written.
                let mut pieces = live.to_vec();
                pieces.chunks_mut(PIECE).filter(|_| self.below(2) == 0).for_each(|piece| piece.fill(0));
                pieces
            }
        }
    }

    /// A number below `n`, by SplitMix64.
    fn below(&mut self, n: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
