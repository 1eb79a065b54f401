//! BLAKE3 of a file whose bytes arrive in any order, from any thread.
//!
//! BLAKE3 is a binary tree over chunks of 1024 bytes: the value of a subtree depends on its bytes and its place only, so
//! whoever has bytes in cache hashes them at once, and what is kept is one value of 32 bytes for each run of subtrees
//! that are done. Nothing is buffered: a leaf of this tree whose bytes came in several pieces is read back by the one
//! who brings the last of them. The result is that of the plain hash over the whole file, whatever the order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};

/// Bytes of a leaf: as many BLAKE3 chunks as the widest instructions compress side by side.
pub(crate) const LEAF: u64 = 16 << 10;

/// The tree over a file of known length.
#[derive(Debug)]
pub(crate) struct HashTree {
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that have arrived.
    arrived: u64,
    /// Bytes that have arrived of leaves that are not whole, by the leaf's first byte.
    partial: BTreeMap<u64, u64>,
    /// The largest subtrees that are done, by their first byte: length and value.
    done: BTreeMap<u64, (u64, ChainingValue)>,
    /// The hash of a file that is one subtree.
    root: Option<Hash>,
}

/// A subtree that was hashed.
enum Value {
    Inner(ChainingValue),
    Root(Hash),
}

impl HashTree {
    /// A tree over `bytes` bytes, none of which has arrived.
    #[must_use]
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bytes, state: Mutex::default() }
    }

    /// Takes bytes of the file from `start` on. `read` gives bytes that were taken before, with which a leaf of several
    /// pieces becomes whole. Every byte is to be given once.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn add<E>(
        &self,
        start: u64,
        bytes: &[u8],
        read: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = start + bytes.len() as u64;
        // Whole leaves of the range, and what is left before and after them.
        let from = start.next_multiple_of(LEAF).min(end);
        let to = if end == self.bytes { end } else { end / LEAF * LEAF }.max(from);
        for subtree in subtrees(from..to) {
            let piece = &bytes[(subtree.start - start) as usize..(subtree.end - start) as usize];
            let value = self.value(subtree.start, piece);
            self.insert(&subtree, subtree.end - subtree.start, value);
        }
        for edge in [start..from, to..end] {
            if let Some(leaf) = self.last_of_leaf(&edge) {
                let mut buffer = [0; LEAF as usize];
                let buffer = &mut buffer[..(leaf.end - leaf.start) as usize];
                read(leaf.start, buffer)?;
                let value = self.value(leaf.start, buffer);
                self.insert(&leaf, 0, value);
            }
        }
        Ok(())
    }

    /// The ranges that are not done, each of whole leaves; pieces of leaves are forgotten, and to be given again with the
    /// rest of these ranges.
    #[must_use]
    pub(crate) fn rest(&self) -> Vec<Range<u64>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten: u64 = std::mem::take(&mut state.partial).into_values().sum();
        state.arrived -= forgotten;
        let mut rest = Vec::new();
        let mut end = if state.root.is_some() { self.bytes } else { 0 };
        for (&start, &(length, _)) in &state.done {
            rest.push(end..start);
            end = start + length;
        }
        rest.push(end..self.bytes);
        rest.retain(|range| !range.is_empty());
        rest
    }

    /// The hash, when every byte has arrived exactly once; else how many have.
    ///
    /// # Errors
    /// The number of bytes that have arrived.
    pub(crate) fn finish(&self) -> Result<Hash, u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.arrived != self.bytes {
            return Err(state.arrived);
        }
        if self.bytes == 0 {
            return Ok(blake3::hash(&[]));
        }
        if let Some(root) = state.root {
            return Ok(root);
        }
        let left = left_subtree_len(self.bytes);
        match (state.node(0, left), state.node(left, self.bytes - left)) {
            (Some(left), Some(right)) => Ok(merge_subtrees_root(&left, &right, Mode::Hash)),
            // As many bytes as the file has, but some twice and others never.
            _ => Err(state.arrived),
        }
    }

    /// Notes a piece of a leaf; gives the leaf's range when it is the last one.
    fn last_of_leaf(&self, edge: &Range<u64>) -> Option<Range<u64>> {
        if edge.is_empty() {
            return None;
        }
        let start = edge.start / LEAF * LEAF;
        let leaf = start..(start + LEAF).min(self.bytes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.arrived += edge.end - edge.start;
        let arrived = state.partial.entry(start).or_default();
        *arrived += edge.end - edge.start;
        if *arrived < leaf.end - leaf.start {
            return None;
        }
        state.partial.remove(&start);
        Some(leaf)
    }

    /// Hashes a subtree.
    fn value(&self, start: u64, bytes: &[u8]) -> Value {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(start).update(bytes);
        if bytes.len() as u64 == self.bytes {
            Value::Root(hasher.finalize())
        } else {
            Value::Inner(hasher.finalize_non_root())
        }
    }

    /// Keeps a value, together with its neighbours where they make a larger subtree.
    fn insert(&self, subtree: &Range<u64>, arrived: u64, value: Value) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.arrived += arrived;
        let mut value = match value {
            Value::Inner(value) => value,
            Value::Root(hash) => {
                state.root = Some(hash);
                return;
            }
        };
        let (mut start, mut length) = (subtree.start, subtree.end - subtree.start);
        // The subtrees at the end of the file are joined last, and the root is not an inner node.
        while length.is_power_of_two() && start.is_multiple_of(length) && 2 * length < self.bytes {
            let sibling = start ^ length;
            let Entry::Occupied(entry) = state.done.entry(sibling) else { break };
            if entry.get().0 != length {
                break;
            }
            let (_, other) = entry.remove();
            let (left, right) = if sibling < start { (&other, &value) } else { (&value, &other) };
            value = merge_subtrees_non_root(left, right, Mode::Hash);
            start = start.min(sibling);
            length *= 2;
        }
        state.done.insert(start, (length, value));
    }
}

impl State {
    /// The value of a subtree of the file's tree, from the parts that are done.
    fn node(&self, start: u64, length: u64) -> Option<ChainingValue> {
        if let Some((_, value)) = self.done.get(&start).filter(|(done, _)| *done == length) {
            return Some(*value);
        }
        if length <= LEAF {
            return None;
        }
        let left = left_subtree_len(length);
        let (left, right) = (self.node(start, left)?, self.node(start + left, length - left)?);
        Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
    }
}

/// The largest subtrees that a range consists of. It begins with a leaf and ends with one, or with the file.
fn subtrees(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { mut start, end } = range;
    std::iter::from_fn(move || {
        let left = end.checked_sub(start).filter(|left| *left > 0)?;
        // As large as the place allows, and a power of two unless it is the last piece of the file.
        let fits = if left < LEAF { left } else { 1 << left.ilog2() };
        let length = if start == 0 { fits } else { fits.min(1 << start.trailing_zeros()) };
        let subtree = start..start + length;
        start = subtree.end;
        Some(subtree)
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::rng::Philox;

    fn data(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 + (i >> 8) * 17 + (i >> 16)) as u8).collect()
    }

    /// The hash of pieces that are cut at `cuts`, given in the order that `order` says.
    fn in_pieces(data: &[u8], cuts: &[usize], order: impl Fn(&mut Vec<Range<usize>>)) -> Hash {
        let ends = cuts.iter().copied().chain([data.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let mut pieces: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| start..end).collect();
        order(&mut pieces);
        let tree = HashTree::new(data.len() as u64);
        for piece in pieces {
            let read = |offset: u64, buffer: &mut [u8]| {
                buffer.copy_from_slice(&data[offset as usize..offset as usize + buffer.len()]);
                Ok::<_, Infallible>(())
            };
            tree.add(piece.start as u64, &data[piece.clone()], read).unwrap();
        }
        tree.finish().unwrap()
    }

    #[test]
    fn every_size_and_order_gives_the_plain_hash() {
        let leaf = LEAF as usize;
        let sizes = [0, 1, 63, 64, 1023, 1024, 1025, 5000, leaf - 1, leaf, leaf + 1, 2 * leaf, 2 * leaf + 1];
        let larger = [3 * leaf + 7, 4 * leaf, 7 * leaf + 1024, 16 * leaf, 33 * leaf - 5, 40 * leaf + 999];
        for size in sizes.into_iter().chain(larger) {
            let data = data(size);
            let expected = blake3::hash(&data);
            assert_eq!(in_pieces(&data, &[], |_| ()), expected, "{size} bytes at once");
            for step in [1000, 1024, leaf, leaf + 1, 3 * leaf + 11, 8 * leaf] {
                let cuts: Vec<usize> = (step..size).step_by(step).collect();
                assert_eq!(in_pieces(&data, &cuts, |_| ()), expected, "{size} bytes, {step} at a time");
                assert_eq!(in_pieces(&data, &cuts, |p| p.reverse()), expected, "{size} by {step}, last first");
            }
        }
    }

    #[test]
    fn random_pieces_in_random_order_give_the_plain_hash() {
        for round in 0..200_u64 {
            let random = |i: u64, below: u64| u64::from(Philox::new(round).block(i)[0]) % below.max(1);
            let size = random(0, 40 * LEAF) as usize;
            let data = data(size);
            let mut cuts: Vec<usize> = (1..=random(1, 30)).map(|i| random(i + 1, size as u64) as usize).collect();
            cuts.sort_unstable();
            let shuffle = |pieces: &mut Vec<Range<usize>>| {
                for i in (1..pieces.len()).rev() {
                    pieces.swap(i, random(100 + i as u64, i as u64 + 1) as usize);
                }
            };
            assert_eq!(in_pieces(&data, &cuts, shuffle), blake3::hash(&data), "round {round}");
        }
    }

    #[test]
    fn many_threads_give_the_plain_hash() {
        let data = data(100 * LEAF as usize + 321);
        let tree = HashTree::new(data.len() as u64);
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let start = next.fetch_add(7001, std::sync::atomic::Ordering::Relaxed);
                        let Some(piece) = data.get(start..(start + 7001).min(data.len())) else { break };
                        let read = |offset: u64, buffer: &mut [u8]| {
                            buffer.copy_from_slice(&data[offset as usize..offset as usize + buffer.len()]);
                            Ok::<_, Infallible>(())
                        };
                        tree.add(start as u64, piece, read).unwrap();
                    }
                });
            }
        });
        assert_eq!(tree.finish(), Ok(blake3::hash(&data)));
    }

    #[test]
    fn the_rest_of_a_tree_completes_it() {
        for (size, given) in [
            (50_000, vec![0..1000, 20_000..40_000]),
            (10 * LEAF as usize + 5, vec![5..200_000 - 60_000, 163_840..163_845]),
            (8 * LEAF as usize, vec![16..8 * LEAF as usize]),
            (9 * LEAF as usize, vec![0..9 * LEAF as usize]),
            (LEAF as usize, vec![0..LEAF as usize]),
            (700, vec![3..700]),
            (0, vec![]),
        ] {
            let data = data(size);
            let read = |offset: u64, buffer: &mut [u8]| {
                buffer.copy_from_slice(&data[offset as usize..offset as usize + buffer.len()]);
                Ok::<_, Infallible>(())
            };
            let tree = HashTree::new(size as u64);
            for range in given {
                tree.add(range.start as u64, &data[range.clone()], read).unwrap();
            }
            for range in tree.rest() {
                tree.add(range.start, &data[range.start as usize..range.end as usize], read).unwrap();
            }
            assert_eq!(tree.finish(), Ok(blake3::hash(&data)), "{size} bytes");
            assert_eq!(tree.rest(), []);
        }
    }

    #[test]
    fn a_byte_that_is_missing_or_came_twice_is_told() {
        let data = data(3 * LEAF as usize);
        let read = |_: u64, _: &mut [u8]| Ok::<_, Infallible>(());
        let tree = HashTree::new(data.len() as u64);
        tree.add(0, &data[..5000], read).unwrap();
        assert_eq!(tree.finish(), Err(5000));
        tree.add(0, &data[..data.len() - 5000], read).unwrap();
        assert!(tree.finish().is_err(), "as many bytes as the file has, but not its bytes");
        tree.add(0, &data[..1], read).unwrap();
        assert!(tree.finish().is_err());
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_file() {
        let piece = vec![1; 4 * LEAF as usize];
        let tree = HashTree::new(1 << 30);
        for number in 0..1000 {
            tree.add(number * 4 * LEAF, &piece, |_, _| Ok::<_, Infallible>(())).unwrap();
            assert!(tree.state.lock().unwrap().done.len() <= 16);
        }
    }
}
