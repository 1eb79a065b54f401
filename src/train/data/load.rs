//! Reading all data sets of a recipe.

use std::path::Path;

use rayon::prelude::*;

use super::content::Content;
use super::encode::{Encoded, Encoder, Place};
use super::error::DataError;
use super::length::{Shortened, pieces, shorten};
use super::mix;
use super::source::{self, Item};
use super::{Example, SetSummary, TrainingData};
use crate::error::{Cancelled, Error, Result};
use crate::event::Progress;
use crate::rng::stream_key;
use crate::task::PythonRandom;
use crate::tokenizer::Tokenizer;
use crate::train::recipe::{DatasetRecipe, ExcessLength, TrainRecipe};

impl TrainingData {
    /// Reads and tokenises the recipe's data sets; tasks' data files and relative paths are looked up
    /// in `data_dir` first. The result does not depend on the number of threads.
    ///
    /// What is shortened, left out or asked in the evaluation too is told as warnings.
    ///
    /// # Errors
    /// A [`DataError`] or what [`crate::task`] and [`crate::tokenizer`] say, naming file, row and key.
    pub fn load(
        recipe: &TrainRecipe,
        data_dir: Option<&Path>,
        tokenizer: &Tokenizer,
        progress: Progress<'_>,
    ) -> Result<Self> {
        mix::check(recipe)?;
        let encoder = Encoder::new(tokenizer, recipe)?;
        let mut data = Self::default();
        for index in 0..recipe.datasets.len() {
            data.add(index, recipe, data_dir, &encoder, progress)?;
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

    fn add(
        &mut self,
        index: usize,
        recipe: &TrainRecipe,
        data_dir: Option<&Path>,
        encoder: &Encoder<'_>,
        progress: Progress<'_>,
    ) -> Result<()> {
        let Some(dataset) = recipe.datasets.get(index) else { return Ok(()) };
        let rows = source::read(dataset, data_dir, encoder, progress)?;
        let read = rows.items.len() + rows.unanswered;
        let items = capped(rows.items, dataset, recipe.seed);
        if items.is_empty() {
            return Err(DataError::Empty { set: dataset.name.clone(), origin: dataset.path.clone() }.into());
        }
        let mut summary = SetSummary { name: dataset.name.clone(), rows: read, ..SetSummary::default() };
        summary.unanswered = rows.unanswered;
        // The first fault in the order of the rows is the one that is told.
        let made: Vec<Result<Made>> =
            items.par_iter().map(|item| make(item, dataset, recipe, encoder, progress)).collect();
        let mut kept: Vec<Vec<Encoded>> = Vec::new();
        for made in made {
            match made? {
                Made::Dropped => summary.dropped += 1,
                Made::Masked => summary.masked += 1,
                Made::Examples(examples, shortened) => {
                    summary.shortened += usize::from(shortened);
                    summary.split += usize::from(examples.len() > 1);
                    kept.push(examples);
                }
            }
        }
        if kept.is_empty() {
            let (set, rows, dropped, masked) = (dataset.name.clone(), items.len(), summary.dropped, summary.masked);
            return Err(match dropped {
                0 => DataError::AllMasked { set, rows },
                _ => DataError::NothingLeft { set, rows, dropped, masked, most: recipe.sequence_len },
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
        warn(&summary, recipe, progress);
        self.sets.push(summary);
        Ok(())
    }
}

/// What a row became.
enum Made {
    /// Examples, and whether the prompt was shortened.
    Examples(Vec<Encoded>, bool),
    /// Too long.
    Dropped,
    /// Without loss.
    Masked,
}

fn make(
    item: &Item,
    dataset: &DatasetRecipe,
    recipe: &TrainRecipe,
    encoder: &Encoder<'_>,
    progress: Progress<'_>,
) -> Result<Made> {
    progress.cancel.check().map_err(|cancelled: Cancelled| Error::from(cancelled))?;
    let most = recipe.sequence_len;
    let encoded = encoder.encode(&item.content, Place { origin: &item.origin, row: item.row })?;
    let (mut examples, shortened) = if encoded.tokens.len() <= most {
        (vec![encoded], false)
    } else {
        match recipe.excess_length {
            ExcessLength::Drop => return Ok(Made::Dropped),
            ExcessLength::Raise => {
                let (set, origin) = (dataset.name.clone(), item.origin.to_string());
                return Err(
                    DataError::TooLong { set, origin, row: item.row, tokens: encoded.tokens.len(), most }.into()
                );
            }
            ExcessLength::Shorten if matches!(item.content, Content::Text(_)) => (pieces(&encoded, most), false),
            ExcessLength::Shorten if !encoded.trained.contains(&true) => (vec![encoded], false),
            ExcessLength::Shorten => match shorten(encoded, most) {
                Shortened::Fits(encoded) => (vec![encoded], false),
                Shortened::Cut(encoded) => (vec![encoded], true),
                Shortened::TooLong => return Ok(Made::Dropped),
            },
        }
    };
    if recipe.train_on_inputs {
        examples.iter_mut().for_each(Encoded::train_on_all);
    }
    examples.retain(|encoded| encoded.trained.contains(&true) && encoded.tokens.len() <= most);
    Ok(if examples.is_empty() { Made::Masked } else { Made::Examples(examples, shortened) })
}

/// At most `max_rows` rows, drawn under the seed, in their order.
fn capped(items: Vec<Item>, dataset: &DatasetRecipe, seed: u64) -> Vec<Item> {
    let Some(most) = dataset.max_rows.filter(|most| *most < items.len()) else { return items };
    let mut random = PythonRandom::new(stream_key(seed, &["max_rows", &dataset.name]));
    let chosen = chosen(items.len(), most, &mut random);
    items.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(item, _)| item).collect()
}

/// Which rows are held out: the recipe's share, at least one and never all.
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
    for place in random.sample(n, k).unwrap_or_default() {
        if let Some(chosen) = chosen.get_mut(place) {
            *chosen = true;
        }
    }
    chosen
}

fn warn(summary: &SetSummary, recipe: &TrainRecipe, progress: Progress<'_>) {
    let most = recipe.sequence_len;
    for (count, what) in [
        (summary.shortened, format!("rows have more than {most} tokens; their prompts were shortened")),
        (summary.split, format!("texts have more than {most} tokens; they were cut into pieces")),
        (summary.dropped, format!("rows were left out, being longer than {most} tokens")),
        (summary.masked, "rows were left out, since none of their tokens carries loss".to_owned()),
        (summary.unanswered, "documents were left out, since their answer is none of the choices".to_owned()),
    ] {
        if count > 0 {
            progress.warn(format!("data set `{}`: {count} {what}", summary.name));
        }
    }
}
