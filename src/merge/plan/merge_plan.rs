//! A complete plan: the models, the output tensors with their inputs, and where they go.

use crate::checkpoint::config::ModelConfig;
use crate::checkpoint::layout::{Layout, OutputTensor};
use crate::checkpoint::model_dir::Tensor;
use crate::merge::methods::{MergeMethod, Reduction, TensorParameters};
use crate::merge::plan::sources::{Model, PlannedResult};
use crate::storage::unchanged::InputChanged;

/// One input of an output tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobInput {
    /// Index into [`MergePlan::models`].
    pub model: usize,
    /// Name of the tensor there.
    pub name: String,
    /// Tensor; its range covers just the elements that take part.
    pub tensor: Tensor,
}

/// One output tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorJob {
    /// Index into [`MergePlan::outputs`].
    pub output: usize,
    /// Inputs in recipe order.
    pub inputs: Vec<JobInput>,
    pub parameters: TensorParameters,
    /// Done before the map.
    pub reduction: Reduction,
    /// Copied from its first input without arithmetic: integers, and tensors only one model has.
    pub verbatim: bool,
}

impl TensorJob {
    /// Bytes of all inputs.
    #[must_use]
    pub(crate) fn bytes_read(&self) -> u64 {
        self.inputs.iter().map(|i| i.tensor.bytes()).sum()
    }
}

/// Everything a merge will do.
#[derive(Debug)]
pub(crate) struct MergePlan {
    pub method: &'static dyn MergeMethod,
    pub models: Vec<Model>,
    /// Index of the model whose config and tokenizer are taken over.
    pub donor: usize,
    /// Output tensors by name.
    pub outputs: Vec<OutputTensor>,
    /// Jobs in file order.
    pub jobs: Vec<TensorJob>,
    pub layout: Layout,
    /// The config source's config with the changes made.
    pub config: Option<String>,
}

impl MergePlan {
    /// Bytes that the map pass reads.
    #[must_use]
    pub(crate) fn bytes_read(&self) -> u64 {
        self.jobs.iter().map(TensorJob::bytes_read).sum()
    }

    /// Bytes of all shards.
    #[must_use]
    pub(crate) fn bytes_written(&self) -> u64 {
        self.layout.bytes()
    }

    /// Number of parameters of the output.
    #[must_use]
    pub(crate) fn elements(&self) -> u64 {
        self.outputs.iter().map(|o| o.shape.iter().product::<u64>()).sum()
    }

    /// Whether the files of all models are what they were when they were opened.
    ///
    /// # Errors
    /// [`InputChanged`] naming the first file that is not.
    pub(crate) fn unchanged(&self) -> Result<(), InputChanged> {
        self.models.iter().try_for_each(Model::unchanged)
    }

    /// Result for stages that build on this plan.
    #[must_use]
    pub(crate) fn result(&self) -> PlannedResult {
        let tensors = self.outputs.iter().zip(&self.layout.places).map(|(output, &(shard, offset))| {
            let range = offset..offset + output.bytes();
            (output.name.clone(), Tensor { dtype: output.dtype, shape: output.shape.clone(), shard, range })
        });
        let parse = |text: &String| ModelConfig::parse("config.json".as_ref(), text.clone());
        let config = self.config.as_ref().map(|text| parse(text).expect("an edited config is one object, as it was"));
        let tokenizer_dir = self.models[self.donor].tokenizer_dir.clone();
        PlannedResult { tensors: tensors.collect(), config, tokenizer_dir }
    }
}
