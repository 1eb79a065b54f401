//! Internals for the benches, the integration tests, the fuzz targets and the binary. No promise is made about any
//! of it.

pub use crate::checkpoint::header::{Header, HeaderError};
pub use crate::checkpoint::{ModelDir, TensorSource};
pub use crate::cli::main;
pub use crate::convert::gguf::header::GgufHeader;
pub use crate::convert::{ConvertOptions, convert};
pub use crate::demo::{write_data, write_untrained};
pub use crate::dtype::{DType, f32_to_bf16};
pub use crate::error::{Diagnose, ErrorKind};
pub use crate::eval::compare::paired::bootstrap;
pub use crate::eval::compare::{Mover, PairedTally, Quantity, Side};
pub use crate::eval::gate::decision::holm;
pub use crate::eval::gate::{Evidence, GateConfig};
pub use crate::eval::judge::{Judge, JudgeOptions, Prices, Question, Verdict, accuracy};
pub use crate::eval::language_model::{GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
pub use crate::eval::local::{LocalModel, LocalOptions};
pub use crate::eval::metrics::{DocumentValue, Statistic};
pub use crate::eval::open::{open_merged, open_model};
pub use crate::eval::results::RunResults;
pub use crate::eval::server::{ClientOptions, Decode, Needs, OpenAiServer, RetryPolicy, ServerOptions};
pub use crate::event::{CancelFlag, Event, Progress, Reporter, Silent};
pub use crate::lora::{Adapter, Factors, LoraConfig, SavedTensor, TargetModules};
pub use crate::merge::output::lock::Lock;
pub use crate::merge::verify::{VerifyOptions, verify};
pub use crate::merge::{MergeOptions, MergedModel, in_memory};
pub use crate::model::{
    Decoder, DecoderOptions, RopeFactors, Sampling, Segment, Sequence, WeightPool, WeightedAdapter, step,
};
pub use crate::parallel::Workers;
pub use crate::recipe::RecipeFile;
pub use crate::recipe::setting::ParameterKind;
pub use crate::rng::Philox;
pub use crate::stats::discordant::Discordant;
pub use crate::stats::resample::{Draws, Resampling};
pub use crate::storage::hash::{HashCache, sha256_bytes};
pub use crate::storage::mapped::MappedFile;
pub use crate::storage::publish::StagingDir;
pub use crate::tokenizer::{ChatTemplate, Message, SpecialTokens, Tokenizer, TokenizerError};
pub use crate::train::data::{Example, TrainingData, show};
pub use crate::train::recipe::{DataFormat, DatasetRecipe, ExcessLength, TrainRecipe, UnsupportedSystem};

/// The kernels that merge methods are made of.
pub mod merge_kernels {
    pub use crate::compute::merge::cpu::Cpu;
    pub use crate::compute::merge::{
        Bracket, Coefficient, ComputeType, Delta, Digit, MergeKernels, Operand, Output, Selection, TaskVectors,
        WeightedSum,
    };
}

/// The decoder's kernels.
pub mod nn {
    pub use crate::compute::nn::{
        Activation, AttentionShape, KeyValues, PackedMatrix, WeightDtype, attention, gated, log_softmax_at, rms_norm,
        rotate,
    };
}

/// Task files and their prompts.
pub mod task {
    pub use crate::task::{Ask, Documents, PromptSettings, Rendered, Task, load, load_from};
}

/// Files, graphs and plans of experiments.
pub mod experiment {
    pub use crate::experiment::Graph;
    pub use crate::experiment::plan::plan;
    pub use crate::experiment::state::State;
    /// Experiment files.
    pub mod file {
        pub use crate::experiment::file::load;
    }
}
