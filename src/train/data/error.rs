//! Reasons why training data can't be used.

use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};
use crate::tokenizer::TokenizerError;

/// Reasons why training data can't be used. `origin` is a data file, or a task with its split; rows
/// count from 1 without blank lines.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum DataError {
    #[error("data set `{set}`: there is no file {path}; looked in {}", list(places))]
    NoFile { set: String, path: String, places: Vec<PathBuf>, data_dir: bool },
    #[error("data set `{set}`: format `{format}` reads a data file, but `{path}` is a task")]
    TaskAsFile { set: String, path: String, format: &'static str },
    #[error("data set `{set}`: `split` goes with a task, but {path} is a data file")]
    SplitOfFile { set: String, path: String },
    #[error("data set `{set}`: task `{task}` names no training split")]
    NoTrainingSplit { set: String, task: String, known: Vec<String> },
    #[error("{origin}: the keys of its first row, {}, are those of no known format", names(keys))]
    UnknownFormat { origin: String, keys: Vec<String> },
    #[error("{origin}: its rows have a `text` and a `{key}`: labelled texts, which ask nothing by themselves")]
    Labelled { origin: String, key: String },
    #[error("row {row} of {origin} lacks `{key}`; it has {}", names(found))]
    MissingKey { origin: String, row: usize, key: String, found: Vec<String> },
    #[error("row {row} of {origin}: `{key}` is null")]
    Null { origin: String, row: usize, key: String },
    #[error("row {row} of {origin}: `{key}` is not followed: {reason}")]
    Refused { origin: String, row: usize, key: String, reason: &'static str, cure: &'static str },
    #[error("row {row} of {origin}: `{key}` is {found}, where {wanted} is wanted")]
    WrongType { origin: String, row: usize, key: String, found: &'static str, wanted: &'static str },
    #[error("row {row} of {origin}: `{key}`: {message}")]
    Value { origin: String, row: usize, key: String, message: String },
    #[error("row {row} of {origin} is a conversation, but the tokenizer of {} has no chat template", directory.display())]
    NoChatTemplate { origin: String, row: usize, directory: PathBuf },
    #[error("row {row} of {origin}: `{key}`{} does not reach the text: the chat template has no place for it", of_turn(*turn))]
    NotShown { origin: String, row: usize, key: String, turn: Option<usize> },
    #[error("row {row} of {origin}: the chat template leaves the content of turn {turn} (`{role}`) out of the text")]
    TurnLost { origin: String, row: usize, turn: usize, role: String },
    #[error("row {row} of {origin}: turn {turn} is not shown as the chat template opens it")]
    NotPrefix { origin: String, row: usize, turn: usize, opened: String, shown: String },
    #[error("row {row} of {origin}")]
    Encode { origin: String, row: usize, source: TokenizerError },
    #[error("row {row} of {origin}: token {token} at place {place} is beyond the model's vocabulary of {vocabulary}")]
    Vocabulary { origin: String, row: usize, token: u32, place: usize, vocabulary: usize },
    #[error("data set `{set}`: {} is {format}, which is not read", path.display())]
    Packed { set: String, path: PathBuf, format: &'static str, cure: &'static str },
    #[error("data set `{set}`: there is no file or task `{path}`, and hub data sets are not downloaded")]
    Hub { set: String, path: String },
    #[error("`{key}: {wanted}` is not what the tokenizer has, {}", found.as_deref().map_or("none".to_owned(), |text| format!("`{text}`")))]
    SpecialToken { key: String, wanted: String, found: Option<String> },
    #[error("the tokenizer of {} has no EOS token, so answers could not be ended", directory.display())]
    NoEos { directory: PathBuf },
    #[error(
        "row {row} of {origin} (data set `{set}`) has {tokens} tokens, more than {} {most}",
        if *model { "the model's positions:" } else { "`sequence_len`:" }
    )]
    TooLong { set: String, origin: String, row: usize, tokens: usize, most: usize, model: bool },
    #[error("data set `{set}` has no rows ({origin})")]
    Empty { set: String, origin: String },
    #[error(
        "data set `{set}`: none of its {rows} rows is left: {dropped} longer than {most} tokens, {masked} without a \
             token that carries loss, {refused} with a system message that the chat template has no place for"
    )]
    NothingLeft { set: String, rows: usize, dropped: usize, masked: usize, refused: usize, most: usize },
    #[error("data set `{set}`: all tokens of its {rows} rows are masked, so none would carry loss")]
    AllMasked { set: String, rows: usize },
    #[error("the recipe has no data sets")]
    NoSets,
    #[error("`val_set_size: {value}` is no share of the rows: 0 or more and below 1")]
    HoldOut { value: f64 },
    #[error("data set `{set}`: `{key}: {value}` is {message}")]
    Mixing { set: String, key: &'static str, value: f64, message: &'static str },
    #[error("`mixing_temperature: {value}` is not 0 or more")]
    Temperature { value: f64 },
    #[error("the shares of the mix come to {total}, which leaves nothing for the other data sets")]
    Shares { total: f64 },
    #[error("every data set that is in the mix has a `share`, so there is nothing they are shares beside")]
    OnlyShares,
    #[error("an epoch of the mix has no examples")]
    EmptyMix,
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn of_turn(turn: Option<usize>) -> String {
    turn.map_or_else(String::new, |turn| format!(" of turn {turn}"))
}

fn names(keys: &[String]) -> String {
    match keys {
        [] => "none".to_owned(),
        keys => keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
    }
}

impl Diagnose for DataError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TaskAsFile { .. }
            | Self::SplitOfFile { .. }
            | Self::NoTrainingSplit { .. }
            | Self::NoSets
            | Self::HoldOut { .. }
            | Self::Mixing { .. }
            | Self::Temperature { .. }
            | Self::Shares { .. }
            | Self::OnlyShares
            | Self::SpecialToken { .. }
            | Self::EmptyMix => ErrorKind::Usage,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoFile { data_dir: false, .. } => "say where the data are: --data DIR".to_owned(),
            Self::TaskAsFile { .. } => "leave `format` out, or say `format: task`".to_owned(),
            Self::NoTrainingSplit { known, .. } => {
                format!("name the `split` to train on; the task's data_files have: {}", known.join(", "))
            }
            Self::UnknownFormat { .. } => "rows have `messages`, or `prompt` and `completion`, or `instruction` and \
                 `output`, or `conversations`, or `text`, or `input_ids`; rename the columns, or describe the data \
                 in a task file"
                .to_owned(),
            Self::Labelled { .. } => "name a task file that asks about them, or say `format: text` to train on the \
                 bare texts"
                .to_owned(),
            Self::NoChatTemplate { .. } => "copy chat_template.jinja of an instruct model of the family beside the \
                 tokenizer, or give the data as `prompt` and `completion`"
                .to_owned(),
            Self::NotPrefix { opened, shown, .. } => format!(
                "the template begins the turn with {opened:?} where the whole conversation has {shown:?}; a \
                 conversation begins with the system or the user, and some templates move or drop messages (system \
                 messages above all): name another `chat_template`, or put the system text into the user's message"
            ),
            Self::Null { .. } => "fill the value in, or leave the row out".to_owned(),
            Self::Refused { cure, .. } | Self::Packed { cure, .. } => (*cure).to_owned(),
            Self::NotShown { key, .. } => format!(
                "name a `chat_template` that shows it, or write it into `content`; without `{key}` the row trains \
                 something else"
            ),
            Self::TurnLost { role, .. } if role == "system" || role == "developer" => {
                "some templates show no system message, or none once an answer follows: `unsupported_system: prepend` \
                 puts its text before the first question, `unsupported_system: drop` leaves such rows out"
                    .to_owned()
            }
            Self::TurnLost { .. } => {
                "name a `chat_template` that shows it, give the message a role that this one shows, or leave the row out"
                    .to_owned()
            }
            Self::Vocabulary { .. } => {
                "tokenise the rows with the base model's own tokenizer; tokens that were added to it need rows in \
                 the embedding"
                    .to_owned()
            }
            Self::Hub { .. } => "export it as JSON lines, and name the file as `path`".to_owned(),
            Self::SpecialToken { .. } => {
                "the vocabulary stays as the model has it: leave the key out, or change the model's tokenizer"
                    .to_owned()
            }
            Self::Encode { source: TokenizerError::ChatRefused { .. }, .. } => {
                "many templates want user and assistant to take turns; where it is the system message that is refused, \
                 `unsupported_system: prepend` puts its text before the first question"
                    .to_owned()
            }
            Self::Encode { source, .. } => return source.hints(),
            Self::NoEos { .. } => "name `eos_token` in tokenizer_config.json".to_owned(),
            Self::TooLong { model: true, .. } => {
                "shorten the row, or say `excess_length: shorten` (or `drop`)".to_owned()
            }
            Self::TooLong { .. } => "raise `sequence_len`, or say `excess_length: shorten` (or `drop`)".to_owned(),
            Self::NothingLeft { .. } => "raise `sequence_len` as far as the model's positions go".to_owned(),
            Self::AllMasked { .. } => "see where the answers went with `--show-batch`; `labels` of -100 and \
                 conversations without a turn of the assistant carry no loss; `train_on_inputs: true` trains on \
                 every token"
                .to_owned(),
            Self::HoldOut { .. } => "0.05 holds a twentieth of each set out".to_owned(),
            Self::Shares { .. } => "the shares of all sets together stay below 1".to_owned(),
            Self::OnlyShares => "leave `share` out of one data set, or give weights instead".to_owned(),
            Self::EmptyMix => "give at least one data set a weight above 0".to_owned(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
