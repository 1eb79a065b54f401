//! Reading all data sets of a recipe.

use std::path::Path;

use super::content::{Closing, Content, Conversation};
use super::encode::{Encoded, Encoder, Place};
use super::error::DataError;
use super::length::{Shortened, pieces, shorten, without_tail};
use super::limits::ModelLimits;
use super::mix;
use super::source::{self, Item};
use super::{Example, SetSummary, TrainingData};
use crate::error::{Cancelled, Error, Result};
use crate::event::Progress;
use crate::parallel::Workers;
use crate::python::random::PythonRandom;
use crate::rng::stream_key;
use crate::tokenizer::Tokenizer;
use crate::train::recipe::{DatasetRecipe, ExcessLength, TrainRecipe};

impl TrainingData {
    /// Reads and tokenises the recipe's data sets; tasks' data files and relative paths are looked up
    /// in `data_dir` first. The result does not depend on the number of threads.
    ///
    /// Warnings report what is shortened, left out or evaluated on too. No example is longer
    /// than what the model whose folder the tokenizer is in reads, whatever `sequence_len` says, and none has
    /// a token beyond its vocabulary.
    ///
    /// # Errors
    /// A [`DataError`] or what [`crate::task`] and [`crate::tokenizer`] say, naming file, row and key.
    pub fn load(
        recipe: &TrainRecipe,
        data_dir: Option<&Path>,
        tokenizer: &Tokenizer,
        workers: Workers,
        progress: Progress<'_>,
    ) -> Result<Self> {
        mix::check(recipe)?;
        let encoder = Encoder::new(tokenizer, recipe)?;
        let limits = ModelLimits::read(tokenizer.directory());
        let most = limits.map_or(recipe.sequence_len, |limits| limits.positions.min(recipe.sequence_len));
        let maker =
            Maker { recipe, encoder: &encoder, vocabulary: limits.map(|limits| limits.vocabulary), most, workers };
        let mut data = Self { asked: encoder.asked(), ..Self::default() };
        for index in 0..recipe.datasets.len() {
            data.add(index, data_dir, &maker, progress)?;
        }
        let mut sizes = vec![0; data.sets.len()];
        for example in &data.examples {
            if let Some(size) = sizes.get_mut(example.set) {
                *size += 1;
            }
        }
        let counts = mix::counts(&recipe.datasets, &sizes, recipe.mixing_temperature)?;
        for (set, count) in data.sets.iter_mut().zip(counts) {
            set.per_epoch = count;
        }
        Ok(data)
    }

    fn add(&mut self, index: usize, data_dir: Option<&Path>, maker: &Maker<'_>, progress: Progress<'_>) -> Result<()> {
        let recipe = maker.recipe;
        let Some(dataset) = recipe.datasets.get(index) else { return Ok(()) };
        let rows = source::read(dataset, data_dir, maker.encoder, progress)?;
        let read = rows.items.len() + rows.unanswered;
        let items = capped(rows.items, dataset, recipe.seed);
        if items.is_empty() {
            return Err(DataError::Empty { set: dataset.name.clone(), origin: dataset.path.clone() }.into());
        }
        let mut summary = SetSummary { name: dataset.name.clone(), rows: read, ..SetSummary::default() };
        summary.unanswered = rows.unanswered;
        // The first fault in the order of the rows is the one that is reported.
        let made = maker.workers.map(items.len(), |index| maker.make(&items[index], dataset, progress));
        let mut kept: Vec<Vec<Encoded>> = Vec::new();
        let mut firsts = Firsts::default();
        for (item, made) in items.iter().zip(made) {
            let (count, first) = match made? {
                Made::Dropped => (&mut summary.dropped, &mut firsts.dropped),
                Made::Masked => (&mut summary.masked, &mut firsts.masked),
                Made::Refused => (&mut summary.refused, &mut firsts.refused),
                Made::Examples(examples, shortened) => {
                    self.asked.count(&item.content);
                    let split = examples.len() > 1;
                    kept.push(examples);
                    if split {
                        (&mut summary.split, &mut firsts.split)
                    } else if shortened {
                        (&mut summary.shortened, &mut firsts.shortened)
                    } else {
                        continue;
                    }
                }
            };
            *count += 1;
            first.get_or_insert_with(|| format!("row {} of {}", item.row, item.origin));
        }
        if kept.is_empty() {
            let (set, rows, dropped, masked) = (dataset.name.clone(), items.len(), summary.dropped, summary.masked);
            return Err(match (dropped, summary.refused) {
                (0, 0) => DataError::AllMasked { set, rows },
                (_, refused) => DataError::NothingLeft { set, rows, dropped, masked, refused, most: maker.most },
            }
            .into());
        }
        let held = held_out(kept.len(), recipe, index, &dataset.name);
        for (examples, held) in kept.into_iter().zip(held) {
            for encoded in examples {
                summary.examples += 1;
                summary.tokens += encoded.tokens.len();
                summary.trained_tokens += encoded.trained.iter().filter(|trained| **trained).count();
                summary.held_out += usize::from(held);
                let list = if held { &mut self.validation } else { &mut self.examples };
                list.push(Example { tokens: encoded.tokens, trained: encoded.trained, set: index });
            }
        }
        maker.warn(&summary, &firsts, progress);
        self.sets.push(summary);
        Ok(())
    }
}

/// The first row of each kind that a warning counts.
#[derive(Default)]
struct Firsts {
    shortened: Option<String>,
    split: Option<String>,
    dropped: Option<String>,
    masked: Option<String>,
    refused: Option<String>,
}

/// Result of encoding a row.
enum Made {
    /// Examples, and whether the prompt was shortened.
    Examples(Vec<Encoded>, bool),
    /// Row that is too long.
    Dropped,
    /// Row without a trained token.
    Masked,
    /// With a system message that the chat template has no place for.
    Refused,
}

/// Settings with which rows are encoded.
struct Maker<'a> {
    recipe: &'a TrainRecipe,
    encoder: &'a Encoder<'a>,
    vocabulary: Option<usize>,
    /// Most tokens of an example.
    most: usize,
    /// Threads that make examples.
    workers: Workers,
}

impl Maker<'_> {
    fn make(&self, item: &Item, dataset: &DatasetRecipe, progress: Progress<'_>) -> Result<Made> {
        progress.cancel.check().map_err(|cancelled: Cancelled| Error::from(cancelled))?;
        let place = Place { origin: &item.origin, row: item.row };
        self.check_silenced(&item.content, place)?;
        let Some(encoded) = self.encoder.encode(&item.content, place)? else { return Ok(Made::Refused) };
        self.check_vocabulary(&encoded, place)?;
        let most = self.most;
        let (mut examples, shortened) = if encoded.tokens.len() <= most {
            (vec![encoded], false)
        } else {
            match self.recipe.excess_length {
                ExcessLength::Drop => return Ok(Made::Dropped),
                ExcessLength::Raise => {
                    let (set, origin) = (dataset.name.clone(), item.origin.to_string());
                    let (row, tokens, model) = (item.row, encoded.tokens.len(), most < self.recipe.sequence_len);
                    return Err(DataError::TooLong { set, origin, row, tokens, most, model }.into());
                }
                // Nothing of it would be learnt, however long.
                ExcessLength::Shorten if !encoded.trained.contains(&true) => return Ok(Made::Masked),
                ExcessLength::Shorten => match self.shorten(encoded, &item.content, place)? {
                    Some(found) => found,
                    None => return Ok(Made::Dropped),
                },
            }
        };
        if self.recipe.train_on_inputs {
            examples.iter_mut().for_each(Encoded::train_on_all);
        }
        examples.retain(|encoded| encoded.trained.contains(&true) && encoded.tokens.len() <= most);
        Ok(if examples.is_empty() { Made::Masked } else { Made::Examples(examples, shortened) })
    }

    /// A turn can't be without loss where the recipe puts loss on everything.
    fn check_silenced(&self, content: &Content, place: Place<'_>) -> Result<(), DataError> {
        let Content::Chat(conversation) = content else { return Ok(()) };
        let silenced = conversation.turns.iter().find_map(|turn| turn.silenced.clone());
        let Some(key) = silenced.filter(|_| self.recipe.train_on_inputs) else { return Ok(()) };
        let (origin, row) = (place.origin.to_owned(), place.row);
        let reason = "it takes the loss off a turn, and `train_on_inputs` puts loss on every token";
        Err(DataError::Refused { origin, row, key, reason, cure: "leave one of the two out" })
    }

    fn check_vocabulary(&self, encoded: &Encoded, place: Place<'_>) -> Result<(), DataError> {
        let Some(vocabulary) = self.vocabulary else { return Ok(()) };
        let beyond = encoded.tokens.iter().enumerate().find(|(_, token)| **token as usize >= vocabulary);
        let Some((at, token)) = beyond else { return Ok(()) };
        let (origin, row) = (place.origin.to_owned(), place.row);
        Err(DataError::Vocabulary { origin, row, token: *token, place: at, vocabulary })
    }

    /// Examples of what is too long, and whether something of it is missing; none where nothing can be left
    /// out.
    fn shorten(
        &self,
        encoded: Encoded,
        content: &Content,
        place: Place<'_>,
    ) -> Result<Option<(Vec<Encoded>, bool)>, DataError> {
        let most = self.most;
        let tokenizer = self.encoder.tokenizer();
        match content {
            Content::Text(_) => return Ok(Some((pieces(&encoded, most), false))),
            Content::Tokens { trained, .. } if trained.iter().skip(1).all(|trained| *trained) => {
                return Ok(Some((pieces(&encoded, most), false)));
            }
            Content::Chat(conversation) => return self.rounds(encoded, conversation, place),
            // Cut anywhere, the frame of a chat template is broken.
            Content::Pair { closing: Closing::Turn, .. } => {
                return Ok(without_tail(encoded, most).ok().map(|encoded| (vec![encoded], false)));
            }
            Content::Pair { .. } | Content::Tokens { .. } => {}
        }
        Ok(match shorten(encoded, most, tokenizer.bos().map(|(_, id)| id)) {
            Shortened::Fits(encoded) => Some((vec![encoded], false)),
            Shortened::Cut(encoded) => Some((vec![encoded], true)),
            Shortened::TooLong => None,
        })
    }

    /// The longest end of a conversation, in whole rounds, that fits.
    fn rounds(
        &self,
        encoded: Encoded,
        conversation: &Conversation,
        place: Place<'_>,
    ) -> Result<Option<(Vec<Encoded>, bool)>, DataError> {
        if let Ok(encoded) = without_tail(encoded, self.most) {
            return Ok(Some((vec![encoded], false)));
        }
        for (rounds, shorter) in conversation.shorter().enumerate() {
            let Some(encoded) = self.encoder.encode(&Content::Chat(shorter), place)? else { return Ok(None) };
            if let Ok(encoded) = without_tail(encoded, self.most) {
                return Ok(encoded.trained.contains(&true).then(|| (vec![encoded], rounds > 0)));
            }
        }
        Ok(None)
    }

    fn warn(&self, summary: &SetSummary, firsts: &Firsts, progress: Progress<'_>) {
        let most = self.most;
        let limit = if most < self.recipe.sequence_len {
            format!("{most} tokens, the most that the model reads")
        } else {
            format!("{most} tokens")
        };
        let system = "the chat template has no place for their system message";
        for (count, first, what) in [
            (
                summary.shortened,
                &firsts.shortened,
                format!("rows have more than {limit}; the beginnings of prompts and whole early rounds were left out"),
            ),
            (summary.split, &firsts.split, format!("texts have more than {limit}; they were cut into pieces")),
            (summary.dropped, &firsts.dropped, format!("rows were left out, being longer than {limit}")),
            (summary.masked, &firsts.masked, "rows were left out, since none of their tokens carries loss".to_owned()),
            (summary.refused, &firsts.refused, format!("rows were left out, since {system}")),
            (
                summary.unanswered,
                &None,
                "documents were left out, since their answer is none of the choices".to_owned(),
            ),
        ] {
            if count > 0 {
                let first = first.as_ref().map_or_else(String::new, |first| format!(" (the first is {first})"));
                progress.warn(format!("data set `{}`: {count} {what}{first}", summary.name));
            }
        }
        let unscored = self.encoder.take_unscored();
        if unscored > 0 {
            progress.warn(format!(
                "data set `{}`: {unscored} prompts end in a line break or blank that is part of a token; it is \
                 trained on as it stands, while the evaluation's rule (the harness's) leaves that token out",
                summary.name
            ));
        }
    }
}

/// At most `max_rows` rows, drawn under the seed, in their order.
fn capped(items: Vec<Item>, dataset: &DatasetRecipe, seed: u64) -> Vec<Item> {
    let Some(most) = dataset.max_rows.filter(|most| *most < items.len()) else { return items };
    let mut random = PythonRandom::new(stream_key(seed, &["max_rows", &dataset.name]));
    let chosen = chosen(items.len(), most, &mut random);
    items.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(item, _)| item).collect()
}

/// Marks held-out rows: the recipe's share, at least one and never all.
fn held_out(rows: usize, recipe: &TrainRecipe, index: usize, name: &str) -> Vec<bool> {
    if recipe.val_set_size == 0.0 || rows < 2 {
        return vec![false; rows];
    }
    let count = (rows as f64 * recipe.val_set_size).round() as usize;
    let mut random = PythonRandom::new(stream_key(recipe.seed, &["val_set_size", &index.to_string(), name]));
    chosen(rows, count.clamp(1, rows - 1), &mut random)
}

fn chosen(n: usize, k: usize, random: &mut PythonRandom) -> Vec<bool> {
    let mut chosen = vec![false; n];
    for place in random.sample(n, k).expect("no more are drawn than there are") {
        if let Some(chosen) = chosen.get_mut(place) {
            *chosen = true;
        }
    }
    chosen
}
