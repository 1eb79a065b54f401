//! The order tensors are listed in, and the module a tensor belongs to.

use crate::arch::{LayerStack, Place};

/// Sort key of a tensor in a listing: inputs, then layers by number, then the rest; names break
/// ties.
#[must_use]
pub(crate) fn position<'a>(name: &'a str, stack: &LayerStack) -> (u8, u64, &'a str) {
    match (stack.layer(name), stack.place(name)) {
        (Some((layer, rest)), _) => (1, layer, rest),
        (None, Place::Before) => (0, 0, name),
        (None, Place::After) => (2, 0, name),
    }
}

/// The name with its layer number replaced by `*`; other names are their own module.
#[must_use]
pub(crate) fn module(name: &str, stack: &LayerStack) -> String {
    stack.layer(name).map_or_else(|| name.to_owned(), |(_, rest)| format!("{}*.{rest}", stack.prefix()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_follows_the_model() {
        let mut names = vec!["lm_head.weight".to_owned(), "model.embed_tokens.weight".to_owned()];
        names.extend([10, 2].map(|layer| format!("model.layers.{layer}.mlp.experts.3.up_proj.weight")));
        let stack = LayerStack::from_names(names.iter().map(String::as_str), None, 0);
        names.sort_by(|a, b| position(a, &stack).cmp(&position(b, &stack)));
        let modules: Vec<_> = names.iter().map(|n| module(n, &stack)).collect();
        let layers = "model.layers.*.mlp.experts.3.up_proj.weight";
        assert_eq!(modules, ["model.embed_tokens.weight", layers, layers, "lm_head.weight"]);
        assert!(names[1].contains(".2."));
    }
}
