//! `config.resolved.yaml`: a recipe with every default written out, which reads back as itself.

use std::fmt::{Display, Write as _};

use super::datasets::FORMATS;
use super::schema::{
    AdapterRecipe, DatasetRecipe, EvaluationRecipe, ExcessLength, LoraRecipe, Scheduler, TargetModules, TrainRecipe,
    UnsupportedSystem, Warmup,
};

impl TrainRecipe {
    /// The recipe as YAML, defaults written out and canonical keys throughout: parsing it gives the same
    /// recipe.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml = Yaml::default();
        yaml.entry("base_model", quote(&self.base_model));
        match &self.adapter {
            AdapterRecipe::Full => yaml.entry("adapter", "full"),
            AdapterRecipe::Lora(lora) => lora.write(&mut yaml),
        }
        yaml.option("loraplus_lr_ratio", self.loraplus_lr_ratio.map(float));
        yaml.line("datasets:");
        for set in &self.datasets {
            set.write(&mut yaml);
        }
        yaml.entry("mixing_temperature", float(self.mixing_temperature));
        yaml.entry("sequence_len", self.sequence_len);
        let excess = match self.excess_length {
            ExcessLength::Shorten => "shorten",
            ExcessLength::Drop => "drop",
            ExcessLength::Raise => "raise",
        };
        yaml.entry("excess_length", excess);
        yaml.entry("sample_packing", self.sample_packing);
        yaml.option("chat_template", self.chat_template.as_deref().map(quote));
        yaml.option("apply_chat_template", self.apply_chat_template);
        match self.unsupported_system {
            UnsupportedSystem::Raise => {}
            UnsupportedSystem::Prepend => yaml.entry("unsupported_system", "prepend"),
            UnsupportedSystem::Drop => yaml.entry("unsupported_system", "drop"),
        }
        if !self.special_tokens.is_empty() {
            let entries: Vec<String> =
                self.special_tokens.iter().map(|(role, text)| format!("{role}: {}", quote(text))).collect();
            yaml.entry("special_tokens", format!("{{{}}}", entries.join(", ")));
        }
        if !self.eot_tokens.is_empty() {
            yaml.entry("eot_tokens", list(&self.eot_tokens));
        }
        yaml.entry("train_on_inputs", self.train_on_inputs);
        yaml.entry("val_set_size", float(self.val_set_size));
        yaml.entry("micro_batch_size", self.micro_batch_size);
        yaml.entry("gradient_accumulation_steps", self.gradient_accumulation_steps);
        yaml.entry("num_epochs", float(self.num_epochs));
        yaml.option("max_steps", self.max_steps);
        yaml.entry("learning_rate", float(self.learning_rate));
        let scheduler = match self.lr_scheduler {
            Scheduler::Cosine => "cosine",
            Scheduler::Linear => "linear",
            Scheduler::Constant => "constant_with_warmup",
        };
        yaml.entry("lr_scheduler", scheduler);
        match self.warmup {
            Warmup::Steps(steps) => yaml.entry("warmup_steps", steps),
            Warmup::Ratio(ratio) => yaml.entry("warmup_ratio", float(ratio)),
        }
        yaml.entry("optimizer", "adamw");
        yaml.entry("weight_decay", float(self.weight_decay));
        yaml.entry("adam_beta1", float(self.adam_beta1));
        yaml.entry("adam_beta2", float(self.adam_beta2));
        yaml.entry("adam_epsilon", float(self.adam_epsilon));
        yaml.entry("max_grad_norm", float(self.max_grad_norm));
        yaml.entry(
            "gradient_checkpointing",
            self.gradient_checkpointing.map_or("auto".to_owned(), |flag| flag.to_string()),
        );
        yaml.entry("shuffle", self.shuffle);
        yaml.entry("seed", self.seed);
        yaml.entry("logging_steps", self.logging_steps);
        yaml.option("save_steps", self.save_steps);
        yaml.option("save_steps", self.save_share.map(float));
        yaml.option("saves_per_epoch", self.saves_per_epoch);
        yaml.option("save_total_limit", self.save_total_limit);
        self.evaluation.write(&mut yaml);
        yaml.text
    }
}

impl LoraRecipe {
    fn write(&self, yaml: &mut Yaml) {
        let start = self.init_from.as_ref();
        // What the adapter to start from decides has no value before it is read.
        let is_set = |key: &str| start.is_none_or(|start| !start.inherited.contains(&key));
        let mut entry = |key: &'static str, value: String| {
            if is_set(key) {
                yaml.entry(key, value);
            }
        };
        entry("adapter", "lora".to_owned());
        entry("lora_r", self.r.to_string());
        entry("lora_alpha", float(self.lora_alpha));
        entry("lora_dropout", float(self.lora_dropout));
        let targets = match &self.target_modules {
            TargetModules::AllLinear => "all-linear".to_owned(),
            TargetModules::Names(names) => list(names),
            TargetModules::Pattern(pattern) => quote(pattern),
        };
        entry("target_modules", targets);
        entry("use_rslora", self.use_rslora.to_string());
        entry("use_dora", self.use_dora.to_string());
        // An adapter to start from could have some: that there are none is then said.
        let told = |empty: bool| start.is_some() || !empty;
        if told(self.rank_pattern.is_empty()) {
            let ranks = self.rank_pattern.iter().map(|(name, rank)| format!("{}: {rank}", quote(name)));
            entry("rank_pattern", format!("{{{}}}", ranks.collect::<Vec<_>>().join(", ")));
        }
        if told(self.alpha_pattern.is_empty()) {
            let alphas = self.alpha_pattern.iter().map(|(name, alpha)| format!("{}: {}", quote(name), float(*alpha)));
            entry("alpha_pattern", format!("{{{}}}", alphas.collect::<Vec<_>>().join(", ")));
        }
        if told(self.modules_to_save.is_empty()) {
            entry("modules_to_save", list(&self.modules_to_save));
        }
        // A path that is no UTF-8 can't have come from a recipe. As a list, a comma stays a part of it.
        yaml.option("init_from", start.map(|start| list(&[start.path.to_string_lossy().into_owned()])));
    }
}

impl DatasetRecipe {
    fn write(&self, yaml: &mut Yaml) {
        yaml.line(&format!("  - name: {}", quote(&self.name)));
        yaml.indented("path", Some(quote(&self.path)));
        let format = FORMATS.iter().find(|(_, format)| *format == self.format).map(|(name, _)| *name);
        yaml.indented("format", format);
        yaml.indented("split", self.split.as_deref().map(quote));
        yaml.indented("weight", self.weight.map(float));
        yaml.indented("max_rows", self.max_rows);
        yaml.indented("share", self.share.map(float));
    }
}

impl EvaluationRecipe {
    fn write(&self, yaml: &mut Yaml) {
        if *self == Self::default() {
            return;
        }
        yaml.line("evaluation:");
        let mut entry = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                yaml.line(&format!("  {key}: {value}"));
            }
        };
        entry("eval_strategy", self.disabled.then(|| "no".to_owned()));
        entry("eval_steps", self.eval_steps.map(|n| n.to_string()).or(self.eval_share.map(float)));
        entry("evals_per_epoch", self.evals_per_epoch.map(|n| n.to_string()));
        entry("tasks", Some(list(&self.tasks)).filter(|_| !self.tasks.is_empty()));
        entry("limit", self.limit.map(|n| n.to_string()));
        entry("num_fewshot", self.num_fewshot.map(|n| n.to_string()));
        if let Some(best) = &self.best {
            entry("metric_for_best_model", Some(quote(&best.metric)));
            entry("greater_is_better", Some(best.greater_is_better.to_string()));
            entry("early_stopping_patience", best.early_stopping_patience.map(|n| n.to_string()));
            entry("load_best_model_at_end", Some(best.load_at_end.to_string()));
        }
    }
}

#[derive(Default)]
struct Yaml {
    text: String,
}

impl Yaml {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn entry(&mut self, key: &str, value: impl Display) {
        self.line(&format!("{key}: {value}"));
    }

    fn option(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.entry(key, value);
        }
    }

    fn indented(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(&format!("    {key}: {value}"));
        }
    }
}

/// The shortest text that reads back as the same number.
fn float(x: f64) -> String {
    if x == f64::INFINITY { ".inf".to_owned() } else { format!("{x:?}") }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(", "))
}

/// A text as a YAML scalar: bare where nothing in it could be misread, else in double quotes.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
    let bare = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.'))
        && text.chars().all(plain)
        && !matches!(text.to_ascii_lowercase().as_str(), "null" | "..." | ".");
    if bare {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}
