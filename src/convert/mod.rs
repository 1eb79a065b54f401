//! Other weight formats into Hugging Face model directories.
