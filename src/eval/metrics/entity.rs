//! Named entities in answers: PIXIU's projection onto words or tags, and seqeval's entities.

use std::collections::BTreeSet;

use super::tally::DocumentValue;

/// The BIO tags that an answer of "entity, TYPE" lines gives to the words of a text.
///
/// PIXIU's rule to the letter: words are split at white space and taken to stand one blank apart;
/// every occurrence of the entity's text is tagged from the first word that begins at or after it; an
/// occurrence that reaches into the last word finds no word after it and is not tagged.
#[must_use]
pub(crate) fn tags_from_pairs(answer: &str, text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut tags = vec!["O".to_owned(); words.len()];
    // Offsets count characters, as Python's do.
    let characters: Vec<char> = text.chars().collect();
    let mut starts = vec![0_usize];
    for word in words.iter().take(words.len().saturating_sub(1)) {
        starts.push(starts.last().copied().unwrap_or(0) + word.chars().count() + 1);
    }
    for line in answer.split('\n') {
        let Some((entity, kind)) = line.rsplit_once(", ") else { continue };
        let wanted: Vec<char> = entity.chars().collect();
        if wanted.is_empty() {
            continue;
        }
        let mut at = 0;
        while let Some(found) = find(&characters, &wanted, at) {
            let end = found + wanted.len() - 1;
            let first = starts.iter().position(|&start| start >= found);
            let behind = starts.iter().position(|&start| start > end);
            if let (Some(first), Some(behind)) = (first, behind) {
                if let Some(tag) = tags.get_mut(first) {
                    *tag = format!("B-{kind}");
                }
                for tag in tags.iter_mut().take(behind).skip(first + 1) {
                    *tag = format!("I-{kind}");
                }
            }
            at = end + 1;
        }
    }
    tags
}

fn find(text: &[char], wanted: &[char], from: usize) -> Option<usize> {
    (from..(text.len() + 1).saturating_sub(wanted.len())).find(|&at| text[at..].starts_with(wanted))
}

/// The tags that an answer of "token:tag" lines gives to tokens: a line counts when it stands at its
/// token's place, names it and has a known tag; all else is `O`.
#[must_use]
pub(crate) fn tags_from_lines(answer: &str, tokens: &[String], known: &BTreeSet<String>) -> Vec<String> {
    let mut tags = vec!["O".to_owned(); tokens.len()];
    for ((line, token), tag) in answer.split('\n').zip(tokens).zip(&mut tags) {
        let mut parts = line.split(':');
        if let (Some(word), Some(label), None) = (parts.next(), parts.next(), parts.next())
            && word == token
            && known.contains(label)
        {
            label.clone_into(tag);
        }
    }
    tags
}

/// Entities of a tag sequence as (type, first, last), by seqeval's default rules for BIO: an `I-` that
/// continues nothing begins an entity, and so does a change of type.
#[must_use]
pub(crate) fn entities(tags: &[String]) -> BTreeSet<(String, usize, usize)> {
    let mut found = BTreeSet::new();
    let mut open: Option<(&str, usize)> = None;
    for (index, tag) in tags.iter().enumerate() {
        let (prefix, kind) = split(tag);
        let begins = match prefix {
            'B' | 'S' => true,
            'I' | 'E' => open.is_none_or(|(running, _)| running != kind),
            _ => false,
        };
        if (begins || prefix == 'O')
            && let Some((kind, first)) = open.take()
        {
            found.insert((kind.to_owned(), first, index - 1));
        }
        if begins {
            open = Some((kind, index));
        }
    }
    if let Some((kind, first)) = open {
        found.insert((kind.to_owned(), first, tags.len() - 1));
    }
    found
}

fn split(tag: &str) -> (char, &str) {
    let mut characters = tag.chars();
    let prefix = characters.next().unwrap_or('O');
    let rest = characters.as_str();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (prefix, if kind.is_empty() { "_" } else { kind })
}

/// Counts of a document for entity F1.
#[must_use]
pub(crate) fn entity_counts(predicted: &[String], gold: &[String]) -> DocumentValue {
    let (predicted, gold) = (entities(predicted), entities(gold));
    DocumentValue::Entities {
        correct: predicted.intersection(&gold).count() as u32,
        predicted: predicted.len() as u32,
        gold: gold.len() as u32,
    }
}
