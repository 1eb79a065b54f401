//! Models whose tensor names differ from the config source's by a prefix are planned under its names.

use std::collections::BTreeSet;

use crate::arch::{self, Alignment};
use crate::error::ErrorKind;
use crate::merge::plan::sources::Model;
use crate::recipe::{Diagnostics, ModelReference, Span};

/// Renames the tensors of models where prefixes explain the difference, with a warning. Notes one error
/// for a model whose names two prefixes would explain, or that has no name in common with the others.
pub(super) fn align(
    models: Vec<Model>,
    donor: usize,
    span: impl Fn(&ModelReference) -> Option<Span>,
    diagnostics: &mut Diagnostics,
) -> Vec<Model> {
    fn shapes(model: &Model) -> impl Iterator<Item = (&str, &[u64])> {
        model.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
    }
    let alignments: Vec<Alignment> = models
        .iter()
        .enumerate()
        .map(|(i, model)| match models.get(donor) {
            Some(wanted) if i != donor => arch::align(shapes(model), shapes(wanted)),
            _ => Alignment::Unchanged,
        })
        .collect();
    let Some(wanted) = models.get(donor) else { return models };
    let (reference, example) = (wanted.reference.to_string(), wanted.tensors.keys().next().cloned());
    let known: BTreeSet<String> = wanted.tensors.keys().cloned().collect();
    let mut renamed = Vec::with_capacity(models.len());
    for (i, (model, alignment)) in models.into_iter().zip(alignments).enumerate() {
        let place = span(&model.reference);
        match alignment {
            Alignment::Renamed(prefixes) => {
                let rules = prefixes.rules().iter().map(|(from, to)| format!("`{from}*` stands for `{to}*`"));
                let rules = rules.collect::<Vec<_>>().join(", ");
                let message =
                    format!("tensor names of `{}` differ from `{reference}` by a prefix: {rules}", model.reference);
                diagnostics.warning(place, message, None);
                renamed.push(model.renamed(|name| prefixes.rename(name)));
            }
            Alignment::Ambiguous { name, candidates: [first, second] } => {
                let message = format!(
                    "tensor names of `{}` differ from `{reference}` by a prefix that is not clear: `{name}` could be \
                     `{first}` or `{second}`",
                    model.reference
                );
                let help = "rename the tensors of one of the models so that the names agree";
                diagnostics.model_error(ErrorKind::Mismatch, place, message, help);
                renamed.push(model);
            }
            Alignment::Unchanged => {
                let strange = i != donor && !model.tensors.keys().any(|name| known.contains(name));
                if let (true, Some(own), Some(example)) = (strange, model.tensors.keys().next(), &example) {
                    let message = format!(
                        "`{}` and `{reference}` have no tensor name in common: `{own}` against `{example}`",
                        model.reference
                    );
                    let help = "only models of one architecture can be merged";
                    diagnostics.model_error(ErrorKind::Mismatch, place, message, help);
                }
                renamed.push(model);
            }
        }
    }
    renamed
}
