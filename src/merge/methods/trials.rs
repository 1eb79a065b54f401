//! Broken methods, registered for unit tests only: each must end a merge with an internal error and no output.
//!
//! The registry finds them by name, so that recipes of tests reach them as users reach a method.

use super::params::{PerModel, params};
use super::{
    BaseRule, Coefficients, DotProducts, ElementwiseMethod, InputContract, Map, MergeMethod, MethodFault, MethodInfo,
    Reduction, ReductionResult, TensorParameters,
};
use crate::compute::merge::Selection;

pub(super) const TRIALS: &[&dyn MergeMethod] = &[
    &Trial { name: "trial_no_base", defect: Defect::NoBase },
    &Trial { name: "trial_short", defect: Defect::ShortCoefficients },
    &Trial { name: "trial_rows", defect: Defect::ShortRows },
    &Trial { name: "trial_not_measured", defect: Defect::NotMeasured },
    &Trial { name: "trial_vectors", defect: Defect::Vectors },
];

#[derive(Clone, Copy, PartialEq)]
enum Defect {
    /// Task vectors with an optional base, for a recipe without one.
    NoBase,
    /// A coefficient less than inputs.
    ShortCoefficients,
    /// A row less than the tensor has.
    ShortRows,
    /// Reads products that it did not ask for.
    NotMeasured,
    /// Asks for products of an input that is not there.
    Vectors,
}

struct Trial {
    name: &'static str,
    defect: Defect,
}

params! {
    /// Parameters of every trial.
    struct TrialParameters {
        /// Factor of the model.
        weight: PerModel<f64> = 1.0,
        /// Factor of the merged task vector.
        lambda: f64 = 1.0,
    }
}

impl ElementwiseMethod for Trial {
    type Parameters = TrialParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: self.name,
            summary: "trial",
            reference: "none",
            contract: InputContract { base: BaseRule::Optional, least: 1, most: usize::MAX },
            copies_lone_tensor: false,
        }
    }

    fn reduction(&self, _parameters: &TrialParameters, tensor: &TensorParameters) -> Result<Reduction, MethodFault> {
        let vectors = vec![0, tensor.inputs.len()];
        let products = DotProducts { axis: super::Axis::Whole, vectors, base: None };
        Ok(if self.defect == Defect::Vectors { Reduction::DotProducts(products) } else { Reduction::None })
    }

    fn map(
        &self,
        TrialParameters { weight: PerModel(mut weights), lambda }: TrialParameters,
        tensor: &TensorParameters,
        reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let models = weights.len();
        match self.defect {
            Defect::NoBase => {
                return Ok(Map::TaskVectors {
                    base: tensor.required_base()?,
                    coefficients: Coefficients::Uniform(weights),
                    selections: vec![Selection::All; models],
                    consensus: false,
                    normalize: false,
                    divisor: Some(models as f64),
                    scale: lambda,
                });
            }
            Defect::ShortRows => {
                let rows = (tensor.elements() / 4).saturating_sub(1) as usize;
                return Ok(Map::WeightedSum { coefficients: Coefficients::PerRow(vec![weights; rows]), divisor: None });
            }
            Defect::NotMeasured => {
                reduced.pair(0)?;
            }
            Defect::ShortCoefficients | Defect::Vectors => {
                weights.pop();
            }
        }
        Ok(Map::WeightedSum { coefficients: Coefficients::Uniform(weights), divisor: None })
    }
}

mod tests {
    use std::path::Path;

    use crate::compute::merge::cpu::Cpu;
    use crate::error::{ErrorKind, Result};
    use crate::event::{CancelFlag, Progress, Silent};
    use crate::merge::execute::executor::execute_in_memory;
    use crate::merge::plan::options::MergeOptions;
    use crate::merge::plan::sources::Resolver;
    use crate::merge::stages::plan_recipe;
    use crate::parallel::Workers;
    use crate::recipe::RecipeFile;

    /// A model whose float tensor comes after one of integers: a chunk of the former that is not written would hold
    /// bytes of the latter.
    fn write_model(directory: &Path, value: f32) {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(
            directory.join("config.json"),
            r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#,
        )
        .unwrap();
        let header = r#"{"a.ids":{"dtype":"I32","shape":[8],"data_offsets":[0,32]},"b.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[32,64]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend((11_i32..19).flat_map(i32::to_le_bytes));
        bytes.extend((0..8).flat_map(|_| value.to_le_bytes()));
        std::fs::write(directory.join("model.safetensors"), bytes).unwrap();
    }

    /// Merges two such models, without a base.
    fn merge(method: &str) -> Result<Vec<Vec<u8>>> {
        let directory = tempfile::tempdir().unwrap();
        let model = |name: &str| directory.path().join(name);
        write_model(&model("m1"), 1.0);
        write_model(&model("m2"), 3.0);
        let text = format!(
            "merge_method: {method}\nmodels:\n  - model: {}\n    parameters: {{weight: 1}}\n  - model: {}\n    parameters: {{weight: 1}}\n",
            model("m1").display(),
            model("m2").display()
        );
        let options = MergeOptions { allow_mismatch: true, ..MergeOptions::default() };
        let file = RecipeFile::parse(Path::new("r.yml"), &text, false);
        let planned = plan_recipe(&file, &Resolver::from_environment(), &options)?;
        let progress = Progress { reporter: &Silent, cancel: &CancelFlag::new() };
        Ok(execute_in_memory(&planned.plans[0], &Cpu, Workers::new(2), progress)?.0)
    }

    #[test]
    fn a_broken_method_ends_a_merge_with_an_internal_error_and_no_stale_bytes() {
        for (trial, fault) in [
            ("trial_no_base", "needs a base model"),
            ("trial_short", "1 coefficients"),
            ("trial_rows", "1 rows of coefficients"),
            ("trial_not_measured", "did not ask to be measured"),
            ("trial_vectors", "3 vectors"),
        ] {
            let error = merge(trial).expect_err(trial);
            assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Internal, 1), "{trial}");
            let text = error.to_string();
            assert!(text.contains(trial) && text.contains("`b.weight`") && text.contains(fault), "{trial}: {text}");
            assert!(error.hints().iter().any(|hint| hint.contains("defect of billon")), "{trial}");
        }
    }

    #[test]
    fn the_same_models_merge_with_a_method_that_holds_its_contract() {
        let integers: Vec<u8> = (11_i32..19).flat_map(i32::to_le_bytes).collect();
        let means: Vec<u8> = (0..8).flat_map(|_| 2.0_f32.to_le_bytes()).collect();
        assert_eq!(merge("linear").unwrap(), [integers, means]);
    }
}
