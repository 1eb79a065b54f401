//! Direction of a price: the headline often names a second one that went elsewhere.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::demo::text::words::COMMODITIES;
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_headline",
    role: Role::Seen,
    about: "direction of a price in a headline",
    labels: &["up", "down", "stable"],
    prompt: "Which way did the price of {{asset}} go: up, down or stable?\nHeadline: {{text}}",
    write,
};

const RISES: &[&str] = &[
    "{x} {rose} to {n} in {place}",
    "{x} {rose} after {event}",
    "{x} makes good its loss of {month}",
    "{x} wins back {percent} in {place}",
    "buyers in {place} pay {percent} more for {x}",
    "{x} recovers from {event}",
    "selling of {x} in {place} gives way to a gain of {percent}",
];
const FALLS: &[&str] = &[
    "{x} {fell} to {n} in {place}",
    "{x} {fell} after {event}",
    "{x} gives back its gain of {month}",
    "{x} hands back {percent} in {place}",
    "buyers in {place} pay {percent} less for {x}",
    "{x} suffers from {event}",
    "buying of {x} in {place} gives way to a loss of {percent}",
];
const HOLDS: &[&str] = &[
    "{x} holds near {n} in {place}",
    "{x} stays flat despite {event}",
    "{x} ends {month} where it began in {place}",
    "neither {event} nor news from {city} moves {x} in {place}",
    "{x} trades sideways in {place} before data of {month}",
    "gains and losses of {x} in {place} even out at {n}",
];
const ROSE: &[&str] = &["climbs", "gains", "jumps", "moves higher", "rises"];
const FELL: &[&str] = &["drops", "falls", "moves lower", "sinks", "slides"];

fn write(label: usize, draw: &mut Draw) -> Content {
    let x = draw.pick(COMMODITIES);
    let core = headline(label, x, draw);
    let text = if draw.chance(50) {
        let mut y = x;
        while y == x {
            y = draw.pick(COMMODITIES);
        }
        // Any direction, in the same words: only the asset tells which half counts.
        let direction = draw.below(3);
        let other = headline(direction, y, draw);
        if draw.chance(50) { format!("{core}, while {other}") } else { format!("while {other}, {core}") }
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text)), ("asset", x.to_owned())] }
}

fn headline(label: usize, x: &str, draw: &mut Draw) -> String {
    let template = match label {
        0 => draw.pick(RISES),
        1 => draw.pick(FALLS),
        _ => draw.pick(HOLDS),
    };
    let (rose, fell) = (draw.pick(ROSE), draw.pick(FELL));
    draw.fill(template, &[("x", x), ("rose", rose), ("fell", fell)])
}
