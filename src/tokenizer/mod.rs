//! A model's tokenizer and chat template.
