//! Selection of few-shot examples.
//!
//! The default sampler draws from one generator per task in document order, so that the examples of
//! a document depend on how many came before it, exactly as in the harness. Two things differ: a
//! document is never shown to itself, whatever the splits are called, and what replaces it is drawn
//! from a generator of its own, so that all other documents keep the harness's examples.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::Sampler;
use super::error::TaskError;
use super::row::Doc;
use crate::python::random::PythonRandom;

/// Picks examples, document after document.
pub(super) struct FewShot<'a> {
    pool: &'a [Doc],
    /// Labels of the pool's documents, for the balanced sampler.
    labels: Vec<String>,
    sampler: Sampler,
    seed: u64,
    random: PythonRandom,
    /// The harness excludes the evaluated document itself.
    excludes: bool,
    task: &'a str,
    /// Documents that the harness would have shown themselves.
    pub replaced: usize,
}

impl<'a> FewShot<'a> {
    pub(super) fn new(
        task: &'a str,
        pool: &'a [Doc],
        sampler: Sampler,
        seed: u64,
        excludes: bool,
        label: impl Fn(usize, &Doc) -> Result<Value, TaskError>,
    ) -> Result<Self, TaskError> {
        let labels = match sampler {
            Sampler::Balanced => {
                let labels = pool.iter().enumerate().map(|(i, doc)| label(i, doc).map(|v| v.to_string()));
                labels.collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        let random = PythonRandom::new(seed);
        Ok(Self { pool, labels, sampler, seed, random, excludes, task, replaced: 0 })
    }

    /// Places of the examples for a document.
    pub(super) fn sample(&mut self, n: usize, id: usize, doc: &Doc) -> Result<Vec<usize>, TaskError> {
        match self.sampler {
            _ if n == 0 => Ok(Vec::new()),
            Sampler::Default => self.random(n, id, doc),
            Sampler::FirstN => {
                let others = self.others(doc);
                let chosen: Vec<usize> = others.iter().copied().take(n).collect();
                if !self.excludes && self.pool.iter().take(n).any(|shown| shown == doc) {
                    self.replaced += 1;
                }
                if chosen.len() < n { Err(self.too_few(n, others.len())) } else { Ok(chosen) }
            }
            Sampler::Balanced => self.balanced(n, id, doc),
        }
    }

    /// Passes over a document that is not asked, so that those after it get the examples of a full run.
    pub(super) fn skip(&mut self, n: usize, id: usize, doc: &Doc) -> Result<(), TaskError> {
        if n > 0 && self.sampler == Sampler::Default {
            let replaced = self.replaced;
            self.random(n, id, doc)?;
            self.replaced = replaced;
        }
        Ok(())
    }

    fn too_few(&self, wanted: usize, available: usize) -> TaskError {
        TaskError::FewShotPool { task: self.task.to_owned(), wanted, available }
    }

    fn others(&self, doc: &Doc) -> Vec<usize> {
        (0..self.pool.len()).filter(|i| self.pool.get(*i) != Some(doc)).collect()
    }

    fn random(&mut self, n: usize, id: usize, doc: &Doc) -> Result<Vec<usize>, TaskError> {
        // One more than wanted where the document may be among them.
        let drawn = n + usize::from(self.excludes);
        let Some(mut chosen) = self.random.sample(self.pool.len(), drawn) else {
            return Err(self.too_few(drawn, self.pool.len()));
        };
        let before = chosen.len();
        chosen.retain(|i| self.pool.get(*i) != Some(doc));
        if self.excludes {
            chosen.truncate(n);
            if chosen.len() < n {
                let others = self.others(doc);
                let again = self.random.sample(others.len(), n).ok_or_else(|| self.too_few(n, others.len()))?;
                chosen = again.into_iter().filter_map(|i| others.get(i).copied()).collect();
            }
        } else if chosen.len() < before {
            self.replaced += 1;
            let mut rest = self.others(doc);
            rest.retain(|i| !chosen.contains(i));
            let missing = n - chosen.len();
            let mut own = self.own_random(id);
            let more = own.sample(rest.len(), missing).ok_or_else(|| self.too_few(n, rest.len() + chosen.len()))?;
            chosen.extend(more.into_iter().filter_map(|i| rest.get(i).copied()));
        }
        Ok(chosen)
    }

    /// Equal shares of all labels, what remains to labels drawn at random, in random order.
    fn balanced(&mut self, n: usize, id: usize, doc: &Doc) -> Result<Vec<usize>, TaskError> {
        let mut random = self.own_random(id);
        let others = self.others(doc);
        if others.len() < n {
            return Err(self.too_few(n, others.len()));
        }
        let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for i in others {
            by_label.entry(self.labels.get(i).map_or("", String::as_str)).or_default().push(i);
        }
        let mut piles: Vec<Vec<usize>> = by_label.into_values().collect();
        for pile in &mut piles {
            random.shuffle(pile);
        }
        random.shuffle(&mut piles);
        let mut chosen = Vec::with_capacity(n);
        while chosen.len() < n {
            for pile in &mut piles {
                if chosen.len() < n {
                    chosen.extend(pile.pop());
                }
            }
        }
        random.shuffle(&mut chosen);
        Ok(chosen)
    }

    /// A generator of this document alone.
    fn own_random(&self, id: usize) -> PythonRandom {
        PythonRandom::new(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(id as u64 + 1))
    }
}
