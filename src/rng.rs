//! A counter-based generator: the same draw for an element whatever thread, chunk or device asks.
//!
//! [`Philox`] is Philox4x32-7 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011), keyed by 64 bits that a caller derives from seed, model and tensor name with
//! [`stream_key`]. Which word of which block belongs to an element is the caller's rule.

/// The fewest rounds that pass every test of `BigCrush` (same paper, table 2); masks need no margin
/// beyond that, and the rounds are most of what a mask costs.
pub(crate) const ROUNDS: usize = 7;
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The generator's key; draws are pure functions of key and counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// Multipliers of two of the words in a round.
    pub const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];

    /// A stream for a 64-bit key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key: [key as u32, (key >> 32) as u32] }
    }

    /// Key that round `round` (from 0) mixes in.
    #[inline(always)]
    #[must_use]
    pub fn round_key(self, round: usize) -> [u32; 2] {
        let of = |i: usize| self.key[i].wrapping_add(WEYL[i].wrapping_mul(round as u32));
        [of(0), of(1)]
    }

    /// The four words of block `counter`.
    #[inline(always)]
    #[must_use]
    pub fn block(self, counter: u64) -> [u32; 4] {
        let mut x = [counter as u32, (counter >> 32) as u32, 0, 0];
        for round in 0..ROUNDS {
            let key = self.round_key(round);
            let first = u64::from(Self::MULTIPLIERS[0]) * u64::from(x[0]);
            let second = u64::from(Self::MULTIPLIERS[1]) * u64::from(x[2]);
            x = [
                (second >> 32) as u32 ^ x[1] ^ key[0],
                second as u32,
                (first >> 32) as u32 ^ x[3] ^ key[1],
                first as u32,
            ];
        }
        x
    }

    /// Words 0 to 3 of the sixteen blocks from `counter` on (a multiple of 16), word by word, laid
    /// out so that the compiler keeps sixteen counters in one vector.
    #[inline(always)]
    #[must_use]
    pub fn blocks(self, counter: u64) -> [[u32; 16]; 4] {
        // Words live in 64-bit lanes: a product then needs no widening, and its low half can stay
        // where it is, since only the low 32 bits of a lane ever matter.
        const LOW: u64 = 0xffff_ffff;
        let mut x = [[0_u64; 16]; 4];
        for lane in 0..16 {
            // A multiple of 16 never carries into the upper half within these sixteen.
            x[0][lane] = counter.wrapping_add(lane as u64);
            x[1][lane] = counter >> 32;
        }
        for round in 0..ROUNDS {
            let key = self.round_key(round);
            let (key0, key1) = (u64::from(key[0]), u64::from(key[1]));
            for lane in 0..16 {
                let first = u64::from(Self::MULTIPLIERS[0]) * (x[0][lane] & LOW);
                let second = u64::from(Self::MULTIPLIERS[1]) * (x[2][lane] & LOW);
                x[0][lane] = (second >> 32) ^ x[1][lane] ^ key0;
                x[2][lane] = (first >> 32) ^ x[3][lane] ^ key1;
                x[1][lane] = second;
                x[3][lane] = first;
            }
        }
        let mut words = [[0_u32; 16]; 4];
        for (words, x) in words.iter_mut().zip(&x) {
            for lane in 0..16 {
                words[lane] = x[lane] as u32;
            }
        }
        words
    }
}

/// The key of a stream named by a seed and parts (model, tensor, ...), by FNV-1a over the
/// length-prefixed parts and a final avalanche. Stable across versions: locks depend on it.
#[must_use]
pub(crate) fn stream_key(seed: u64, parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    eat(&seed.to_le_bytes());
    for part in parts {
        eat(&(part.len() as u64).to_le_bytes());
        eat(part.as_bytes());
    }
    // splitmix64's finaliser
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123's `kat_vectors` for philox4x32-7 (with a zero upper counter).
    #[test]
    fn philox_matches_the_published_vector() {
        assert_eq!(Philox::new(0).block(0), [0x5f6f_b709, 0x0d89_3f64, 0x4f12_1f81, 0x4f73_0a48]);
    }

    #[test]
    fn draws_are_uniform_and_streams_differ() {
        let stream = Philox::new(stream_key(0, &["model-a", "w"]));
        let other = Philox::new(stream_key(0, &["model-b", "w"]));
        let n = 200_000_u64;
        let below = (0..n).filter(|&i| stream.block(i)[0] < u32::MAX / 10 * 3).count() as f64;
        let expected = 0.3 * n as f64;
        assert!((below - expected).abs() < 5.0 * (n as f64 * 0.21).sqrt(), "{below}");
        assert!((0..1000).filter(|&i| stream.block(i) == other.block(i)).count() == 0);
    }

    #[test]
    fn sixteen_blocks_are_sixteen_single_blocks() {
        let stream = Philox::new(0x1234_5678_9abc_def0);
        for counter in [0, 16, 0xffff_fff0, 1 << 40] {
            let words = stream.blocks(counter);
            for lane in 0..16 {
                let single = stream.block(counter + lane as u64);
                assert_eq!(single, [words[0][lane], words[1][lane], words[2][lane], words[3][lane]]);
            }
        }
    }

    #[test]
    fn part_boundaries_matter() {
        assert_ne!(stream_key(1, &["ab", "c"]), stream_key(1, &["a", "bc"]));
    }
}
