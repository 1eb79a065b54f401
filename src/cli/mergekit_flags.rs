//! Flags of `mergekit-yaml` that `billon merge` understands: what they ask for is done anyway, has
//! nothing to act on here, or is refused by name.

use clap::Args;

use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::Progress;

/// Flags of mergekit-yaml; none shows in the help.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct MergekitFlags {
    #[arg(long, hide = true, overrides_with = "no_copy_tokenizer")]
    copy_tokenizer: bool,
    #[arg(long, hide = true, overrides_with = "no_model_card")]
    write_model_card: bool,
    #[arg(long, hide = true, overrides_with = "no_safe_serialization")]
    safe_serialization: bool,
    #[arg(long, hide = true)]
    no_safe_serialization: bool,
    #[arg(long, hide = true, overrides_with = "no_lazy_unpickle")]
    lazy_unpickle: bool,
    #[arg(long, hide = true)]
    no_lazy_unpickle: bool,
    #[arg(long, hide = true, overrides_with = "no_low_cpu_memory")]
    low_cpu_memory: bool,
    #[arg(long, hide = true)]
    no_low_cpu_memory: bool,
    #[arg(long, hide = true, overrides_with = "no_clone_tensors")]
    clone_tensors: bool,
    #[arg(long, hide = true)]
    no_clone_tensors: bool,
    #[arg(long, hide = true, overrides_with = "no_async_write")]
    async_write: bool,
    #[arg(long, hide = true)]
    no_async_write: bool,
    #[arg(long, hide = true, overrides_with = "no_trust_remote_code")]
    trust_remote_code: bool,
    #[arg(long, hide = true)]
    no_trust_remote_code: bool,
    #[arg(long, hide = true, overrides_with = "no_cuda")]
    cuda: bool,
    #[arg(long, hide = true)]
    no_cuda: bool,
    #[arg(long, hide = true, overrides_with = "no_read_to_gpu")]
    read_to_gpu: bool,
    #[arg(long, hide = true)]
    no_read_to_gpu: bool,
    #[arg(long, hide = true, overrides_with = "no_multi_gpu")]
    multi_gpu: bool,
    #[arg(long, hide = true)]
    no_multi_gpu: bool,
    #[arg(long, hide = true, overrides_with = "no_gpu_rich")]
    gpu_rich: bool,
    #[arg(long, hide = true)]
    no_gpu_rich: bool,
    #[arg(long, hide = true, overrides_with = "allow_crimes")]
    no_allow_crimes: bool,
    #[arg(long, hide = true, overrides_with = "unsafe_truncate_embeddings")]
    no_unsafe_truncate_embeddings: bool,
    #[arg(long, hide = true, value_name = "DEVICE")]
    device: Option<String>,
    #[arg(long, hide = true, value_name = "N")]
    write_threads: Option<u32>,
    #[arg(long, hide = true, value_name = "DIR")]
    lora_merge_cache: Option<String>,
    #[arg(long, hide = true, value_name = "DTYPE")]
    lora_merge_dtype: Option<String>,
    #[arg(long, hide = true, value_name = "DIR")]
    transformers_cache: Option<String>,
    #[arg(long, short = 'v', hide = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// A flag of mergekit-yaml that asks for what is not done here.
#[derive(Debug, thiserror::Error)]
#[error("`{flag}` of mergekit-yaml is not supported: {reason}")]
struct Refused {
    flag: String,
    reason: &'static str,
    hint: &'static str,
}

impl Diagnose for Refused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec![self.hint.to_owned()]
    }
}

impl MergekitFlags {
    /// Refuses what is not supported, and says once which flags have no effect.
    ///
    /// # Errors
    /// The first flag that asks for what is not done here.
    pub(super) fn check(&self, progress: Progress<'_>) -> Result<()> {
        let gpu = [
            (self.cuda, "--cuda"),
            (self.read_to_gpu, "--read-to-gpu"),
            (self.multi_gpu, "--multi-gpu"),
            (self.gpu_rich, "--gpu-rich"),
        ];
        let device = self.device.as_ref().filter(|name| !["cpu", "auto"].contains(&name.as_str()));
        let device = device.map(|name| format!("--device {name}"));
        let gpu = gpu.iter().find(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned());
        let (cpu, remove) = ("merges run on the CPU", "remove the flag; `-j` sets the number of threads");
        let refused = if let Some(flag) = device.or(gpu) {
            Some((flag, cpu, remove))
        } else if self.trust_remote_code {
            let hint = "remove the flag: models with code of their own are merged without running it";
            Some(("--trust-remote-code".to_owned(), "no code of a model is ever run", hint))
        } else if self.no_safe_serialization {
            let hint = "remove the flag; transformers loads safetensors wherever it loads pickles";
            Some(("--no-safe-serialization".to_owned(), "only safetensors are written", hint))
        } else {
            None
        };
        if let Some((flag, reason, hint)) = refused {
            return Err(Refused { flag, reason, hint }.into());
        }
        let without = [
            (self.lora_merge_cache.is_some(), "--lora-merge-cache"),
            (self.lora_merge_dtype.is_some(), "--lora-merge-dtype"),
            (self.transformers_cache.is_some(), "--transformers-cache"),
            (self.write_threads.is_some(), "--write-threads"),
        ];
        let without: Vec<&str> = without.iter().filter(|(given, _)| *given).map(|(_, flag)| *flag).collect();
        if !without.is_empty() {
            progress.warn(format!(
                "no effect here: {} (adapters are added as they are read, in f32; models are found in HF_HUB_CACHE)",
                without.join(", ")
            ));
        }
        Ok(())
    }
}
