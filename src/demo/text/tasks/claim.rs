//! Part of an argument: a claim that the speaker stands for, or a premise that reports facts or the
//! views of others.

use super::task::{Content, DemoTask};
use crate::demo::text::draw::Draw;
use crate::demo::text::sentence::sentence;
use crate::demo::text::words;
use crate::task::Role;

pub(super) const TASK: DemoTask = DemoTask {
    name: "demo_claim",
    role: Role::Unseen,
    about: "part that a sentence plays in an argument",
    labels: &["claim", "premise"],
    prompt: "Is this sentence of a call a claim or a premise?\nSentence: {{text}}",
    write,
};

const VIEWS: &[&str] = &[
    "{a} is in a better place than {b}",
    "the {goods} of {a} are the best in {city}",
    "more weight belongs to {measure} than to {measure} at {a}",
    "the worst is over for {a} and its {unit}",
    "{place} needs more {goods} from {a}",
    "no rival can match the {unit} of {a} in {city}",
];
const FACTS: &[&str] = &[
    "{measure} of {a} {moved} by {percent}",
    "{a} opened a {unit} in {city} in {month}",
    "{b} sold {n} thousand tons of {goods} in {place}",
    "{b} closed its {unit} in {city} in {year}",
    "{a} hired {n} engineers since {month}",
];
/// `{v}` is a view and `{f}` a fact; the speaker stands for the view.
const CLAIMS: &[&str] = &["{v}", "since {f}, {v}", "{f}, so {v}", "{v}, as {f}", "that {f} means that {v}"];
/// The speaker reports what happened, or who holds a view.
const PREMISES: &[&str] = &[
    "{f}",
    "{person} wrote in {month} that {v}",
    "{f} when {person} said that {v}",
    "{f}, and {v} in the words of {person}",
    "{person} was told in {city} that {v}",
];

fn write(label: usize, draw: &mut Draw) -> Content {
    let a = words::company(draw);
    let b = words::other_company(draw, &a);
    let given = [("a", a.as_str()), ("b", b.as_str())];
    let (view, fact) = (draw.pick(VIEWS), draw.pick(FACTS));
    let (view, fact) = (draw.fill(view, &given), draw.fill(fact, &given));
    let template = draw.pick(if label == 0 { CLAIMS } else { PREMISES });
    let core = draw.fill(template, &[("v", &view), ("f", &fact)]);
    let opening =
        if draw.chance(35) { draw.pick(&["as you know, ", "in short, ", "on that point, ", "well, "]) } else { "" };
    Content { fields: vec![("text", sentence(&format!("{opening}{core}")))], core }
}
