//! Whether a purchase is done: what it is and whether it is so decide together.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
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

/// The deal, in words that say nothing about its state.
const DEALS: &[&str] = &[
    "the purchase of {b} by {a}",
    "the sale of the {unit} in {city} to {a}",
    "the bid of {a} for {b}",
    "the takeover of {b} for {amount}",
    "the sale of {percent} of {b} to {a}",
];
const DONE: &[&str] = &["closed", "paid", "settled", "signed", "through"];
const OPEN: &[&str] = &["in doubt", "mere talk", "open", "under review", "unsigned"];
const SO: &[&str] = &["already", "at last", "by now", "now"];
const NOT_SO: &[&str] = &["anything but", "by no means", "in no way", "no longer", "not"];
/// Whole sentences, of either state.
const COMPLETE: &[&str] = &[
    "{a} confirmed that it owns {b} since {month}",
    "{b} handed its {unit} in {city} over to {a}",
    "what was a rumour in {month} is done: {b} went to {a}",
];
const RUMOUR: &[&str] = &[
    "{a} denied that it owns {b} since {month}",
    "{b} may hand its {unit} in {city} over to {a}",
    "what {a} had confirmed in {month} is a rumour again: {b} did not sell",
];
const ASIDE: &[&str] =
    &["while {measure} of {b} {moved}", "{person} reported from {city}", "as {measure} at {a} {moved}"];

fn write(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let b = words::other_company(draw, &a);
    let core = if draw.chance(30) {
        let template = draw.pick(if label == 0 { COMPLETE } else { RUMOUR });
        draw.fill(template, &[("a", &a), ("b", &b)])
    } else {
        // Complete is what is done, or not open: neither word says it alone.
        let so = draw.chance(50);
        let states = if so == (label == 0) { DONE } else { OPEN };
        let modes = if so { SO } else { NOT_SO };
        let (deal, mode, state) = (draw.pick(DEALS), draw.pick(modes), draw.pick(states));
        draw.fill(&format!("{deal} is {mode} {state}"), &[("a", &a), ("b", &b)])
    };
    let text = if draw.chance(35) {
        let aside = draw.pick(ASIDE);
        format!("{core}, {}", draw.fill(aside, &[("a", &a), ("b", &b)]))
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text))] }
}
