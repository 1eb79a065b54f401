//! A central bank's stance: a view on what comes next, of something that would tighten or loosen.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_stance",
    role: Role::Seen,
    about: "stance of a central bank's sentence",
    labels: &["hawkish", "dovish", "neutral"],
    prompt: "Is the central bank hawkish, dovish or neutral here?\nSentence: {{text}}",
    write,
};

/// Steps that tighten.
const TIGHTER: &[&str] =
    &["a rate increase", "a smaller balance sheet", "higher rates", "less lending to banks", "tighter policy"];
/// Steps that loosen.
const LOOSER: &[&str] =
    &["a rate cut", "a larger balance sheet", "easier policy", "lower rates", "more lending to banks"];
/// Who speaks for a step.
const FOR: &[&str] = &[
    "{who} saw a case for {s} in {month}",
    "{who} would support {s} of {n} points",
    "after {event}, {who} called for {s}",
    "{who} said that {s} was overdue in {place}",
    "{who} judged that waiting with {s} until {month} was a risk",
    "{who} found the reasons for {s} stronger than in {month}",
];
/// Who speaks against one.
const AGAINST: &[&str] = &[
    "{who} saw no case for {s} in {month}",
    "{who} would oppose {s} of {n} points",
    "even after {event}, {who} warned against {s}",
    "{who} said that {s} would come too early for {place}",
    "{who} judged that {s} before {month} was a risk",
    "{who} found the reasons for {s} weaker than in {month}",
];
const NEITHER: &[&str] = &[
    "{who} saw no reason to change anything before {month}",
    "{who} said that {s} and {o} were equally likely in {month}",
    "{who} would neither support {s} nor {o} of {n} points",
    "after {event}, {who} wanted more data from {place}",
    "{who} reviewed how {s} had worked in {year}",
    "{who} found the risks balanced between {s} and {o} in {month}",
];
const WHO: &[&str] = &[
    "a majority",
    "most members",
    "one member",
    "several members",
    "the board",
    "the chair",
    "the staff",
    "two members",
];
const ASIDE: &[&str] =
    &["while inflation {moved} in {place}", "and unemployment {moved} to {percent}", "as growth in {place} {moved}"];

fn write(label: usize, draw: &mut Draw) -> Content {
    let tighter = draw.chance(50);
    let template = match label {
        2 => draw.pick(NEITHER),
        // Hawks want what tightens and oppose what loosens.
        _ if (label == 0) == tighter => draw.pick(FOR),
        _ => draw.pick(AGAINST),
    };
    let (step, other) = if tighter { (TIGHTER, LOOSER) } else { (LOOSER, TIGHTER) };
    let (who, step, other) = (draw.pick(WHO), draw.pick(step), draw.pick(other));
    let core = draw.fill(template, &[("who", who), ("s", step), ("o", other)]);
    let text = if draw.chance(40) {
        let aside = draw.pick(ASIDE);
        format!("{core}, {}", draw.fill(aside, &[]))
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text))] }
}
