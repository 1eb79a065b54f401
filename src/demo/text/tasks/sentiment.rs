//! Sentiment of news about a company: the direction alone does not say it, nor does the measure.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::demo::text::words::{self, BAD_MEASURES, DOWN, GOOD_MEASURES, UP};
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_sentiment",
    role: Role::Seen,
    about: "tone of a statement for a company",
    labels: &["positive", "negative", "neutral"],
    prompt: "Is this news positive, negative or neutral for {{company}}?\nNews: {{text}}",
    write,
};

const MOVES: &[&str] = &[
    "{m} of {a} {v} by {percent} in {period}",
    "{a} said that {m} {v} in {period}",
    "in {period}, {m} at {a} {v} more than planned",
    "at {a}, {m} {v} for the third year in a row",
    "{a} expects that {m} will have {p} by {month}",
    "analysts noted that {m} of {a} {v} again in {month}",
];
const LEVEL: &[&str] = &[
    "{m} of {a} did not change in {period}",
    "{a} said that {m} stayed at the level of {year}",
    "{a} will report {m} for {period} in {month}",
    "in {period}, {m} at {a} came in as in {year}",
];
const GOOD: &[&str] = &[
    "{a} won an order for {goods} from {b}",
    "a court in {city} dismissed the claims of {b} against {a}",
    "{a} avoided a fine of {amount} in {city}",
    "{b} will not leave {a} as a customer for {goods}",
    "the delay of {n} weeks at the {city} plant of {a} is over",
];
const BAD: &[&str] = &[
    "{a} lost an order for {goods} to {b}",
    "a court in {city} upheld the claims of {b} against {a}",
    "{a} must pay a fine of {amount} in {city}",
    "{b} will leave {a} as a customer for {goods}",
    "the {city} plant of {a} faces a delay of {n} weeks",
];
const PLAIN: &[&str] = &[
    "{a} named {person} as head of its office in {city}",
    "{a} will hold its annual meeting in {city} in {month}",
    "{a} has {n} plants and makes {goods}",
    "{a} moved its annual report from {month} to {month}",
];
const ASIDE: &[&str] =
    &["while {measure} at {b} {moved}", "and {measure} of {b} {moved} by {percent}", "as {measure} {moved} at {b}"];

fn write(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let b = words::other_company(draw, &a);
    // Events without a direction, in four of ten.
    let (template, measures, up): (_, &[&'static str], _) = match (label, draw.chance(40)) {
        (0, true) => (draw.pick(GOOD), &[], true),
        (1, true) => (draw.pick(BAD), &[], true),
        (2, true) => (draw.pick(PLAIN), &[], true),
        (2, false) => (draw.pick(LEVEL), draw.either(GOOD_MEASURES, BAD_MEASURES), true),
        (_, false) if draw.chance(50) => (draw.pick(MOVES), GOOD_MEASURES, label == 0),
        _ => (draw.pick(MOVES), BAD_MEASURES, label == 1),
    };
    let (verb, participle) = if up {
        (draw.pick(UP), draw.pick(&["grown", "increased", "risen"]))
    } else {
        (draw.pick(DOWN), draw.pick(&["decreased", "dropped", "fallen"]))
    };
    let measure = draw.pick(measures);
    let core = draw.fill(template, &[("a", &a), ("b", &b), ("m", measure), ("v", verb), ("p", participle)]);
    let text = if draw.chance(45) {
        let aside = draw.pick(ASIDE);
        format!("{core}, {}", draw.fill(aside, &[("b", &b)]))
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text)), ("company", a)] }
}
