//! Arguments that say how to reach a server: the model under test, and the judge.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::error::Result;
use crate::eval::judge::{Judge, JudgeOptions, Prices};
use crate::eval::server::{ClientOptions, Decode, RetryPolicy, ServerOptions};
use crate::storage::hash::cache_dir;

/// MergeKernels of the model under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// On this machine.
    Local,
    /// Behind an OpenAI-compatible server.
    Openai,
}

/// The model behind a server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the model runs. Behind a server, MODEL gives the tokenizer and the chat template.
    #[arg(long, value_enum, default_value_t = BackendName::Local)]
    pub backend: BackendName,
    /// URL of the server up to and with the version, for example <http://localhost:8000/v1>.
    #[arg(long, value_name = "URL", required_if_eq("backend", "openai"))]
    pub base_url: Option<String>,
    /// The model's name on the server (default: the only one there).
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub served_model: String,
    /// Environment variable with the server's API key.
    #[arg(long, value_name = "VARIABLE")]
    pub api_key_env: Option<String>,
    /// Most tokens of a prompt and its continuation (default: MODEL's config.json).
    #[arg(long, value_name = "N", value_parser = super::size::at_least_one)]
    pub max_length: Option<usize>,
    /// Requests at a time.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Seconds that one request may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub request_timeout: u64,
    /// Generate with /chat/completions instead of /completions.
    #[arg(long)]
    pub chat_completions: bool,
}

impl ServerArgs {
    /// Options for the model's server.
    pub(crate) fn options(&self, max_length: usize, seed: u64, probe: Vec<u32>, decode: Decode) -> ServerOptions {
        ServerOptions {
            client: client(
                self.base_url.as_deref().unwrap_or(""),
                self.api_key_env.clone(),
                self.request_timeout,
                seed,
            ),
            model: self.served_model.clone(),
            max_length,
            concurrency: usize::from(self.concurrency.max(1)),
            chat: self.chat_completions,
            score_max_tokens: 1,
            seed,
            probe,
            decode: Some(decode),
        }
    }
}

/// The judge of free answers.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "each is a flag of the command line")]
pub(crate) struct JudgeArgs {
    /// URL of an OpenAI-compatible chat server whose model judges free answers (metric `llm_judge`).
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge_url: Option<String>,
    /// The judge's name on its server.
    #[arg(long, value_name = "NAME", requires = "judge_url")]
    judge_model: Option<String>,
    /// Environment variable with the judge's API key.
    #[arg(long, value_name = "VARIABLE")]
    judge_key_env: Option<String>,
    /// Questions to the judge at a time.
    #[arg(long, default_value_t = 8, value_name = "N")]
    judge_concurrency: u16,
    /// Price of a million tokens that the judge reads and writes, to sum up its cost.
    #[arg(long, value_name = "PROMPT,COMPLETION", value_parser = prices)]
    judge_price: Option<Prices>,
}

fn prices(text: &str) -> Result<Prices, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|price| price.is_finite() && *price >= 0.0);
    let pair = text.split_once(',').and_then(|(p, c)| Some(Prices { prompt: number(p)?, completion: number(c)? }));
    pair.ok_or_else(|| format!("`{text}` is not two prices with a comma between them, such as 0.15,0.60"))
}

impl JudgeArgs {
    /// The judge, where one was named. Verdicts are remembered unless `remember` is off.
    pub(crate) fn judge(&self, seed: u64, timeout: u64, remember: bool) -> Result<Option<Judge>> {
        let (Some(url), Some(model)) = (&self.judge_url, &self.judge_model) else { return Ok(None) };
        let cache: Option<PathBuf> = cache_dir().filter(|_| remember).map(|dir| dir.join("verdicts.jsonl"));
        let options = JudgeOptions {
            client: client(url, self.judge_key_env.clone(), timeout, seed),
            model: model.clone(),
            concurrency: usize::from(self.judge_concurrency.max(1)),
            max_tokens: 512,
            seed,
            cache,
            prices: self.judge_price,
        };
        Ok(Some(Judge::new(options)?))
    }
}

fn client(url: &str, key_variable: Option<String>, timeout: u64, seed: u64) -> ClientOptions {
    ClientOptions {
        base_url: url.trim_end_matches('/').to_owned(),
        key_variable,
        timeout: Duration::from_secs(timeout.max(1)),
        retry: RetryPolicy { seed, ..RetryPolicy::default() },
    }
}
