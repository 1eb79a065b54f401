//! Report of a merge, as data.

use std::path::PathBuf;

use serde::Serialize;

/// The result of a merge.
#[derive(Debug, Clone, Serialize)]
pub struct MergeReport {
    /// The published directory.
    pub output: PathBuf,
    /// Method of the last stage.
    pub method: String,
    /// Stages run.
    pub stages: usize,
    /// Models of the last stage.
    pub models: Vec<String>,
    /// Parameters of the output.
    pub parameters: u64,
    /// Output tensors.
    pub tensors: usize,
    /// Output shards.
    pub shards: usize,
    /// Bytes of the tensors that took part, each counted once, over all stages.
    pub bytes_read: u64,
    /// Bytes of shards written, over all stages.
    pub bytes_written: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Worker threads.
    pub threads: usize,
    /// MergeKernels that computed.
    pub backend: String,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// A plan, for people and scripts.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// One entry per document, in execution order.
    pub stages: Vec<StagePlan>,
    /// Warnings of planning.
    pub warnings: Vec<String>,
}

/// The plan of one document.
#[derive(Debug, Clone, Serialize)]
pub struct StagePlan {
    /// `name:` of the document.
    pub name: Option<String>,
    /// Merge method, as recipes name it.
    pub method: String,
    /// Models in order.
    pub models: Vec<String>,
    /// Model whose config and tokenizer are taken over.
    pub donor: String,
    /// Output parameters.
    pub parameters: u64,
    /// Bytes to read, each input tensor once.
    pub bytes_read: u64,
    /// Bytes to write.
    pub bytes_written: u64,
    /// Estimated peak of resident memory.
    pub peak_memory: u64,
    /// Shards: file name and bytes.
    pub shards: Vec<(String, u64)>,
    /// Every output tensor, in file order.
    pub tensors: Vec<TensorPlan>,
}

/// The plan of one output tensor.
#[derive(Debug, Clone, Serialize)]
pub struct TensorPlan {
    /// Name of the output tensor.
    pub name: String,
    /// Stored dtype.
    pub dtype: String,
    /// Sizes of the dimensions, slowest first.
    pub shape: Vec<u64>,
    /// Stored bytes.
    pub bytes: u64,
    /// `copy`, or the method.
    pub operation: String,
    /// Shared parameters.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Inputs with their parameters.
    pub inputs: Vec<InputPlan>,
}

/// One input of an output tensor.
#[derive(Debug, Clone, Serialize)]
pub struct InputPlan {
    /// Reference of the model.
    pub model: String,
    /// Tensor there.
    pub tensor: String,
    /// Stored dtype of the input.
    pub dtype: String,
    /// Parameters of the method for this input, by name.
    pub parameters: serde_json::Map<String, serde_json::Value>,
}
