//! Text to tokens and back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::processors::sequence::Sequence;

use super::chat::ChatTemplate;
use super::error::TokenizerError;
use super::special_tokens::{SpecialTokens, read_json};
use crate::panics::caught;
use crate::storage::hash::sha256_bytes;

/// The tokenizer of a model directory. Cheap to share between threads.
#[derive(Debug)]
pub struct Tokenizer {
    directory: PathBuf,
    pipeline: tokenizers::Tokenizer,
    special: SpecialTokens,
    bos: Option<(String, u32)>,
    eos: Option<(String, u32)>,
    pad: Option<(String, u32)>,
    templates: BTreeMap<String, NamedTemplate>,
    sha256: String,
    model_max_length: Option<usize>,
}

impl Tokenizer {
    /// Opens the tokenizer of a Hugging Face model directory: `tokenizer.json`, and beside it
    /// `tokenizer_config.json`, `special_tokens_map.json` and the chat templates.
    ///
    /// Whether a BOS token is added is what the post-processor of `tokenizer.json` does. Truncation
    /// and padding that the file may ask for are switched off.
    ///
    /// # Errors
    /// A [`TokenizerError`] naming the file and the cure.
    pub fn open(directory: &Path) -> Result<Self, TokenizerError> {
        let path = directory.join("tokenizer.json");
        let bytes = match crate::storage::input::read(&path, crate::storage::input::LIST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let names = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];
                let sentencepiece = names.iter().any(|name| directory.join(name).is_file());
                return Err(TokenizerError::Missing { directory: directory.into(), sentencepiece });
            }
            Err(source) => return Err(TokenizerError::Io { path, source }),
        };
        let damaged = |message: String| TokenizerError::Damaged { path: path.clone(), message };
        let tokenizer = caught(|| {
            let mut tokenizer = tokenizers::Tokenizer::from_bytes(&bytes)?;
            tokenizer.with_truncation(None)?;
            tokenizer.with_padding(None);
            if let Some(untrimmed) = tokenizer.get_post_processor().cloned().map(whole_offsets) {
                tokenizer.with_post_processor(Some(untrimmed));
            }
            tokenizers::Result::Ok(tokenizer)
        });
        let tokenizer =
            tokenizer.map_err(|panic| damaged(failed(&panic)))?.map_err(|error| damaged(error.to_string()))?;
        let config = read_json(&directory.join("tokenizer_config.json"))?.unwrap_or(Value::Null);
        let special = SpecialTokens::read(directory, &config)?;
        let token = |role: &str| {
            let text = special.get(role)?;
            tokenizer.token_to_id(text).map(|id| (text.to_owned(), id))
        };
        let (bos, eos, pad) = (token("bos_token"), token("eos_token"), token("pad_token"));
        Ok(Self {
            directory: directory.into(),
            bos,
            eos,
            pad,
            templates: chat_templates(directory, &config)?,
            sha256: sha256_bytes(&bytes),
            // Transformers writes 1e30 where there is no limit.
            model_max_length: config
                .get("model_max_length")
                .and_then(Value::as_u64)
                .filter(|n| *n < 1 << 40)
                .map(|n| n as usize),
            special,
            pipeline: tokenizer,
        })
    }

    /// The token ids of a text; with `add_special`, framed as the post-processor says.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] when the tokenizer's model can't represent the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.working("encode a text", |pipeline| pipeline.encode_fast(text, add_special))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`encode_prompt`](Self::encode_prompt) with the bytes of the text that each token stands for.
    /// A token that is not of the text, such as an added BOS, has the empty range at 0.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let encoding = self.working("encode a text", |pipeline| pipeline.encode(text, self.adds_special(text)))?;
        let ranges = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// Ids of the special tokens.
    #[must_use]
    pub fn special_ids(&self) -> BTreeSet<u32> {
        let added = self.pipeline.get_added_tokens_decoder();
        added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect()
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] with the decoder's message.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        self.working("decode tokens", |pipeline| pipeline.decode(ids, skip_special))
    }

    /// The token of an id, as the vocabulary writes it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.pipeline.id_to_token(id)
    }

    /// The id of a token as the vocabulary writes it.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// Begin of sequence: text and id.
    #[must_use]
    pub fn bos(&self) -> Option<(&str, u32)> {
        self.bos.as_ref().map(|(text, id)| (text.as_str(), *id))
    }

    /// End of sequence: text and id.
    #[must_use]
    pub fn eos(&self) -> Option<(&str, u32)> {
        self.eos.as_ref().map(|(text, id)| (text.as_str(), *id))
    }

    /// Padding: text and id.
    #[must_use]
    pub fn pad(&self) -> Option<(&str, u32)> {
        self.pad.as_ref().map(|(text, id)| (text.as_str(), *id))
    }

    /// Token before an empty context: BOS, or EOS where there is no BOS.
    #[must_use]
    pub fn prefix(&self) -> Option<(&str, u32)> {
        self.bos().or_else(|| self.eos())
    }

    /// All special tokens by role.
    #[must_use]
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.pipeline.get_vocab_size(true)
    }

    /// `model_max_length` of `tokenizer_config.json`, where it is a limit.
    #[must_use]
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// SHA-256 of `tokenizer.json`.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The model directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names of the templates in the tokenizer's files.
    pub fn chat_template_names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(String::as_str)
    }

    /// The chat template of a name, or the default one.
    ///
    /// # Errors
    /// No template, an unknown name, several without a default, or one that does not parse.
    pub fn chat_template(&self, name: Option<&str>) -> Result<ChatTemplate, TokenizerError> {
        let directory = || self.directory.clone();
        let known = || self.templates.keys().cloned().collect();
        if self.templates.is_empty() {
            return Err(TokenizerError::NoChatTemplate { directory: directory() });
        }
        let template = self.templates.get(name.unwrap_or("default")).ok_or_else(|| match name {
            Some(name) => {
                TokenizerError::UnknownChatTemplate { directory: directory(), name: name.to_owned(), known: known() }
            }
            None => TokenizerError::NoDefaultChatTemplate { directory: directory(), known: known() },
        })?;
        ChatTemplate::new(template.source.clone(), &self.special, template.file.display().to_string())
    }

    /// Runs the pipeline, and turns its panics on files that it should not have read into errors.
    fn working<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&tokenizers::Tokenizer) -> tokenizers::Result<T>,
    ) -> Result<T, TokenizerError> {
        let done = match caught(|| work(&self.pipeline)) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(panic) => Err(failed(&panic)),
        };
        done.map_err(|message| TokenizerError::Refused { path: self.directory.join("tokenizer.json"), action, message })
    }
}

/// A panic of the library, which the files of few models can cause.
fn failed(panic: &str) -> String {
    format!("the tokenizers library fails on it ({panic})")
}

/// The same post-processor without `trim_offsets`: ids stay, and a token's range holds its blanks too,
/// which a loss mask goes by.
fn whole_offsets(processor: PostProcessorWrapper) -> PostProcessorWrapper {
    match processor {
        PostProcessorWrapper::ByteLevel(mut bytes) => {
            bytes.trim_offsets = false;
            bytes.into()
        }
        PostProcessorWrapper::Roberta(mut roberta) => {
            roberta.trim_offsets = false;
            roberta.into()
        }
        PostProcessorWrapper::Sequence(list) => Sequence::new(list.into_iter().map(whole_offsets).collect()).into(),
        other => other,
    }
}

/// A chat template and the file that holds it.
#[derive(Debug)]
struct NamedTemplate {
    source: String,
    file: PathBuf,
}

/// Templates by name. Files of their own win over `tokenizer_config.json`, as in transformers.
fn chat_templates(directory: &Path, config: &Value) -> Result<BTreeMap<String, NamedTemplate>, TokenizerError> {
    let mut templates = BTreeMap::new();
    let path = directory.join("chat_template.json");
    if let Some(file) = read_json(&path)? {
        insert(&mut templates, &path, file.get("chat_template").unwrap_or(&Value::Null));
    }
    let path = directory.join("tokenizer_config.json");
    insert(&mut templates, &path, config.get("chat_template").unwrap_or(&Value::Null));
    let path = directory.join("chat_template.jinja");
    if let Some(source) = read_text(&path)? {
        templates.insert("default".to_owned(), NamedTemplate { source, file: path });
    }
    let mut further: Vec<PathBuf> = std::fs::read_dir(directory.join("additional_chat_templates"))
        // Few models have such a folder.
        .map_or_else(|_| Vec::new(), |entries| entries.filter_map(|e| e.ok().map(|e| e.path())).collect());
    further.sort();
    for path in further {
        let name = path.file_stem().and_then(|s| s.to_str()).map(str::to_owned);
        let (Some(name), true) = (name, path.extension().is_some_and(|e| e == "jinja")) else { continue };
        if let Some(source) = read_text(&path)? {
            templates.insert(name, NamedTemplate { source, file: path });
        }
    }
    Ok(templates)
}

/// One template, or a list of named ones.
fn insert(templates: &mut BTreeMap<String, NamedTemplate>, file: &Path, value: &Value) {
    let mut insert = |name: String, source: String| {
        templates.insert(name, NamedTemplate { source, file: file.to_owned() });
    };
    match value {
        Value::String(text) => insert("default".to_owned(), text.clone()),
        Value::Array(list) => {
            for entry in list {
                let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                if let (Some(name), Some(template)) = (text("name"), text("template")) {
                    insert(name, template);
                }
            }
        }
        _ => {}
    }
}

fn read_text(path: &Path) -> Result<Option<String>, TokenizerError> {
    match crate::storage::input::read_text(path, crate::storage::input::SETTINGS_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Io { path: path.into(), source }),
    }
}
