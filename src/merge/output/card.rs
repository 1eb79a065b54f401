//! The model card: `README.md` with front matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::hub::is_repository_id;
use crate::merge::plan::MergePlan;
use crate::visible;

/// The text of the card. It names nothing that differs between two runs of one recipe.
#[must_use]
pub(crate) fn model_card(plan: &MergePlan, recipe: &str) -> String {
    let mut card = String::from("---\n");
    let hub_ids: BTreeSet<&str> = plan
        .models
        .iter()
        .map(|m| m.reference.path.as_str())
        .filter(|path| path.contains('/') && is_repository_id(path) && !std::path::Path::new(path).exists())
        .collect();
    if !hub_ids.is_empty() {
        card.push_str("base_model:\n");
        for id in hub_ids {
            let _ = writeln!(card, "- {id}");
        }
    }
    card.push_str("library_name: transformers\ntags:\n- billon\n- mergekit\n- merge\n---\n\n");
    let method = plan.method;
    let _ = writeln!(card, "# Merged model\n");
    let _ = writeln!(
        card,
        "Merged with billon {} by the [`{}`]({}) method: {}.\n",
        env!("CARGO_PKG_VERSION"),
        method.name(),
        method.info().reference,
        method.info().summary
    );
    let donor = plan.models[plan.donor].reference.to_string();
    let donor = visible::value(&donor).replace('`', "'");
    let _ = writeln!(card, "Config and tokenizer come from `{donor}`.\n\n## Models\n");
    for model in &plan.models {
        let _ = writeln!(card, "- `{}`", visible::value(&model.reference.to_string()).replace('`', "'"));
    }
    // A fence longer than any run of backticks in the recipe.
    let longest = recipe.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(card, "\n## Recipe\n\n{fence}yaml\n{}\n{fence}\n", recipe.trim_end());
    card.push_str("`billon.lock.json` holds the hashes of all inputs and outputs; `billon verify` checks them.\n");
    card
}
