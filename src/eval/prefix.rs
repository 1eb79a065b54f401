//! Plan of the token prefixes of a set of prompts that are worth computing once.
//!
//! Prompts of one task begin alike: the instruction, the few-shot examples. Sorted, prompts that share
//! a prefix stand side by side, so the prefixes form a tree over ranges of the sorted list. The plan
//! depends on the set of prompts only; scores do not depend on the plan at all.

use std::ops::Range;

/// A prefix shorter than this is cheaper to compute again than to run apart: one pass streams every
/// weight, which costs about as much as some dozens of tokens.
const LEAST_TOKENS: usize = 32;
/// Tokens that a prefix must save over all its prompts.
const LEAST_SAVED: usize = 128;

/// Consecutive tokens that several prompts have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The shared prefix that this one continues.
    pub(super) parent: Option<usize>,
    /// A prompt that has it.
    pub(super) prompt: usize,
    /// Tokens of the prefix in that prompt.
    pub(super) tokens: Range<usize>,
    /// Number of prompts that have it.
    pub(super) prompts: usize,
}

/// Shared prefixes, parents before children, and the longest one of each prompt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PrefixPlan {
    pub(super) prefixes: Vec<Prefix>,
    pub(super) of_prompt: Vec<Option<usize>>,
}

/// Plans over sorted prompts. Prompts of different `kind` never share; the last token of a prompt is
/// never part of a prefix, since its own row is what is asked for.
pub(super) fn plan<K: PartialEq>(prompts: &[(K, &[u32])]) -> PrefixPlan {
    let mut plan = PrefixPlan { prefixes: Vec::new(), of_prompt: vec![None; prompts.len()] };
    let common: Vec<usize> =
        (0..prompts.len()).map(|i| if i == 0 { 0 } else { shared(&prompts[i - 1], &prompts[i]) }).collect();
    let mut open = vec![(0..prompts.len(), 0, None)];
    while let Some((range, mut depth, mut parent)) = open.pop() {
        if range.len() < 2 {
            continue;
        }
        let inner = range.start + 1..range.end;
        let length = common[inner.clone()].iter().copied().min().unwrap_or(0);
        let gain = length - depth;
        if gain >= LEAST_TOKENS && gain * (range.len() - 1) >= LEAST_SAVED {
            let prefix = Prefix { parent, prompt: range.start, tokens: depth..length, prompts: range.len() };
            parent = Some(plan.prefixes.len());
            plan.of_prompt[range.clone()].fill(parent);
            plan.prefixes.push(prefix);
            depth = length;
        }
        // Neighbours that share no more than all do part here. A child's prefix is longer than
        // `length`, so the walk ends.
        let mut start = range.start;
        for split in inner.filter(|&i| common[i] == length).chain([range.end]) {
            open.push((start..split, depth, parent));
            start = split;
        }
    }
    plan
}

/// Tokens that two prompts have in common, but for the last of each.
fn shared<K: PartialEq>((a_kind, a): &(K, &[u32]), (b_kind, b): &(K, &[u32])) -> usize {
    if a_kind != b_kind {
        return 0;
    }
    let most = a.len().min(b.len()).saturating_sub(1);
    a.iter().zip(*b).take(most).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prompt(parts: &[(u32, usize)]) -> Vec<u32> {
        parts.iter().flat_map(|&(token, count)| std::iter::repeat_n(token, count)).collect()
    }

    #[test]
    fn an_instruction_and_the_examples_after_it_become_a_chain() {
        let mut prompts: Vec<Vec<u32>> = Vec::new();
        for few_shot in 0..2 {
            for document in 0..10 {
                prompts.push(prompt(&[(1, 50), (2 + few_shot, 40), (100 + document, 20)]));
            }
        }
        let sorted: Vec<((), &[u32])> = prompts.iter().map(|p| ((), p.as_slice())).collect();
        let plan = plan(&sorted);
        let ranges: Vec<_> = plan.prefixes.iter().map(|p| (p.parent, p.tokens.clone(), p.prompts)).collect();
        assert_eq!(ranges.len(), 3);
        assert_eq!(ranges[0], (None, 0..50, 20));
        assert!(ranges[1..].iter().all(|range| *range == (Some(0), 50..90, 10)));
        assert_ne!(plan.of_prompt[0], plan.of_prompt[19]);
    }

    #[test]
    fn short_or_rare_prefixes_are_left_alone() {
        let (a, b) = (prompt(&[(1, 31), (2, 5)]), prompt(&[(1, 31), (3, 5)]));
        assert!(plan(&[((), &a), ((), &b)]).prefixes.is_empty());
        let long = prompt(&[(1, 300)]);
        assert_eq!(plan(&[(0, &long), (1, &long)]).prefixes, [], "kinds never share");
    }

    proptest! {
        /// Every prompt's prefixes spell out the beginning of that prompt and leave its last token.
        #[test]
        fn chains_spell_prefixes(mut prompts in prop::collection::vec(prop::collection::vec(0_u32..2, 0..9), 1..40)) {
            // Stretch each token so that the thresholds are passed.
            for prompt in &mut prompts {
                *prompt = prompt.iter().flat_map(|&token| std::iter::repeat_n(token, 33)).collect();
            }
            prompts.sort();
            let sorted: Vec<((), &[u32])> = prompts.iter().map(|p| ((), p.as_slice())).collect();
            let plan = plan(&sorted);
            for (prompt, mut node) in prompts.iter().zip(plan.of_prompt.iter().copied()) {
                let mut end = None;
                while let Some(index) = node {
                    let prefix = &plan.prefixes[index];
                    prop_assert!(prefix.parent.is_none_or(|parent| parent < index));
                    prop_assert_eq!(&prompts[prefix.prompt][prefix.tokens.clone()], &prompt[prefix.tokens.clone()]);
                    prop_assert!(prefix.tokens.end < prompt.len());
                    prop_assert!(end.is_none_or(|end| end == prefix.tokens.end));
                    end = Some(prefix.tokens.start);
                    node = prefix.parent;
                }
                prop_assert!(end.is_none_or(|end| end == 0));
            }
        }
    }
}
