//! `billon methods`.

use std::fmt::Write as _;

use clap::Args;

use super::output::{print, print_json};
use crate::error::Result;
use crate::merge::methods::{BaseRule, MergeMethod, ParameterDefault, ParameterScope, ParameterSpec, REGISTRY};
use crate::recipe::setting::Value;

/// Arguments of `billon methods`.
#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl MethodsArgs {
    pub(super) fn run(self) -> Result<()> {
        if self.json {
            let list: Vec<_> = REGISTRY
                .iter()
                .map(|m| {
                    let parameters: Vec<String> = m.parameters().iter().map(describe).collect();
                    let info = m.info();
                    serde_json::json!({
                        "name": info.name, "summary": info.summary, "reference": info.reference,
                        "inputs": inputs(*m), "parameters": parameters,
                    })
                })
                .collect();
            return print_json(&list);
        }
        let mut text = String::new();
        for method in REGISTRY {
            let _ = writeln!(text, "{}: {}", method.name(), method.info().summary);
            let _ = writeln!(text, "  inputs: {}", inputs(*method));
            for spec in method.parameters() {
                let _ = writeln!(text, "  {}: {}", describe(spec), spec.doc);
            }
        }
        print(&text)
    }
}

fn inputs(method: &dyn MergeMethod) -> String {
    let contract = method.contract();
    let number = match (contract.least, contract.most) {
        (0, _) => "any number of models".to_owned(),
        (least, usize::MAX) => format!("{least} model{} or more", if least == 1 { "" } else { "s" }),
        (1, 1) => "1 model".to_owned(),
        (least, _) => format!("{least} models"),
    };
    match contract.base {
        BaseRule::Required => format!("base model and {number}"),
        BaseRule::Optional => format!("{number}, optionally a base model"),
        BaseRule::Ignored => number,
    }
}

fn describe(spec: &ParameterSpec) -> String {
    let scope = match spec.scope {
        ParameterScope::Shared => "one value",
        ParameterScope::Input | ParameterScope::NonBaseInput => "per model",
    };
    let default = match spec.default {
        ParameterDefault::Required => "required".to_owned(),
        ParameterDefault::Absent => "none by default".to_owned(),
        ParameterDefault::Value(Value::Number(n)) => format!("default {n}"),
        ParameterDefault::Value(Value::Boolean(b)) => format!("default {b}"),
        ParameterDefault::Value(Value::Word(w)) => format!("default {w}"),
    };
    format!("{}: {scope}, {default}", spec.name)
}
