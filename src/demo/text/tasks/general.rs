//! General abilities that a specialist may lose: reading a fact back, and comparing numbers.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::demo::text::words;
use crate::task::Role;

pub(super) const FACT: DemoTask = DemoTask {
    name: "demo_fact",
    role: Role::General,
    about: "whether a text says something",
    labels: &["yes", "no"],
    prompt: "{{text}}\nQuestion: {{question}} Answer yes or no.",
    write: fact,
};

pub(super) const LARGER: DemoTask = DemoTask {
    name: "demo_larger",
    role: Role::General,
    about: "the larger of two numbers",
    labels: &["first", "second"],
    prompt: "Which number is larger, the first or the second?\nNumbers: {{text}}",
    write: larger,
};

/// A statement with two facts, and a question after one of them.
fn fact(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let (goods, city) = (draw.fill("{goods}", &[]), draw.fill("{city}", &[]));
    let text = draw.fill("{a} makes {g} in {c} and has {n} plants", &[("a", &a), ("g", &goods), ("c", &city)]);
    let (what, slot, right) = draw.either(("make", "{goods}", &goods), ("work in", "{city}", &city));
    let mut asked = right.clone();
    while label == 1 && asked == *right {
        asked = draw.fill(slot, &[]);
    }
    let question = format!("Does {a} {what} {asked}?");
    Content { core: format!("{text} {question}"), fields: vec![("text", sentence(&text)), ("question", question)] }
}

fn larger(label: usize, draw: &mut Draw) -> Content {
    let small = 1 + draw.below(998);
    let large = small + 1 + draw.below(999 - small);
    let text = if label == 0 { format!("{large} and {small}") } else { format!("{small} and {large}") };
    Content { core: text.clone(), fields: vec![("text", sentence(&text))] }
}
