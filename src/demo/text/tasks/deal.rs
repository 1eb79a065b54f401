//! Whether a purchase is done: words of rumour and of completion occur on both sides.

use super::{Content, DemoTask};
use crate::demo::text::draw::{Draw, sentence};
use crate::demo::text::words;
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_deal",
    role: Role::Unseen,
    about: "whether a deal is complete or a rumour",
    labels: &["complete", "rumour"],
    prompt: "Is this deal complete or a rumour?\nReport: {{text}}",
    write,
};

const COMPLETE: &[&str] = &[
    "{a} has bought the {unit} of {b} for {amount}",
    "{b} handed its {unit} in {city} over to {a} in {month}",
    "the {unit} in {city} is now part of {a}",
    "after months of talk, {a} closed the purchase of {b}",
    "{a} paid {amount} for {b} on a day in {month}",
    "what was a rumour in {month} is done: {b} went to {a}",
    "shares of {b} no longer trade since {a} took it over",
];
const RUMOUR: &[&str] = &[
    "{a} may buy the {unit} of {b} for {amount}",
    "{b} is said to think of a sale of its {unit} to {a}",
    "people close to {a} speak of a bid for the {unit} in {city}",
    "{a} could complete a purchase of {b} by {month}",
    "{a} would not say whether it will pay {amount} for {b}",
    "a paper in {city} writes that {a} looks at {b}",
    "shares of {b} jumped on talk that {a} wants it",
];
const ASIDE: &[&str] =
    &["while {measure} of {b} {moved}", "{person} reported from {city}", "as {measure} at {a} {moved}"];

fn write(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let b = words::other_company(draw, &a);
    let template = draw.pick(if label == 0 { COMPLETE } else { RUMOUR });
    let core = draw.fill(template, &[("a", &a), ("b", &b)]);
    let text = if draw.chance(35) {
        let aside = draw.pick(ASIDE);
        format!("{core}, {}", draw.fill(aside, &[("a", &a), ("b", &b)]))
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text))] }
}
