//! The turns of a prompt: questions and answers, as text or as a conversation.

use crate::python::repr::is_space;
use crate::tokenizer::Message;

/// A message, and what follows it in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub role: &'static str,
    pub content: String,
    pub delimiter: String,
}

impl Turn {
    fn new(role: &'static str, content: String, delimiter: &str) -> Self {
        Self { role, content, delimiter: delimiter.to_owned() }
    }

    pub(super) fn system(content: String) -> Self {
        Self::new("system", content, "")
    }
}

/// Whether two texts meet without white space between them.
fn need_delimiter(head: &str, tail: &str) -> bool {
    !(head.chars().next_back().is_some_and(is_space) || tail.chars().next().is_some_and(is_space))
}

/// Two texts joined; the delimiter comes between them unless one is empty or white space is there.
pub(super) fn join(head: &str, tail: &str, delimiter: &str) -> String {
    let delimiter = if head.is_empty() || tail.is_empty() || !need_delimiter(head, tail) { "" } else { delimiter };
    [head, delimiter, tail].concat()
}

/// A question, and its answer for an example. An answer begins with `gen_prefix`; a question
/// without answer is followed by it alone.
pub(super) fn question(
    text: String,
    answer: Option<&str>,
    gen_prefix: Option<&str>,
    target_delimiter: &str,
    fewshot_delimiter: &str,
) -> Vec<Turn> {
    let prefix = gen_prefix.filter(|prefix| !prefix.is_empty());
    let answer = answer.filter(|answer| !answer.is_empty());
    let delimited = match prefix {
        None => answer.is_some(),
        Some(prefix) => !text.is_empty() && need_delimiter(&text, prefix),
    };
    let mut turns = vec![Turn::new("user", text, if delimited { target_delimiter } else { "" })];
    match (answer, prefix) {
        // Between prefix and answer there is always a blank, whatever the task's delimiter.
        (Some(answer), _) => {
            turns.push(Turn::new("assistant", join(prefix.unwrap_or(""), answer, " "), fewshot_delimiter));
        }
        (None, Some(prefix)) => turns.push(Turn::new("assistant", prefix.to_owned(), "")),
        (None, None) => {}
    }
    turns
}

/// Everything one after the other.
pub(super) fn plain(turns: &[Turn]) -> String {
    turns.iter().flat_map(|turn| [turn.content.as_str(), turn.delimiter.as_str()]).collect()
}

/// The turns as messages. Without `multiturn`, examples and question become one user message; a
/// system message in front and an opened answer at the end stay apart.
pub(super) fn messages(turns: &[Turn], multiturn: bool) -> Vec<Message> {
    let message = |turn: &Turn| Message::new(turn.role, turn.content.clone());
    if multiturn {
        return turns.iter().map(message).collect();
    }
    let (system, rest) = match turns.split_first() {
        Some((first, rest)) if first.role == "system" => (Some(first), rest),
        _ => (None, turns),
    };
    let (answer, asked) = match rest.split_last() {
        Some((last, asked)) if last.role == "assistant" => (Some(last), asked),
        _ => (None, rest),
    };
    let mut asked = asked.to_vec();
    if let Some(last) = asked.last_mut() {
        last.delimiter.clear();
    }
    let mut messages: Vec<Message> = system.map(message).into_iter().collect();
    messages.push(Message::new("user", plain(&asked)));
    messages.extend(answer.map(message));
    messages
}
