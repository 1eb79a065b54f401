//! The vocabulary: which keys there are, what else they are called, and which of other trainers'
//! keys are passed over or refused.

/// Keys that set something, each with its other names. What stands in one line sets the same thing.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("base_model", &["model_name_or_path", "model"]),
    // What is trained.
    ("adapter", &["finetuning_type", "use_peft"]),
    ("lora_r", &["lora_rank", "r"]),
    ("lora_alpha", &[]),
    ("lora_dropout", &[]),
    ("target_modules", &["lora_target_modules", "lora_target"]),
    ("lora_target_linear", &[]),
    ("use_rslora", &["peft_use_rslora"]),
    ("use_dora", &["peft_use_dora"]),
    ("rank_pattern", &["lora_rank_pattern"]),
    ("alpha_pattern", &["lora_alpha_pattern"]),
    ("modules_to_save", &["lora_modules_to_save", "additional_target"]),
    ("init_from", &["adapter_name_or_path", "lora_model_dir"]),
    ("loraplus_lr_ratio", &["loraplus_ratio"]),
    // Data.
    ("datasets", &["dataset", "dataset_name"]),
    ("max_samples", &[]),
    ("mixing_temperature", &[]),
    ("sequence_len", &["max_length", "max_seq_length", "cutoff_len"]),
    ("excess_length", &["excess_length_strategy"]),
    ("sample_packing", &["packing"]),
    ("neat_packing", &[]),
    ("chat_template", &[]),
    ("template", &[]),
    ("apply_chat_template", &[]),
    ("train_on_inputs", &["train_on_prompt", "completion_only_loss"]),
    ("val_set_size", &["val_size", "test_size"]),
    ("shuffle", &["shuffle_dataset", "shuffle_merged_datasets", "disable_shuffling"]),
    // Optimisation.
    ("micro_batch_size", &["per_device_train_batch_size"]),
    ("gradient_accumulation_steps", &[]),
    ("num_epochs", &["num_train_epochs"]),
    ("max_steps", &[]),
    ("learning_rate", &["lr"]),
    ("lr_scheduler", &["lr_scheduler_type"]),
    ("warmup", &["warmup_steps", "warmup_ratio"]),
    ("optimizer", &["optim"]),
    ("weight_decay", &[]),
    ("adam_beta1", &[]),
    ("adam_beta2", &[]),
    ("adam_epsilon", &[]),
    ("max_grad_norm", &[]),
    ("gradient_checkpointing", &["disable_gradient_checkpointing"]),
    ("seed", &[]),
    // Logs, checkpoints, evaluation.
    ("logging_steps", &[]),
    ("save_strategy", &[]),
    ("save_steps", &[]),
    ("saves_per_epoch", &[]),
    ("save_total_limit", &[]),
    ("eval_strategy", &["evaluation_strategy"]),
    ("eval_steps", &[]),
    ("evals_per_epoch", &[]),
    ("metric_for_best_model", &[]),
    ("greater_is_better", &[]),
    ("early_stopping_patience", &["early_stopping_steps"]),
    ("load_best_model_at_end", &[]),
];

/// Keys of the mapping `evaluation`; those of the table above mean the same at the top.
pub(super) const EVALUATION_KEYS: &[&str] = &[
    "tasks",
    "limit",
    "num_fewshot",
    "eval_strategy",
    "eval_steps",
    "evals_per_epoch",
    "metric_for_best_model",
    "greater_is_better",
    "early_stopping_patience",
    "load_best_model_at_end",
];

/// Keys that have a meaning only inside `evaluation`.
pub(super) const EVALUATION_ONLY: &[&str] = &["tasks", "limit", "num_fewshot"];

/// Keys about machines, services and speed, without a meaning here whatever their value.
const HARMLESS: &[&str] = &[
    // Number formats, attention and other kernels: training is in f32 with this program's own.
    "bf16", "fp16", "tf32", "bfloat16", "float16", "float32", "fp32", "pure_bf16", "bf16_full_eval", "fp16_full_eval",
    "torch_dtype", "dtype", "model_dtype", "half_precision_backend", "upcast_layernorm", "upcast_lmhead_output",
    "eager_attention", "flex_attention", "sdp_attention", "xformers_attention", "attn_implementation", "use_cache",
    "torch_compile", "torch_compile_backend", "torch_compile_mode", "use_unsloth", "enable_liger_kernel", "plugins",
    "use_liger", "use_liger_kernel", "chunked_cross_entropy", "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel",
    "peft_autocast_adapter_dtype", "auto_find_batch_size", "torch_empty_cache_steps", "jit_mode_eval",
    "gradient_checkpointing_kwargs", "activation_offloading", "low_cpu_mem_usage", "use_reentrant_gc",
    // Devices and processes.
    "deepspeed", "fsdp", "fsdp_config", "accelerator_config", "local_rank", "device", "device_map", "ddp", "no_cuda",
    "use_cpu", "use_mps_device", "full_determinism", "world_size", "gpu_memory_limit", "parallelism_config",
    "tensor_parallel_size", "context_parallel_size", "sequence_parallel_degree", "average_tokens_across_devices",
    "per_device_eval_batch_size", "eval_batch_size", "eval_accumulation_steps", "batch_eval_metrics",
    // Places and services.
    "output_dir", "overwrite_output_dir", "logging_dir", "report_to", "run_name", "project", "push_to_hub", "log_level",
    "log_level_replica", "log_on_each_node", "disable_tqdm", "plot_loss", "use_tensorboard", "use_wandb", "trackio",
    "trackio_space_id", "cache_dir", "dataset_prepared_path", "dataset_dir", "media_dir", "tokenized_path",
    "hf_use_auth_token", "hf_hub_token", "use_auth_token", "mean_resizing_embeddings",
    // What the model directory says itself.
    "base_model_config", "tokenizer_type", "model_type", "trust_remote_code", "trust_remote_code_model", "strict",
    "is_llama_derived_model", "is_mistral_derived_model", "is_qwen_derived_model", "is_falcon_derived_model",
    "tokenizer_use_fast", "use_fast_tokenizer", "tokenizer_legacy", "split_special_tokens", "model_max_length",
    // How data is read and batched.
    "preprocessing_num_workers", "preprocessing_batch_size", "overwrite_cache", "dataset_num_proc",
    "dataset_processes", "dataset_keep_in_memory", "dataset_kwargs", "dataset_text_field", "dataset_config",
    "dataset_train_split", "dataset_test_split", "dataset_streaming", "buffer_size", "remove_unused_columns",
    "pad_to_sequence_len", "pad_to_multiple_of", "padding_free", "pad_token", "truncation_mode", "group_by_length",
    "length_column_name", "train_sampling_strategy", "shuffle_before_merging_datasets", "data_seed",
    "sample_packing_bin_size", "sample_packing_group_size", "sample_packing_sequentially", "packing_strategy",
    "eval_packing", "eval_sample_packing", "ignore_data_skip", "skip_prepare_dataset", "label_names",
    "assistant_only_loss", "include_num_input_tokens_seen", "include_tokens_per_second",
    // What is logged and when it is saved besides.
    "do_train", "do_eval", "do_predict", "logging_strategy", "logging_first_step", "logging_nan_inf_filter",
    "eval_on_start", "eval_delay", "eval_table_size", "eval_max_new_tokens", "eval_causal_lm_metrics",
    "do_causal_lm_eval", "predict_with_generate", "prediction_loss_only", "include_for_metrics", "save_on_each_node",
    "save_only_model", "save_first_step", "restore_callback_states_from_checkpoint", "load_best_model_strategy",
    "auto_resume_from_checkpoints", "resume_from_checkpoint", "loss_watchdog_threshold", "loss_watchdog_patience",
    "debug", "profiler_steps", "skip_memory_metrics", "gc_steps", "early_stopping_threshold", "loraplus_lr_embedding",
    "lora_on_cpu",
];

/// The same by how they begin.
const HARMLESS_PREFIXES: &[&str] = &[
    "wandb_", "mlflow_", "comet_", "swanlab_", "use_swanlab", "use_mlflow", "use_comet", "hub_", "dataloader_", "ddp_",
    "flash_attn", "flash_attention", "liger_", "ray_", "torchao_", "push_dataset_", "push_to_hub_", "dataset_shard_",
    "fsdp_", "unsloth_", "tokenizer_save_", "use_ray", "cut_cross_entropy",
];

/// Whether a key has no meaning here.
pub(super) fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key) || HARMLESS_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// A key that would change what is learnt, and that this trainer does not follow.
pub(super) struct Refused {
    /// Its name.
    pub(super) key: &'static str,
    /// Values that ask for nothing special; false, none, 0 and empty ones never do.
    pub(super) plain: &'static [&'static str],
    /// Why it is refused, or what to write instead.
    pub(super) reason: &'static str,
}

const fn refused(key: &'static str, plain: &'static [&'static str], reason: &'static str) -> Refused {
    Refused { key, plain, reason }
}

const QUANTISED: &str = "weights are trained on in f32; leave quantisation out";
const INITIAL: &str = "factors start as PEFT's default does: A uniform, B zero";
const BIASES: &str = "biases are not trained with LoRA here";
const VOCABULARY: &str = "the vocabulary stays as the model has it";
const FROZEN: &str = "what is trained is chosen by `adapter`, `target_modules` and `modules_to_save`";
const SELECTED: &str = "choose modules with `target_modules`: names, or one pattern over the whole path";
const PREFERENCES: &str = "only supervised fine-tuning is done here";
const RATES: &str = "the schedules are cosine, linear and constant, as transformers computes them, down to 0";
const OTHER_OPTIMISER: &str = "the optimiser is AdamW in f32";
const HELD_OUT: &str = "hold rows out with `val_set_size`, or name tasks under `evaluation`";
const MIXED: &str = "all data sets are put together and shuffled; set `weight` or `share` on them";
const TEMPLATES: &str = "the chat template is the tokenizer's own; put another one into the model directory";
const LOSSES: &str = "the loss is the cross-entropy of the answer's tokens, plain";
const POSITIONS: &str = "the model's own configuration holds";
const NOT_LORA: &str = "the adapters here are LoRA, rsLoRA and DoRA";
const STREAMED: &str = "data sets are read whole; cut them with `max_rows`";

/// Those keys.
pub(super) const REFUSED: &[Refused] = &[
    refused("load_in_4bit", &[], QUANTISED),
    refused("load_in_8bit", &[], QUANTISED),
    refused("gptq", &[], QUANTISED),
    refused("qat", &[], QUANTISED),
    refused("quantization_bit", &[], QUANTISED),
    refused("quantization_config", &[], QUANTISED),
    refused("quantization", &[], QUANTISED),
    refused("bnb_config_kwargs", &[], QUANTISED),
    refused("rl", &[], PREFERENCES),
    refused("reward_model", &[], PREFERENCES),
    refused("process_reward_model", &[], PREFERENCES),
    refused("stage", &["sft"], PREFERENCES),
    refused("pref_beta", &[], PREFERENCES),
    refused("dpo_beta", &[], PREFERENCES),
    refused("kl_beta", &[], PREFERENCES),
    refused("use_kl", &[], PREFERENCES),
    refused("lora_bias", &["none"], BIASES),
    refused("bias", &["none"], BIASES),
    refused("lora_fan_in_fan_out", &[], "weights are stored output by input"),
    refused("fan_in_fan_out", &[], "weights are stored output by input"),
    refused("init_lora_weights", &["true"], INITIAL),
    refused("peft_init_lora_weights", &["true"], INITIAL),
    refused("pissa_init", &[], INITIAL),
    refused("pissa_convert", &[], INITIAL),
    refused("loftq_config", &[], INITIAL),
    refused("peft", &[], INITIAL),
    refused("layers_to_transform", &[], SELECTED),
    refused("peft_layers_to_transform", &[], SELECTED),
    refused("peft_layers_pattern", &[], SELECTED),
    refused("layers_pattern", &[], SELECTED),
    refused("exclude_modules", &[], SELECTED),
    refused("target_parameters", &[], SELECTED),
    refused("lora_target_parameters", &[], SELECTED),
    refused("peft_trainable_token_indices", &[], SELECTED),
    refused("trainable_token_indices", &[], SELECTED),
    refused("lora_layers_to_transform", &[], SELECTED),
    refused("create_new_adapter", &[], "go on from an adapter with `init_from`, or merge it first"),
    refused("peft_type", &["lora"], NOT_LORA),
    refused("lora_task_type", &["causal_lm"], NOT_LORA),
    refused("task_type", &["causal_lm"], NOT_LORA),
    refused("merge_lora", &[], "merge with a merge recipe once the adapter is there"),
    refused("relora", &[], NOT_LORA),
    refused("relora_steps", &[], NOT_LORA),
    refused("jagged_restart_steps", &[], NOT_LORA),
    refused("use_mora", &[], NOT_LORA),
    refused("unfrozen_parameters", &[], FROZEN),
    refused("freeze_trainable_layers", &["2"], FROZEN),
    refused("freeze_trainable_modules", &["all"], FROZEN),
    refused("freeze_extra_modules", &[], FROZEN),
    refused("train_mm_proj_only", &[], FROZEN),
    refused("special_tokens", &[], VOCABULARY),
    refused("tokens", &[], VOCABULARY),
    refused("added_tokens_overrides", &[], VOCABULARY),
    refused("new_special_tokens", &[], VOCABULARY),
    refused("add_tokens", &[], VOCABULARY),
    refused("add_special_tokens", &[], VOCABULARY),
    refused("resize_vocab", &[], VOCABULARY),
    refused("resize_token_embeddings_to_32x", &[], VOCABULARY),
    refused("tokenizer_config", &[], VOCABULARY),
    refused("eos_token", &[], VOCABULARY),
    refused("model_revision", &["main"], "name a local directory, or let the cache's default revision be used"),
    refused("revision_of_model", &["main"], "name a local directory, or let the cache's default revision be used"),
    refused("rope_scaling", &[], POSITIONS),
    refused("rope_theta", &[], POSITIONS),
    refused("overrides_of_model_config", &[], POSITIONS),
    refused("overrides_of_model_kwargs", &[], POSITIONS),
    refused("model_init_kwargs", &[], POSITIONS),
    refused("model_kwargs", &[], POSITIONS),
    refused("mixture_of_depths", &[], POSITIONS),
    refused("s2_attention", &[], POSITIONS),
    refused("shift_attn", &[], POSITIONS),
    refused("use_llama_pro", &[], POSITIONS),
    refused("chat_template_jinja", &[], TEMPLATES),
    refused("chat_template_path", &[], TEMPLATES),
    refused("chat_template_kwargs", &[], TEMPLATES),
    refused("default_system", &[], "put the system message into the data"),
    refused("default_system_message", &[], "put the system message into the data"),
    refused("enable_thinking", &["true"], TEMPLATES),
    refused("tool_format", &[], TEMPLATES),
    refused("mask_history", &[], "every answer of a conversation is trained on"),
    refused("train_on_eos", &["turn"], "the end of every answer is trained on, and no other"),
    refused("roles_to_train", &["assistant"], "the assistant's turns are trained on"),
    refused("dft_loss", &[], LOSSES),
    refused("use_dft_loss", &[], LOSSES),
    refused("use_eaft_loss", &[], LOSSES),
    refused("use_asft_loss", &[], LOSSES),
    refused("loss_type", &["nll", "chunked_nll"], LOSSES),
    refused("label_smoothing_factor", &[], LOSSES),
    refused("neftune_noise_alpha", &[], LOSSES),
    refused("noisy_embedding_alpha", &[], LOSSES),
    refused("router_aux_loss_coef", &[], LOSSES),
    refused("moe_aux_loss_coef", &[], LOSSES),
    refused("lr_scheduler_kwargs", &[], RATES),
    refused("lr_scheduler_args", &[], RATES),
    refused("lr_groups", &[], RATES),
    refused("cosine_min_lr_ratio", &[], RATES),
    refused("cosine_constant_lr_ratio", &[], RATES),
    refused("lr_div_factor", &[], RATES),
    refused("embedding_lr", &[], RATES),
    refused("embedding_lr_scale", &[], RATES),
    refused("optim_args", &[], OTHER_OPTIMISER),
    refused("optim_target_modules", &[], OTHER_OPTIMISER),
    refused("adam_epsilon2", &[], OTHER_OPTIMISER),
    refused("adam_beta3", &[], OTHER_OPTIMISER),
    refused("adafactor", &[], OTHER_OPTIMISER),
    refused("use_galore", &[], OTHER_OPTIMISER),
    refused("use_apollo", &[], OTHER_OPTIMISER),
    refused("use_badam", &[], OTHER_OPTIMISER),
    refused("use_adam_mini", &[], OTHER_OPTIMISER),
    refused("use_muon", &[], OTHER_OPTIMISER),
    refused("batch_size", &[], "write `micro_batch_size` and `gradient_accumulation_steps`"),
    refused("test_datasets", &[], HELD_OUT),
    refused("eval_dataset", &[], HELD_OUT),
    refused("eval_on_each_dataset", &[], HELD_OUT),
    refused("mix_strategy", &["concat"], MIXED),
    refused("interleave_probs", &[], MIXED),
    refused("pretraining_dataset", &[], "list the data set under `datasets` with `format: text`"),
    refused("streaming", &[], STREAMED),
    refused("save_safetensors", &["true"], "only safetensors are written"),
    refused("curriculum_sampling", &[], "`shuffle: false` keeps the files' order"),
];
