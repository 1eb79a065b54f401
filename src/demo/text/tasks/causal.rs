//! Whether a sentence says that one thing made another happen, or only reports two.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::demo::text::words::{self, DOWN, UP};
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_causal",
    role: Role::Unseen,
    about: "whether a sentence states a cause",
    labels: &["causal", "noise"],
    prompt: "Does this sentence state a cause? Answer causal or noise.\nSentence: {{text}}",
    write,
};

const CAUSAL: &[&str] = &[
    "{m} of {a} {v} because of {event}",
    "{event} made {a} close its {unit} in {city}",
    "{event} had a part in how {m} of {a} {v}",
    "{a} sees a link between {event} and {m} in {period}",
    "without {event}, {a} would have kept its {unit} in {city}",
    "{m} of {a} {v} in {period}, which {b} puts down to {event}",
    "{a} closed its {unit} in {city} owing to {event}",
];
const NOISE: &[&str] = &[
    "{m} of {a} {v} in {period}, and so did {measure}",
    "{a} closed its {unit} in {city} before {event}",
    "{event} had no part in how {m} of {a} {v}",
    "{a} sees no link between {event} and {m} in {period}",
    "even without {event}, {a} would have closed its {unit} in {city}",
    "{m} of {a} {v} in {period}, when {b} reported {event}",
    "nobody knows whether {m} of {a} {v} because of {event}",
    "{a} is still owing {amount} to {b} for its {unit} in {city}",
];

fn write(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let b = words::other_company(draw, &a);
    let verb = if draw.chance(50) { draw.pick(UP) } else { draw.pick(DOWN) };
    let measure = if draw.chance(50) { draw.pick(words::GOOD_MEASURES) } else { draw.pick(words::BAD_MEASURES) };
    let template = draw.pick(if label == 0 { CAUSAL } else { NOISE });
    let core = draw.fill(template, &[("a", &a), ("b", &b), ("v", verb), ("m", measure)]);
    let text = if draw.chance(35) {
        let aside = draw.pick(&["{person} said", "{person} of {b} wrote in {month}"]);
        format!("{core}, {}", draw.fill(aside, &[("b", &b)]))
    } else {
        core.clone()
    };
    Content { core, fields: vec![("text", sentence(&text))] }
}
