//! Selection of a split's documents.

use crate::rng::{Philox, stream_key};

/// Documents of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Documents {
    /// All of them.
    #[default]
    All,
    /// The first ones, as `--limit` of lm-evaluation-harness. Files in order of label have few labels among these.
    First(usize),
    /// As many drawn at random; a smaller draw with the same seed is part of a larger one.
    Drawn {
        /// Greatest number of documents.
        count: usize,
        /// Seed of the draw, which also depends on the task's name.
        seed: u64,
    },
}

impl Documents {
    /// A draw of `limit` documents, all without a limit.
    #[must_use]
    pub fn drawn(limit: Option<usize>, seed: u64) -> Self {
        limit.map_or(Self::All, |count| Self::Drawn { count, seed })
    }

    /// Their places in a split of `total`, ascending.
    #[must_use]
    pub fn places(self, task: &str, total: usize) -> Vec<usize> {
        match self {
            Self::All => (0..total).collect(),
            Self::First(count) => (0..total.min(count)).collect(),
            Self::Drawn { count, .. } if count >= total => (0..total).collect(),
            Self::Drawn { count, seed } => {
                let random = Philox::new(stream_key(seed, &["documents", task]));
                let mut order: Vec<([u32; 4], usize)> =
                    (0..total).map(|place| (random.block(place as u64), place)).collect();
                order.sort_unstable();
                let mut places: Vec<usize> = order.into_iter().take(count).map(|(_, place)| place).collect();
                places.sort_unstable();
                places
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_ascending_stable_nested_and_spread_over_the_split() {
        let draw = |count| Documents::Drawn { count, seed: 42 }.places("fpb", 1000);
        let (small, large) = (draw(50), draw(200));
        assert!(small.len() == 50 && large.len() == 200 && large.is_sorted());
        assert!(small.iter().all(|place| large.contains(place)));
        assert!(large.windows(2).all(|pair| pair[0] < pair[1]) && large[199] < 1000);
        // Of 200 of 1000, 100 +- 9 are in each half at one standard deviation.
        let half = large.iter().filter(|place| **place < 500).count();
        assert!((60..=140).contains(&half), "{half}");
        assert_ne!(large, Documents::Drawn { count: 200, seed: 43 }.places("fpb", 1000));
        assert_ne!(large, Documents::Drawn { count: 200, seed: 42 }.places("fomc", 1000));
        assert_eq!(draw(5000), Documents::All.places("fpb", 1000));
        assert_eq!(Documents::First(3).places("fpb", 1000), [0, 1, 2]);
    }
}
