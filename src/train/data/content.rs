//! Content of a row that is to be learnt, before tokenisation.

use serde_json::{Map, Value};

/// Content of a row that is to be learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A completion of a prompt; `scored` where an evaluation scores it as it stands here.
    Pair { prompt: String, completion: String, closing: Closing, scored: bool },
    /// Conversation whose assistant turns are learnt.
    Chat(Conversation),
    /// All of a text.
    Text(String),
    /// Tokens that the file itself marks as trained or not.
    Tokens { tokens: Vec<u32>, trained: Vec<bool> },
}

/// Ending of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// With the EOS token.
    Eos,
    /// As the chat template ends the assistant's turn.
    Turn,
}

/// Messages, and what stands beside them for the chat template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conversation {
    pub turns: Vec<Turn>,
    /// `tools`, `documents` and arguments of the template.
    pub variables: Map<String, Value>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// All keys that the template sees: `role`, `content` (a text or null) and whatever else there is.
    pub message: Map<String, Value>,
    /// Whether what it says carries loss.
    pub trained: bool,
    /// The key that takes the loss off it, where the row has one.
    pub silenced: Option<String>,
}

impl Turn {
    /// A plain message; the assistant's carry loss.
    pub(crate) fn new(role: &str, content: impl Into<String>) -> Self {
        let mut message = Map::new();
        message.insert("role".to_owned(), role.into());
        message.insert("content".to_owned(), content.into().into());
        Self { message, trained: role == "assistant", silenced: None }
    }

    pub(crate) fn role(&self) -> &str {
        self.message.get("role").and_then(Value::as_str).expect("a turn is made with its role")
    }

    /// The text; none where it is null, as beside tool calls.
    pub(crate) fn content(&self) -> Option<&str> {
        self.message.get("content").and_then(Value::as_str)
    }

    pub(crate) fn set_content(&mut self, content: impl Into<Value>) {
        self.message.insert("content".to_owned(), content.into());
    }

    pub(crate) fn is_system(&self) -> bool {
        matches!(self.role(), "system" | "developer")
    }
}

impl Conversation {
    pub(crate) fn of(turns: Vec<Turn>) -> Self {
        Self { turns, variables: Map::new() }
    }

    /// Takes the loss off all turns before a place.
    pub(crate) fn train_from(&mut self, first: usize) {
        self.turns.iter_mut().take(first).for_each(|turn| turn.trained = false);
    }

    /// Messages of the system in front.
    fn systems(&self) -> usize {
        self.turns.iter().take_while(|turn| turn.is_system()).count()
    }

    /// The same with the system's text before that of the first user turn, a blank line between them;
    /// none without both.
    pub(crate) fn with_system_prepended(&self) -> Option<Self> {
        let systems = self.systems();
        let (before, others) = self.turns.split_at_checked(systems)?;
        let mut turns = others.to_vec();
        let user = turns.iter_mut().find(|turn| turn.role() == "user")?;
        let asked = user.content()?.to_owned();
        let texts: Vec<&str> = before.iter().filter_map(Turn::content).chain([asked.as_str()]).collect();
        user.set_content(texts.join("\n\n"));
        (systems > 0).then(|| Self { turns, variables: self.variables.clone() })
    }

    /// The conversation with ever fewer rounds: first as it is without what follows the last trained turn,
    /// then without the first round, and so on. A round begins with a message of the user; system messages
    /// stay, and so does the round of the last trained turn.
    pub(crate) fn shorter(&self) -> impl Iterator<Item = Self> {
        let last = self.turns.iter().rposition(|turn| turn.trained).unwrap_or(0);
        let systems = self.systems();
        let begins = move |place: &usize| {
            let user = |place: usize| self.turns.get(place).is_some_and(|turn| turn.role() == "user");
            // Two messages of the user in a row are one round.
            user(*place) && !user(place - 1)
        };
        let starts = (systems + 1..=last).filter(begins);
        std::iter::once(systems).chain(starts).map(move |start| {
            let kept =
                self.turns.iter().enumerate().filter(|(place, _)| *place < systems || (start..=last).contains(place));
            Self { turns: kept.map(|(_, turn)| turn.clone()).collect(), variables: self.variables.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(roles: &[&str]) -> Conversation {
        Conversation::of(roles.iter().enumerate().map(|(i, role)| Turn::new(role, i.to_string())).collect())
    }

    fn contents(conversation: &Conversation) -> String {
        conversation.turns.iter().filter_map(Turn::content).collect()
    }

    #[test]
    fn a_long_conversation_loses_whole_rounds() {
        let roles = ["system", "user", "assistant", "user", "user", "assistant", "tool", "assistant", "user"];
        let shorter: Vec<String> = conversation(&roles).shorter().map(|c| contents(&c)).collect();
        // The last question has no answer, and the answer of the last round is never cut from its question.
        assert_eq!(shorter, ["01234567", "034567"]);
        assert_eq!(conversation(&["user", "assistant"]).shorter().count(), 1);
    }

    #[test]
    fn a_system_text_is_put_before_the_first_question() {
        let folded = conversation(&["system", "user", "assistant"]).with_system_prepended().unwrap();
        assert_eq!((folded.turns.len(), folded.turns[0].content()), (2, Some("0\n\n1")));
        assert_eq!(conversation(&["user", "assistant"]).with_system_prepended(), None);
    }
}
