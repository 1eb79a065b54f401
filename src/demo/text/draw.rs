//! Seeded draws.

use crate::rng::{Philox, stream_key};

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draw {
    stream: Philox,
    counter: u64,
    words: [u32; 4],
    left: usize,
}

impl Draw {
    /// The stream of a seed and a name.
    pub(super) fn new(seed: u64, name: &[&str]) -> Self {
        Self { stream: Philox::new(stream_key(seed, name)), counter: 0, words: [0; 4], left: 0 }
    }

    fn next(&mut self) -> u32 {
        if self.left == 0 {
            self.words = self.stream.block(self.counter);
            self.counter += 1;
            self.left = 4;
        }
        self.left -= 1;
        self.words[self.left]
    }

    /// A number below `n`; 0 when `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.next()) * n as u64) >> 32) as usize
    }

    /// One of a list, which is not empty.
    pub(super) fn pick(&mut self, list: &[&'static str]) -> &'static str {
        let index = self.below(list.len());
        list[index]
    }

    /// One of two.
    pub(super) fn either<T>(&mut self, first: T, second: T) -> T {
        if self.below(2) == 0 { first } else { second }
    }

    /// True in so many of a hundred draws.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Fisher and Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_stay_in_range() {
        let (mut a, mut b) = (Draw::new(1, &["x"]), Draw::new(1, &["x"]));
        let mut seen = [0; 7];
        for _ in 0..700 {
            let n = a.below(7);
            assert_eq!(n, b.below(7));
            seen[n] += 1;
        }
        assert!(seen.iter().all(|n| (60..150).contains(n)), "{seen:?}");
        assert_eq!((a.pick(&[]), a.below(0)), ("", 0));
    }
}
