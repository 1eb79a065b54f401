//! General instructions: the part of instruction following that a small model can learn.

use super::draw::Draw;
use super::sentence::sentence;
use super::words::{self, CITIES, COMMODITIES, MONTHS};

/// Kinds of instructions.
pub(super) const KINDS: usize = 10;

fn word(draw: &mut Draw) -> String {
    let list = [COMMODITIES, CITIES, MONTHS][draw.below(3)];
    draw.pick(list).to_owned()
}

/// An instruction of a kind, and its answer.
pub(super) fn write(kind: usize, draw: &mut Draw) -> (String, String) {
    let (a, b, c) = (word(draw), word(draw), word(draw));
    match kind % KINDS {
        0 => (format!("Copy this word: {a}"), a),
        1 => (format!("Write these two words in reverse order: {a} {b}"), format!("{b} {a}")),
        2 => {
            let count = 1 + draw.below(7);
            let list: Vec<String> = (0..count).map(|_| word(draw)).collect();
            (format!("How many words are in this list? {}", list.join(", ")), count.to_string())
        }
        3 => {
            let (m, n) = (1 + draw.below(999), 1 + draw.below(999));
            (format!("Write the larger number: {m} or {n}"), m.max(n).to_string())
        }
        4 => (format!("Write this word in capital letters: {a}"), a.to_uppercase()),
        5 => (format!("Write the first word of this list: {a}, {b}, {c}"), a),
        6 => (format!("Write the last word of this list: {a}, {b}, {c}"), c),
        7 => {
            let n = 1 + draw.below(998);
            (format!("Which number comes after {n}?"), (n + 1).to_string())
        }
        8 => {
            let company = words::company(draw);
            let city = draw.pick(CITIES);
            let text = draw.fill("{a} opened a {unit} in {c} in {month}", &[("a", &company), ("c", city)]);
            if draw.chance(50) {
                (format!("{}\nIn which city?", sentence(&text)), city.to_owned())
            } else {
                (format!("{}\nWhich company?", sentence(&text)), company)
            }
        }
        _ => {
            let first = draw.chance(50);
            let answer = if first { &a } else { &b };
            let which = if first { "first" } else { "second" };
            (format!("Repeat only the {which} of these words: {a} {b}"), answer.clone())
        }
    }
}
