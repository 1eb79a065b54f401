//! Part of an argument: a claim about what will be or should be thought, or a premise that reports.

use super::{Content, DemoTask};
use crate::demo::text::draw::{Draw, sentence};
use crate::demo::text::words::{self, DOWN, UP};
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_claim",
    role: Role::Unseen,
    about: "part that a sentence plays in an argument",
    labels: &["claim", "premise"],
    prompt: "Is this sentence of a call a claim or a premise?\nSentence: {{text}}",
    write,
};

const CLAIMS: &[&str] = &[
    "we believe {a} is in a better place than {b}",
    "our {goods} are the best in {city}",
    "{measure} should matter more than {measure} to {a}",
    "{a} will be a leader in {goods} by {year}",
    "no rival can match our {unit} in {city}",
    "the worst is behind {a} and its {unit}",
    "it is clear that {place} needs more {goods} from us",
];
const PREMISES: &[&str] = &[
    "{measure} of {a} {v} by {percent} in {period}",
    "we opened a {unit} in {city} in {month}",
    "{a} sold {n} thousand tons of {goods} in {place}",
    "{b} closed its {unit} in {city} in {year}",
    "we hired {n} engineers for {goods} since {month}",
    "buyers who believe in {a} took {percent} of its {goods}",
    "the better {unit} of {a} made {amount} in {period}",
];

fn write(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let b = words::other_company(draw, &a);
    let verb = if draw.chance(50) { draw.pick(UP) } else { draw.pick(DOWN) };
    let template = draw.pick(if label == 0 { CLAIMS } else { PREMISES });
    let core = draw.fill(template, &[("a", &a), ("b", &b), ("v", verb)]);
    let opening =
        if draw.chance(35) { draw.pick(&["as you know, ", "in short, ", "on that point, ", "well, "]) } else { "" };
    Content { fields: vec![("text", sentence(&format!("{opening}{core}")))], core }
}
