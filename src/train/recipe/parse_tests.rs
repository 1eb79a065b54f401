//! Recipes of four vocabularies, their faults, and the way back to YAML.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::train::recipe::schema::StartAdapter;

fn parse(text: &str) -> (TrainRecipe, Vec<String>) {
    TrainRecipe::parse("r.yml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn fault(text: &str) -> String {
    TrainRecipe::parse("r.yml", text).unwrap_err().to_string()
}

/// A recipe that is complete, with more lines.
fn with(lines: &str) -> String {
    format!("base_model: m\ndatasets: [fpb]\n{lines}\n")
}

fn lora(recipe: &TrainRecipe) -> &LoraRecipe {
    match &recipe.adapter {
        AdapterRecipe::Lora(lora) => lora,
        AdapterRecipe::Full => panic!("no adapter"),
    }
}

fn names(names: &[&str]) -> TargetModules {
    TargetModules::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn the_examples_parse_without_a_warning_and_read_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/train");
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        let (recipe, warnings) = TrainRecipe::load(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(warnings, Vec::<String>::new(), "{}", file.display());
        assert_eq!(parse(&recipe.to_yaml()), (recipe, Vec::new()));
    }
}

#[test]
fn an_axolotl_recipe() {
    let (recipe, warnings) = parse(
        "base_model: NousResearch/Llama-3.2-1B\nmodel_type: LlamaForCausalLM\ntokenizer_type: AutoTokenizer\n\
         load_in_8bit: false\nload_in_4bit: false\nstrict: false\nrl:\n\
         datasets:\n  - path: data/a.jsonl\n    type: alpaca\n    ds_type: json\n    split: train\n  \
         - path: json\n    data_files: [data/b.jsonl, data/c.jsonl]\n    type: chat_template\n    field_messages: conversations\n    \
         roles_to_train: [assistant]\n    train_on_eos: turn\n\
         dataset_prepared_path: last_run_prepared\nval_set_size: 0.05\noutput_dir: ./outputs/out\n\
         sequence_len: 4096\nsample_packing: true\neval_sample_packing: false\npad_to_sequence_len: true\n\
         excess_length_strategy: drop\nadapter: lora\nlora_model_dir:\nlora_r: 32\nlora_alpha: 16\nlora_dropout: 0.05\n\
         lora_target_linear: true\nlora_target_modules: [gate_proj, q_proj]\nlora_fan_in_fan_out:\n\
         peft_use_rslora: true\nlora_modules_to_save: [embed_tokens, lm_head]\n\
         wandb_project: p\nwandb_entity:\ngradient_accumulation_steps: 4\nmicro_batch_size: 2\nnum_epochs: 1\n\
         optimizer: adamw_8bit\nlr_scheduler: cosine\nlearning_rate: 0.0002\ntrain_on_inputs: false\ngroup_by_length: false\n\
         bf16: auto\nfp16:\ntf32: false\ngradient_checkpointing: true\nearly_stopping_patience: 2\nresume_from_checkpoint:\n\
         logging_steps: 1\nflash_attention: true\nwarmup_steps: 10\nevals_per_epoch: 4\nsaves_per_epoch: 1\ndebug:\n\
         deepspeed:\nweight_decay: 0.0\nfsdp:\nspecial_tokens: {}\n",
    );
    assert_eq!(lora(&recipe).target_modules, TargetModules::AllLinear);
    assert_eq!((lora(&recipe).r, lora(&recipe).lora_alpha, lora(&recipe).use_rslora), (32, 16.0, true));
    assert_eq!(lora(&recipe).modules_to_save, ["embed_tokens", "lm_head"]);
    let sets: Vec<_> = recipe.datasets.iter().map(|set| (set.name.as_str(), set.path.as_str(), set.format)).collect();
    let expected = [
        ("a", "data/a.jsonl", DataFormat::Alpaca),
        ("b", "data/b.jsonl", DataFormat::ShareGpt),
        ("c", "data/c.jsonl", DataFormat::ShareGpt),
    ];
    assert_eq!(sets, expected);
    assert!(recipe.datasets.iter().all(|set| set.split.is_none()));
    assert_eq!((recipe.val_set_size, recipe.sequence_len, recipe.sample_packing), (0.05, 4096, true));
    assert_eq!(recipe.excess_length, ExcessLength::Drop);
    assert_eq!((recipe.warmup, recipe.lr_scheduler), (Warmup::Steps(10), Scheduler::Cosine));
    assert_eq!((recipe.saves_per_epoch, recipe.evaluation.evals_per_epoch), (Some(1), Some(4)));
    let best = recipe.evaluation.best.as_ref().unwrap();
    assert_eq!((best.metric.as_str(), best.greater_is_better), ("eval_loss", false));
    assert_eq!(best.early_stopping_patience, Some(2));
    assert_eq!(recipe.gradient_checkpointing, Some(true));
    // One about the covered modules, one about the optimiser, one about all that is passed over.
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[2].contains("`bf16`") && warnings[2].contains("`flash_attention`"), "{}", warnings[2]);
    assert!(!warnings[2].contains("`fp16`"), "an empty key says nothing: {}", warnings[2]);
}

#[test]
fn a_trl_recipe() {
    let (recipe, warnings) = parse(
        "model_name_or_path: Qwen/Qwen2-0.5B\ntorch_dtype: bfloat16\nattn_implementation: flash_attention_2\n\
         dataset_name: data/chat.jsonl\nlearning_rate: 2.0e-5\nnum_train_epochs: 2\npacking: false\n\
         per_device_train_batch_size: 2\ngradient_accumulation_steps: 8\ngradient_checkpointing: true\n\
         gradient_checkpointing_kwargs: {use_reentrant: false}\nmax_length: 1024\ncompletion_only_loss: false\n\
         eos_token:\nlogging_steps: 25\neval_strategy: steps\neval_steps: 0.1\nsave_strategy: epoch\nuse_peft: true\nlora_r: 8\n\
         lora_alpha: 16\nlora_target_modules: '.*\\.(q|v)_proj'\nuse_dora: true\noptim: adamw_torch\nlr_scheduler_type: constant_with_warmup\n\
         warmup_ratio: 0.1\nwarmup_steps: 0\nmetric_for_best_model: loss\nload_best_model_at_end: true\nval_set_size: 0.1\n\
         report_to: none\npush_to_hub: false\nloss_type: nll\n",
    );
    assert_eq!(lora(&recipe).target_modules, TargetModules::Pattern(".*\\.(q|v)_proj".into()));
    assert!(lora(&recipe).use_dora && recipe.train_on_inputs);
    assert_eq!((recipe.warmup, recipe.lr_scheduler), (Warmup::Ratio(0.1), Scheduler::Constant));
    assert_eq!((recipe.evaluation.eval_share, recipe.saves_per_epoch), (Some(0.1), Some(1)));
    assert_eq!(recipe.evaluation.interval(101, 50), Some(11), "rounded up, as transformers does");
    assert_eq!(recipe.save_interval(100, 50), Some(50));
    assert_eq!((recipe.datasets[0].name.as_str(), recipe.learning_rate), ("chat", 2e-5));
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
}

#[test]
fn a_llama_factory_recipe() {
    let (recipe, warnings) = parse(
        "model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct\ntrust_remote_code: true\nstage: sft\ndo_train: true\n\
         finetuning_type: lora\nlora_rank: 8\nlora_target: q_proj,v_proj\nloraplus_lr_ratio: 16\nadditional_target: embed_tokens\n\
         dataset: identity,alpaca_en_demo\ndataset_dir: data\ntemplate: llama3\ncutoff_len: 2048\nmax_samples: 1000\nneat_packing: true\n\
         packing: true\noverwrite_cache: true\npreprocessing_num_workers: 16\noutput_dir: saves\nlogging_steps: 10\nsave_steps: 500\n\
         plot_loss: true\noverwrite_output_dir: true\nsave_only_model: false\nreport_to: none\nper_device_train_batch_size: 1\n\
         gradient_accumulation_steps: 8\nlearning_rate: 1.0e-4\nnum_train_epochs: 3.0\nlr_scheduler_type: cosine\nwarmup_ratio: 0.1\n\
         bf16: true\nddp_timeout: 180000000\nresume_from_checkpoint: null\nval_size: 0.1\nper_device_eval_batch_size: 1\n\
         eval_strategy: steps\nmask_history: false\nadapter_name_or_path: old/adapter\ntrain_on_prompt: false\n",
    );
    assert_eq!(lora(&recipe).target_modules, names(&["q_proj", "v_proj"]));
    assert_eq!((lora(&recipe).r, lora(&recipe).lora_alpha), (8, 16.0), "alpha is twice the rank where it is not set");
    let start = lora(&recipe).init_from.as_ref().unwrap();
    assert_eq!(start.path, PathBuf::from("old/adapter"));
    assert_eq!(
        start.inherited,
        ["lora_alpha", "lora_dropout", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"]
    );
    let sets: Vec<_> = recipe.datasets.iter().map(|set| (set.name.as_str(), set.max_rows)).collect();
    assert_eq!(sets, [("identity", Some(1000)), ("alpaca_en_demo", Some(1000))]);
    assert_eq!((recipe.save_steps, recipe.evaluation.eval_steps), (Some(500), Some(500)));
    assert!(recipe.sample_packing && !recipe.train_on_inputs);
    assert_eq!(recipe.loraplus_lr_ratio, Some(16.0));
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].contains("`llama3` is not built in"), "{}", warnings[0]);
}

#[test]
fn every_fault_has_a_place_and_a_cure() {
    for (lines, parts) in [
        ("lern_rate: 1", &["unknown key `lern_rate`", "r.yml:3:1", "did you mean `learning_rate`?"][..]),
        ("learning_rate: fast", &["`learning_rate` must be a number above 0", "r.yml:3:16"]),
        ("lora_r: 16\nlora_rank: 8", &["`lora_r` and `lora_rank` set the same thing to different", "r.yml:4:1"]),
        ("completion_only_loss: true\ntrain_on_inputs: true", &["`completion_only_loss` and `train_on_inputs`"]),
        ("qat: true", &["`qat` is not supported", "leave quantisation out"]),
        ("adapter: ia3", &["`adapter: ia3` is not supported", "`full`"]),
        ("rl: dpo", &["`rl` is not supported", "supervised"]),
        ("lora_bias: all", &["`lora_bias` is not supported"]),
        ("optim: sgd", &["optimiser `sgd`", "write `adamw`"]),
        ("lr_scheduler: polynomial", &["unknown value of `lr_scheduler`: `polynomial`", "cosine, linear"]),
        ("warmup_steps: 5\nwarmup_ratio: 0.1", &["set different warm-ups"]),
        ("val_size: 500", &["share of each data set's rows", "0.05"]),
        ("num_epochs: .inf", &["`num_epochs` must be"]),
        ("target_modules: '(q_proj'", &["no regular expression", "unterminated subpattern"]),
        ("target_modules: ['q_proj', 'v.*']", &["`v.*` is a pattern"]),
        ("lora_target_linear: true\nlora_target_modules: [embed_tokens]", &["choose different modules"]),
        ("metric_for_best_model: fpb/acc", &["list the task under `evaluation: tasks:`"]),
        ("early_stopping_patience: 3", &["no rows are held out", "val_set_size"]),
        ("metric_for_best_model: accuracy", &["`accuracy` is no measure"]),
        ("evaluation: {tsaks: [a]}", &["unknown key `tsaks`", "`tasks`?", "r.yml:3:14"]),
        ("limit: 5", &["wrong place", "`evaluation:`"]),
        ("save_strategy: best", &["`save_strategy: best`"]),
        ("adapter: full\ninit_from: a", &["none is trained"]),
        ("seed: -1", &["`seed` must be a whole number of 0 or more"]),
        ("rank_pattern: {q_proj: 0}", &["`q_proj` must be a whole number of 1"]),
    ] {
        let message = fault(&with(lines));
        for part in parts {
            assert!(message.contains(part), "{lines}: {part}: {message}");
        }
        assert!(message.starts_with("1 problem in r.yml"), "{lines}: {message}");
    }
    for (sets, part) in [
        ("[{path: a, weigth: 1}]", "`weight`?"),
        ("[{path: a, share: 0.5}]", "every data set has a `share`"),
        ("[a, {path: b, share: 0.5}, {path: c, share: 0.6}]", "leaves no room"),
        ("[{path: a, weight: 1, share: 0.5}, b]", "either a `weight` or a `share`"),
        ("[{name: x, path: a}, {name: x, path: b}]", "two data sets are called `x`"),
        ("[{path: a, type: {field_instruction: q}}]", "rename the columns"),
        ("[{path: a, type: alpacca}]", "`alpaca`?"),
        ("[{path: a, train_on_eos: all}]", "may only say turn"),
        ("[{name: a}]", "needs a `path`"),
        ("[]", "lists no data set"),
    ] {
        let message = fault(&format!("base_model: m\ndatasets: {sets}\n"));
        assert!(message.contains(part) && message.starts_with("1 problem"), "{sets}: {message}");
    }
    let message = fault("lora_r: 0\nx: 1\n");
    assert!(message.starts_with("4 problems"), "all faults at once: {message}");
}

#[test]
fn overrides_replace_what_the_recipe_says_under_any_name() {
    let text = with(
        "lora_rank: 16\nwarmup_ratio: 0.1\nevaluation: {tasks: [a], limit: 5}\nsave_strategy: epoch\nmax_steps: 9",
    );
    let set = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        TrainRecipe::parse_with("r.yml", &text, &pairs).map(|parsed| parsed.0).map_err(|error| error.to_string())
    };
    let recipe = set(&[
        ("lora_r", "8"),
        ("warmup_steps", "3"),
        ("evaluation.limit", "7"),
        ("eval_steps", "20"),
        ("save_steps", "30"),
        ("datasets.0.weight", "2.5"),
        ("target_modules", "[q_proj]"),
        ("max_steps", ""),
        ("lr", "1e-3"),
        ("lr", "1e-4"),
    ])
    .unwrap();
    assert_eq!((lora(&recipe).r, recipe.warmup), (8, Warmup::Steps(3)));
    assert_eq!((recipe.evaluation.limit, recipe.evaluation.eval_steps), (Some(7), Some(20)));
    assert_eq!((recipe.save_steps, recipe.saves_per_epoch), (Some(30), None));
    assert_eq!((recipe.datasets[0].weight, recipe.datasets[0].path.as_str()), (Some(2.5), "fpb"));
    assert_eq!((recipe.max_steps, recipe.num_epochs, recipe.learning_rate), (None, 3.0, 1e-4));
    for (key, value, part) in [
        ("learning_rate", "fast", "`learning_rate` must be a number above 0, not `fast` (set by `learning_rate=fast`)"),
        ("lern_rate", "1", "did you mean `learning_rate`?"),
        ("evaluation.limt", "1", "did you mean `limit`?"),
        ("datasets.1.weight", "1", "no data set `1`"),
        ("lora_r", "[1", "no YAML"),
        ("adapter", "full\n---\n", "more than one document"),
    ] {
        let message = set(&[(key, value)]).unwrap_err();
        assert!(message.contains(part), "{key}={value}: {message}");
    }
}

#[test]
fn what_ends_a_run_is_what_transformers_would_take() {
    let (steps, _) = parse(&with("max_steps: 100"));
    assert_eq!((steps.total_steps(7), steps.num_epochs), (100, f64::INFINITY), "as many epochs as it takes");
    let (both, _) = parse(&with("max_steps: 100\nnum_epochs: 2"));
    assert_eq!((both.total_steps(7), both.total_steps(70)), (14, 100));
    let (epochs, _) = parse(&with("num_train_epochs: 1.5\nmax_steps: -1"));
    assert_eq!(epochs.total_steps(7), 11);
    let (full, warnings) = parse(&with("adapter: full\nlora_r: 4"));
    assert_eq!((full.learning_rate, full.adapter), (2e-5, AdapterRecipe::Full));
    assert!(warnings[0].contains("`lora_r` has no effect"));
    let (constant, warnings) = parse(&with("adapter: lora\nlr_scheduler: constant"));
    assert_eq!((constant.warmup, warnings.len()), (Warmup::Steps(0), 0));
}

/// axolotl's reference: leave `adapter` blank for full fine-tuning; TRL's `ModelConfig`: `use_peft` is false by default.
#[test]
fn full_fine_tuning_recipes_of_other_trainers_train_fully() {
    let set = "datasets: [{path: d.jsonl, type: completion}]\nmicro_batch_size: 1\nlearning_rate: 2e-5\n";
    for (text, warned) in [
        (format!("base_model: m\nadapter:\nlora_r:\n{set}"), None),
        (format!("base_model: m\nadapter:\nlora_r: 8\n{set}"), Some("`lora_r` has no effect")),
        (format!("base_model: m\nmodel_type: MistralForCausalLM\nload_in_8bit: false\n{set}"), Some("as axolotl does")),
        ("model_name_or_path: m\ndataset_name: d.jsonl\nlearning_rate: 2e-5\n".to_owned(), Some("as TRL does")),
        ("model_name_or_path: m\ndataset_name: d.jsonl\nuse_peft:\n".to_owned(), None),
        ("model_name_or_path: m\ndataset_name: d.jsonl\nuse_peft: false\n".to_owned(), None),
        ("model_name_or_path: m\nfinetuning_type: full\ndataset: d.jsonl\n".to_owned(), None),
    ] {
        let (recipe, warnings) = parse(&text);
        assert_eq!((recipe.adapter, recipe.learning_rate), (AdapterRecipe::Full, 2e-5), "{text}");
        match warned {
            Some(part) => assert!(warnings.iter().any(|w| w.contains(part)), "{text}: {warnings:?}"),
            None => assert_eq!(warnings, Vec::<String>::new(), "{text}"),
        }
    }
    for (text, warned) in [
        (format!("base_model: m\n{set}"), Some("no `adapter` is named: LoRA of rank 16")),
        (format!("base_model: m\nlora_r: 16\n{set}"), None),
        (format!("base_model: m\nadapter: lora\n{set}"), None),
        ("model_name_or_path: m\nuse_peft: true\ndataset_name: d.jsonl\n".to_owned(), None),
        ("model_name_or_path: m\nlora_r: 4\ndataset_name: d.jsonl\n".to_owned(), Some("`use_peft: true`")),
        ("model_name_or_path: m\nstage: sft\ntemplate: empty\ndataset: d.jsonl\n".to_owned(), None),
    ] {
        let (recipe, warnings) = parse(&text);
        assert!(matches!(recipe.adapter, AdapterRecipe::Lora(_)), "{text}");
        match warned {
            Some(part) => assert!(warnings.iter().any(|w| w.contains(part)), "{text}: {warnings:?}"),
            None => assert_eq!(warnings, Vec::<String>::new(), "{text}"),
        }
    }
    // An override takes the empty key back.
    let text = format!("base_model: m\nadapter:\n{set}");
    let set = [("adapter".to_owned(), "lora".to_owned())];
    let (recipe, _) = TrainRecipe::parse_with("r.yml", &text, &set).unwrap();
    assert!(matches!(recipe.adapter, AdapterRecipe::Lora(_)));
}

#[test]
fn settings_of_the_start_adapter_are_not_written_out() {
    let (recipe, _) = parse(&with("init_from: a\nlora_dropout: 0.1"));
    let yaml = recipe.to_yaml();
    assert!(
        yaml.contains("init_from: [a]") && yaml.contains("lora_dropout: 0.1") && !yaml.contains("lora_r"),
        "{yaml}"
    );
    assert_eq!(parse(&yaml), (recipe, Vec::new()));
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,8}", "[ -~]{1,12}", "\\PC{1,6}", Just("null".to_owned()), Just("1e-3".to_owned())]
        .prop_filter("a text of nothing but blanks is no name", |text| !text.trim().is_empty())
}

fn set() -> impl Strategy<Value = DatasetRecipe> {
    let format = prop::sample::select(vec![
        DataFormat::Auto,
        DataFormat::Task,
        DataFormat::Messages,
        DataFormat::PromptCompletion,
        DataFormat::Alpaca,
        DataFormat::ShareGpt,
        DataFormat::Text,
        DataFormat::Tokenised,
    ]);
    (words(), format, prop::option::of(words()), prop::option::of(0.001..10.0), prop::option::of(1usize..9999))
        .prop_map(|(path, format, split, weight, max_rows)| DatasetRecipe {
            name: String::new(),
            path: format!("p/{path}"),
            format,
            split,
            weight,
            max_rows,
            share: None,
        })
}

fn adapters() -> impl Strategy<Value = AdapterRecipe> {
    let name = || "[a-z_.]{1,12}".prop_filter("a name", |name| name != "all");
    let targets = prop_oneof![
        Just(TargetModules::AllLinear),
        prop::collection::vec(name(), 1..4).prop_map(TargetModules::Names),
        "[a-z]{1,5}(\\.\\*|\\[0-9\\]\\+)\\([a-z]\\|[a-z]\\)".prop_map(TargetModules::Pattern),
    ];
    let rank = prop::collection::vec((name(), 1usize..64), 0..1);
    let alpha = prop::collection::vec((name(), 0.1..64.0), 0..1);
    let saved = prop::collection::vec(words(), 0..3);
    let lora = (
        1usize..256,
        0.01..99.0,
        0.0..0.99,
        targets,
        any::<[bool; 2]>(),
        rank,
        alpha,
        saved,
        prop::option::of(words()),
    )
        .prop_map(
            |(r, lora_alpha, lora_dropout, target_modules, flags, rank_pattern, alpha_pattern, saved, from)| {
                AdapterRecipe::Lora(LoraRecipe {
                    r,
                    lora_alpha,
                    lora_dropout,
                    target_modules,
                    use_rslora: flags[0],
                    use_dora: flags[1],
                    rank_pattern,
                    alpha_pattern,
                    modules_to_save: saved,
                    init_from: from.map(|path| StartAdapter { path: PathBuf::from(path), inherited: Vec::new() }),
                })
            },
        );
    prop_oneof![Just(AdapterRecipe::Full), lora]
}

proptest! {
    #[test]
    fn every_recipe_reads_back_as_itself(
        model in words(),
        adapter in adapters(),
        mut sets in prop::collection::vec(set(), 1..4),
        flags in any::<[bool; 5]>(),
        sizes in (1usize..9999, 1usize..64, 1usize..64, any::<u64>(), 1u64..999),
        numbers in (1e-9..1.0, 0.0..0.999, 0.0..9.0, 0.01..20.0, prop::option::of(words())),
        steps in (prop::option::of(1u64..9999), 0u64..99, 0u8..4),
        tasks in prop::collection::vec(words(), 1..3),
    ) {
        for (index, set) in sets.iter_mut().enumerate() {
            set.name = format!("set {index}");
        }
        if sets.len() > 1 {
            sets[0].weight = None;
            sets[0].share = Some(numbers.1 / 2.0 + 0.1);
        }
        let full = adapter == AdapterRecipe::Full;
        let best = BestModel {
            metric: format!("{}/acc", tasks[0]),
            greater_is_better: flags[3],
            early_stopping_patience: steps.0,
            load_at_end: flags[4],
        };
        let recipe = TrainRecipe {
            base_model: model,
            adapter,
            datasets: sets,
            mixing_temperature: numbers.1,
            sequence_len: sizes.0,
            excess_length: [ExcessLength::Shorten, ExcessLength::Drop, ExcessLength::Raise][usize::from(steps.2 % 3)],
            sample_packing: flags[0],
            chat_template: numbers.4,
            apply_chat_template: Some(flags[1]).filter(|_| flags[2]),
            unsupported_system: [UnsupportedSystem::Raise, UnsupportedSystem::Prepend, UnsupportedSystem::Drop]
                [usize::from(steps.2 % 3)],
            special_tokens: tasks.iter().map(|text| ("eos_token".to_owned(), text.clone())).take(1).collect(),
            eot_tokens: if flags[4] { tasks.clone() } else { Vec::new() },
            train_on_inputs: flags[2],
            val_set_size: numbers.1,
            micro_batch_size: sizes.1,
            gradient_accumulation_steps: sizes.2,
            num_epochs: if steps.0.is_some() && flags[3] { f64::INFINITY } else { numbers.3 },
            max_steps: steps.0,
            learning_rate: numbers.0,
            lr_scheduler: [Scheduler::Cosine, Scheduler::Linear, Scheduler::Constant][usize::from(steps.2 % 3)],
            warmup: if flags[4] || numbers.1 == 0.0 { Warmup::Steps(steps.1) } else { Warmup::Ratio(numbers.1) },
            weight_decay: numbers.2,
            adam_beta1: numbers.1,
            adam_beta2: numbers.1 / 3.0,
            adam_epsilon: numbers.0,
            max_grad_norm: numbers.2,
            loraplus_lr_ratio: Some(numbers.3).filter(|_| flags[0] && !full),
            gradient_checkpointing: Some(flags[3]).filter(|_| flags[0]),
            shuffle: flags[1],
            seed: sizes.3,
            logging_steps: sizes.4,
            save_steps: Some(sizes.4).filter(|_| steps.2 == 1),
            save_share: Some(numbers.0).filter(|_| steps.2 == 2),
            saves_per_epoch: Some(sizes.4).filter(|_| steps.2 == 3),
            save_total_limit: Some(sizes.1).filter(|_| flags[3]),
            evaluation: EvaluationRecipe {
                disabled: steps.2 == 0 && flags[0],
                eval_steps: Some(sizes.4).filter(|_| steps.2 == 3),
                eval_share: Some(numbers.0).filter(|_| steps.2 == 1),
                evals_per_epoch: Some(sizes.4).filter(|_| steps.2 == 2),
                best: Some(best).filter(|_| flags[1] && !(steps.2 == 0 && flags[0])),
                tasks,
                limit: Some(sizes.0).filter(|_| flags[0]),
                num_fewshot: Some(sizes.1).filter(|_| flags[2]),
            },
        };
        let yaml = recipe.to_yaml();
        let (again, warnings) = TrainRecipe::parse("config.resolved.yaml", &yaml)
            .map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        prop_assert_eq!(&again, &recipe, "{}", yaml);
        prop_assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn no_text_panics(text in "[ \\-:a-c\\[\\]{}&*|'\"#\n,~0-9._=]{0,80}") {
        let _ = TrainRecipe::parse("r.yml", &text);
        let _ = TrainRecipe::parse_with("r.yml", "datasets: [a]\nbase_model: m", &[(text.clone(), text)]);
    }
}
