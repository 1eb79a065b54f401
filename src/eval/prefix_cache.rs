//! Keys and values of shared prefixes: computed by the first thread that needs them, dropped with the
//! last prompt that has them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::prefix::{PrefixPlan, plan};
use crate::error::Result;
use crate::event::Progress;
use crate::model::{Decoder, KvBlock, RopeFactors, Segment};

/// The shared prefixes of a sorted list of prompts.
pub(super) struct PrefixCache<'a> {
    decoder: &'a Decoder,
    prompts: &'a [(RopeFactors, &'a [u32])],
    plan: PrefixPlan,
    nodes: Vec<Node>,
    chunk: usize,
}

#[derive(Default)]
struct Node {
    blocks: Mutex<Option<Vec<Arc<KvBlock>>>>,
    /// Prompts that still need it.
    left: AtomicUsize,
}

impl<'a> PrefixCache<'a> {
    /// Plans over sorted prompts; prefixes are computed `chunk` tokens at a time.
    pub(super) fn new(decoder: &'a Decoder, prompts: &'a [(RopeFactors, &'a [u32])], chunk: usize) -> Self {
        let plan = plan(prompts);
        let node = |prompts| Node { left: AtomicUsize::new(prompts), ..Node::default() };
        let nodes = plan.prefixes.iter().map(|prefix| node(prefix.prompts)).collect();
        Self { decoder, prompts, plan, nodes, chunk }
    }

    /// Tokens of a prompt that its shared prefix covers.
    pub(super) fn covered(&self, prompt: usize) -> usize {
        let node = self.plan.of_prompt.get(prompt).copied().flatten();
        node.and_then(|node| self.plan.prefixes.get(node)).map_or(0, |prefix| prefix.tokens.end)
    }

    /// The shared prefixes of a prompt, from the shortest to the longest.
    fn path(&self, prompt: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut next = self.plan.of_prompt.get(prompt).copied().flatten();
        while let Some(node) = next {
            path.push(node);
            next = self.plan.prefixes.get(node).and_then(|prefix| prefix.parent);
        }
        path.reverse();
        path
    }

    /// Keys and values of a prompt's first [`PrefixCache::covered`] tokens.
    pub(super) fn key_values(&self, prompt: usize, progress: Progress<'_>) -> Result<Vec<Arc<KvBlock>>> {
        let mut found = Vec::new();
        for node in self.path(prompt) {
            let (slot, prefix) = (&self.nodes[node], &self.plan.prefixes[node]);
            let (factors, tokens) = &self.prompts[prefix.prompt];
            let tokens = &tokens[prefix.tokens.clone()];
            // Whoever needs it next waits here rather than compute it twice.
            let mut blocks = slot.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(blocks) = &*blocks {
                found.extend(blocks.iter().cloned());
                continue;
            }
            let before = found.len();
            prefill(self.decoder, tokens, *factors, &mut found, self.chunk, progress)?;
            *blocks = Some(found[before..].to_vec());
        }
        Ok(found)
    }

    /// Says that a prompt needs its prefixes no more.
    pub(super) fn finish(&self, prompt: usize) {
        for node in self.path(prompt) {
            let Some(slot) = self.nodes.get(node) else { continue };
            if slot.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                slot.blocks.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        }
    }
}

/// Runs tokens in pieces for their keys and values alone, and appends these to `past`.
pub(super) fn prefill(
    decoder: &Decoder,
    tokens: &[u32],
    factors: RopeFactors,
    past: &mut Vec<Arc<KvBlock>>,
    chunk: usize,
    progress: Progress<'_>,
) -> Result<()> {
    for tokens in tokens.chunks(chunk.max(1)) {
        progress.cancel.check()?;
        let segment = Segment { tokens, past: past.clone(), factors, keep: true };
        let forward = decoder.forward(&[segment], &[])?;
        past.extend(forward.kept.into_iter().flatten());
    }
    Ok(())
}
