//! Relation of one company to another: both orders and both voices occur, so order alone says nothing.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::demo::text::words;
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_relation",
    role: Role::Seen,
    about: "relation between two companies",
    labels: &["owner", "subsidiary", "supplier", "customer", "competitor", "partner"],
    prompt: "What is {{entity1}} to {{entity2}}: owner, subsidiary, supplier, customer, competitor or partner?\n\
        Sentence: {{text}}",
    write,
};

/// `{x}` owns `{y}`.
const OWNS: &[&str] = &[
    "{x} holds {n} percent of {y}",
    "{y} belongs to {x} since {year}",
    "{x} took over {y} in {year}",
    "{y} sends its profit of {amount} to its parent {x}",
    "the board of {y} in {city} is chosen by {x}",
    "{x} lists {y} among its group companies",
];
/// `{x}` sells to `{y}`.
const SELLS: &[&str] = &[
    "{x} delivers {goods} to {y}",
    "{y} buys {goods} from {x}",
    "{y} paid {x} {amount} for {goods}",
    "the {city} plant of {y} runs on {goods} made by {x}",
    "{x} billed {y} for {goods} in {month}",
    "{y} ordered {goods} at {x} in {month}",
];
/// The same both ways.
const RIVALS: &[&str] = &[
    "{x} and {y} fight for buyers of {goods} in {city}",
    "{x} lost {percent} of its buyers of {goods} to {y}",
    "both {x} and {y} bid for the same {unit} in {month}",
    "{x} cut prices of {goods} in answer to {y}",
    "in {city}, {x} sells the {goods} that {y} sells too",
];
const PARTNERS: &[&str] = &[
    "{x} and {y} build {goods} together in {city}",
    "{x} shares its {unit} with {y} since {year}",
    "engineers of {x} and {y} develop {goods} side by side",
    "{x} set up a joint venture for {goods} with {y}",
    "together with {y}, {x} will open a {unit} in {city}",
];
const ASIDE: &[&str] =
    &["while {company} makes {goods}", "as {measure} at {company} {moved}", "{person} of {company} said"];

fn write(label: usize, draw: &mut Draw) -> Content {
    let entity1 = words::company(draw);
    let entity2 = words::other_company(draw, &entity1);
    // Which of the two the template calls `x`.
    let (templates, first) = match label {
        0 => (OWNS, true),
        1 => (OWNS, false),
        2 => (SELLS, true),
        3 => (SELLS, false),
        4 => (RIVALS, draw.chance(50)),
        _ => (PARTNERS, draw.chance(50)),
    };
    let (x, y) = if first { (&entity1, &entity2) } else { (&entity2, &entity1) };
    let template = draw.pick(templates);
    let core = draw.fill(template, &[("x", x), ("y", y)]);
    let text = if draw.chance(35) {
        let aside = draw.pick(ASIDE);
        format!("{core}, {}", draw.fill(aside, &[]))
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text)), ("entity1", entity1), ("entity2", entity2)] }
}
