//! Writing the prompts of a task.

use serde_json::{Map, Value};

use super::answer::{Document, answer_text, gold};
use super::config::{OutputType, Sampler};
use super::data::Task;
use super::documents::Documents;
use super::error::TaskError;
use super::fewshot::FewShot;
use super::generation::GenerationArguments;
use super::prompt::{Ask, PromptSettings, Prompts, Rendered, UnknownLabel};
use super::row::Doc;
use super::turns::{Turn, join, messages, plain, question};
use crate::python::repr::{is_space, json_text};
use crate::tokenizer::Message;

/// Counts taken while prompts are written.
#[derive(Default)]
struct Counts {
    gold_out_of_range: usize,
    /// The first label that is none of the choices.
    unknown: Option<UnknownLabel>,
    system_dropped: usize,
    empty: usize,
}

impl Counts {
    /// Counts a document whose right answer is none of the choices.
    fn unknown(&mut self, document: usize, label: &Value, choices: &[String]) {
        self.gold_out_of_range += 1;
        if self.unknown.is_none() {
            self.unknown = Some(UnknownLabel::new(document, label, choices));
        }
    }
}

/// A prompt, and the conversation that it renders.
struct Prompt {
    text: String,
    messages: Vec<Message>,
}

impl Task {
    /// The prompts of the task's documents.
    ///
    /// # Errors
    /// A template that fails on a document, too few documents to show, a chat template that refuses.
    pub fn prompts(&self, settings: &PromptSettings<'_>) -> Result<Prompts, TaskError> {
        let config = self.config();
        let mut warnings = self.warnings().to_vec();
        let num_fewshot = match (config.num_fewshot, settings.num_fewshot) {
            (Some(0), Some(wanted)) if wanted > 0 => {
                warnings.push(format!("task `{}` sets num_fewshot: 0, which stands", config.name));
                0
            }
            (own, wanted) => wanted.or(own).unwrap_or(0),
        };
        let shots = &config.fewshot;
        let excludes = shots.split == config.test_split;
        let sampler = settings.sampler.unwrap_or(shots.sampler);
        let sampler = if num_fewshot == 0 { Sampler::Default } else { sampler };
        let label = |id: usize, doc: &Doc| Document::new(self, id, doc).target(shots.doc_to_target.as_ref());
        let mut fewshot = FewShot::new(&config.name, &self.pool, sampler, settings.fewshot_seed, excludes, label)?;
        let multiple_input = self.asks_by_choice()?;
        let mut counts = Counts::default();
        let mut rendered = Vec::new();
        let rows = &self.evaluation.rows;
        let places = settings.documents.places(&config.name, rows.len());
        let mut next = 0;
        for (id, doc) in places.into_iter().filter_map(|id| Some((id, rows.get(id)?))) {
            // A document's examples depend on how many documents came before it in its split.
            for (passed, doc) in rows.iter().enumerate().take(id).skip(next) {
                fewshot.skip(num_fewshot, passed, doc)?;
            }
            next = id + 1;
            let document = Document::new(self, id, doc);
            let mut turns = self.system(&document, settings)?;
            for place in fewshot.sample(num_fewshot, id, doc)? {
                turns.extend(self.example(place, multiple_input)?);
            }
            rendered.push(self.ask(id, &document, turns, multiple_input, settings, &mut counts)?);
        }
        if let (Documents::First(count), Some(answer)) = (settings.documents, only_answer(&rendered))
            && count < rows.len()
        {
            warnings.push(format!(
                "task `{}`: the first {count} documents all have the right answer `{answer}`; draw them from the whole \
                 split instead (`--sample`)",
                config.name
            ));
        }
        let replaced_shots = fewshot.replaced;
        let documents = |count: usize| if count == 1 { "1 document".to_owned() } else { format!("{count} documents") };
        let mut warn = |count: usize, text: String| {
            if count > 0 {
                warnings.push(format!("task `{}`: {text}", config.name));
            }
        };
        let differ = "would have been shown themselves by lm-evaluation-harness; their examples differ";
        warn(replaced_shots, format!("{} {differ}", documents(replaced_shots)));
        let gold = counts.gold_out_of_range;
        let example = counts.unknown.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
        let count = if gold == 1 { "counts" } else { "count" };
        warn(
            gold,
            format!("the right answer of {} is none of the choices{example}; they {count} as wrong", documents(gold)),
        );
        let without = "without the system message, which the chat template refuses";
        warn(counts.system_dropped, format!("{} are asked {without}", documents(counts.system_dropped)));
        warn(counts.empty, format!("{} with an empty prompt", documents(counts.empty)));
        Ok(Prompts {
            rendered,
            num_fewshot,
            replaced_shots,
            gold_out_of_range: counts.gold_out_of_range,
            unknown_label: counts.unknown,
            system_dropped: counts.system_dropped,
            warnings,
        })
    }

    /// Request of a classification document under the generation protocols: the same prompt,
    /// answered in free text. `None` for other tasks.
    #[must_use]
    pub fn generation_ask(&self, rendered: &Rendered) -> Option<Ask> {
        let Ask::Choices { contexts, choices, gold, .. } = &rendered.ask else { return None };
        if contexts.len() != 1 {
            return None;
        }
        Some(Ask::Generate {
            arguments: self.label_arguments(),
            references: gold.iter().filter_map(|place| choices.get(*place).cloned()).collect(),
            choices: choices.clone(),
        })
    }

    /// Generation settings of a label under the generation protocols: `metadata.max_gen_toks` new
    /// tokens, else PIXIU's 10.
    #[must_use]
    pub fn label_arguments(&self) -> GenerationArguments {
        let max_tokens = self.config().metadata.get("max_gen_toks").and_then(Value::as_u64).unwrap_or(10);
        GenerationArguments::for_labels(max_tokens as usize)
    }

    /// Whether `doc_to_text` names a choice, so that every choice is a question of its own
    /// (Winogrande's form). The first document decides, as in the harness.
    fn asks_by_choice(&self) -> Result<bool, TaskError> {
        let config = self.config();
        let (Some(first), Some(_)) = (self.evaluation.rows.first(), &config.doc_to_choice) else { return Ok(false) };
        if config.output_type == OutputType::LoglikelihoodRolling {
            return Ok(false);
        }
        Ok(Document::new(self, 0, first).text(None)?.is_i64())
    }

    fn system(&self, document: &Document<'_>, settings: &PromptSettings<'_>) -> Result<Vec<Turn>, TaskError> {
        let config = self.config();
        let description = document.text_key("description", Some(&config.description))?.unwrap_or_else(String::new);
        let instruction = settings.system_instruction.unwrap_or("");
        let text = join(instruction, &description, &config.fewshot_delimiter);
        Ok(if text.is_empty() { Vec::new() } else { vec![Turn::system(text)] })
    }

    fn example(&self, place: usize, multiple_input: bool) -> Result<Vec<Turn>, TaskError> {
        let Some(doc) = self.pool.get(place) else { return Ok(Vec::new()) };
        let shots = &self.config().fewshot;
        let document = Document::new(self, place, doc);
        let text = document.text(shots.doc_to_text.as_ref())?;
        let choices = document.choices(shots.doc_to_choice.as_ref())?;
        let target = document.target(shots.doc_to_target.as_ref())?;
        let prefix = document.text_key("gen_prefix", shots.gen_prefix.as_deref())?;
        let text = if multiple_input {
            let place = super::answer::index(&text);
            place.and_then(|i| choices.as_ref().and_then(|c| c.get(i).cloned())).ok_or_else(|| {
                document.fault("doc_to_text", format!("example {place:?} is none of the choices"), None)
            })?
        } else {
            json_text(&text)
        };
        let answer = answer_text(&target, choices.as_deref()).ok_or_else(|| {
            let message = format!("an example's answer is {target}, which is no text and no choice");
            document.fault("doc_to_target", message, None)
        })?;
        Ok(question(text, Some(&answer), prefix.as_deref(), &shots.target_delimiter, &shots.fewshot_delimiter))
    }

    fn ask(
        &self,
        id: usize,
        document: &Document<'_>,
        before: Vec<Turn>,
        multiple_input: bool,
        settings: &PromptSettings<'_>,
        counts: &mut Counts,
    ) -> Result<Rendered, TaskError> {
        let config = self.config();
        let target = document.target(None)?;
        let target_text = json_text(&target);
        let rendered = |prompt: Prompt, ask: Ask| Rendered {
            doc_id: id,
            doc: document.json(),
            target: target_text.clone(),
            context: prompt.text,
            messages: prompt.messages.into_iter().map(|m| (m.role, m.content)).collect(),
            ask,
        };
        if config.output_type == OutputType::LoglikelihoodRolling {
            let prompt = Prompt { text: String::new(), messages: Vec::new() };
            return Ok(rendered(prompt, Ask::Rolling { text: target_text.clone() }));
        }
        let prefix = document.text_key("gen_prefix", config.gen_prefix.as_deref())?;
        let prefix = prefix.as_deref();
        let text = document.text(None)?;
        let choices = document.choices(None)?;
        if multiple_input {
            let choices = choices.unwrap_or_else(Vec::new);
            let mut prompts = Vec::new();
            for choice in &choices {
                let mut turns = before.clone();
                turns.extend(question(choice.clone(), None, prefix, "", ""));
                prompts.push(prompt(&turns, prefix, settings, counts)?);
            }
            let contexts: Vec<String> = prompts.iter().map(|p| p.text.clone()).collect();
            let continuation = [self.delimiter(settings), &target_text].concat();
            let places = gold(&text, &choices);
            if places.is_empty() {
                counts.unknown(id, &text, &choices);
            }
            let continuations = vec![continuation; choices.len()];
            let ask = Ask::Choices { contexts, continuations, choices, gold: places };
            let first = prompts.into_iter().next().unwrap_or(Prompt { text: String::new(), messages: Vec::new() });
            return Ok(rendered(first, ask));
        }
        let mut turns = before;
        turns.extend(question(json_text(&text), None, prefix, &config.target_delimiter, ""));
        let prompt = prompt(&turns, prefix, settings, counts)?;
        counts.empty += usize::from(prompt.text.chars().all(is_space));
        let ask = match config.output_type {
            OutputType::MultipleChoice => {
                let choices = choices.unwrap_or_else(Vec::new);
                let delimiter = self.delimiter(settings);
                let places = gold(&target, &choices);
                if places.is_empty() {
                    counts.unknown(id, &target, &choices);
                }
                let continuations = choices.iter().map(|choice| [delimiter, choice].concat()).collect();
                Ask::Choices { contexts: vec![prompt.text.clone()], continuations, choices, gold: places }
            }
            OutputType::GenerateUntil => {
                let choices = choices.unwrap_or_else(Vec::new);
                let references = match &target {
                    target if !choices.is_empty() => answer_text(target, Some(&choices)).into_iter().collect(),
                    Value::Array(items) => items.iter().map(json_text).collect(),
                    _ => vec![target_text.clone()],
                };
                if references.is_empty() {
                    counts.unknown(id, &target, &choices);
                }
                let mut kwargs: Map<String, Value> = config.generation_kwargs.clone().unwrap_or_else(Map::new);
                kwargs.extend(settings.generation_kwargs.cloned().unwrap_or_else(Map::new));
                Ask::Generate { arguments: GenerationArguments::from_kwargs(&kwargs), references, choices }
            }
            OutputType::Loglikelihood | OutputType::LoglikelihoodRolling => {
                Ask::Continuation { continuation: target_text.clone() }
            }
        };
        Ok(rendered(prompt, ask))
    }

    /// Between prompt and choice: under a chat template nothing, unless the answer is begun by a
    /// `gen_prefix` that does not end in white space.
    pub(super) fn delimiter(&self, settings: &PromptSettings<'_>) -> &str {
        let config = self.config();
        let begun = config.gen_prefix.as_deref().and_then(|prefix| prefix.chars().next_back());
        match (settings.chat, begun) {
            (Some(_), None) => "",
            (Some(_), Some(last)) if is_space(last) => "",
            _ => &config.target_delimiter,
        }
    }
}

/// The turns as text, or as the chat template renders them.
fn prompt(
    turns: &[Turn],
    prefix: Option<&str>,
    settings: &PromptSettings<'_>,
    counts: &mut Counts,
) -> Result<Prompt, TaskError> {
    let Some(chat) = settings.chat else {
        return Ok(Prompt { text: plain(turns), messages: messages(turns, settings.fewshot_as_multiturn) });
    };
    let messages = messages(turns, settings.fewshot_as_multiturn);
    let continued = prefix.is_some_and(|prefix| !prefix.is_empty());
    let rendered = chat.render_or_without_system(&messages, !continued, continued)?;
    counts.system_dropped += usize::from(rendered.system_dropped);
    Ok(Prompt { text: rendered.text, messages })
}

/// The right answer, where several documents that choose from the same choices all have the same one.
fn only_answer(rendered: &[Rendered]) -> Option<&str> {
    let (first, rest) = rendered.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let Ask::Choices { choices, gold, .. } = &first.ask else { return None };
    let same =
        |other: &Rendered| matches!(&other.ask, Ask::Choices { choices: c, gold: g, .. } if (c, g) == (choices, gold));
    if !rest.iter().all(same) {
        return None;
    }
    choices.get(*gold.first()?).map(String::as_str)
}
