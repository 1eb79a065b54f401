//! Behaviour of Python that the files of PEFT, TRL and lm-evaluation-harness rely on.
//!
//! - [`regex`]: the grammar and the semantics of `re`.
//! - [`jinja`]: Jinja2 with Python's methods and printing; [`repr`]: `str` and `repr`; [`literal`]: `ast.literal_eval`.
//! - [`json`]: `json.dumps`, whose bytes the harness hashes.
//! - `random`: `random.Random`; `yaml_scalars`: the types that PyYAML gives to plain scalars.

pub(crate) mod jinja;
pub(crate) mod json;
pub(crate) mod literal;
pub(crate) mod random;
pub(crate) mod regex;
pub(crate) mod repr;
pub(crate) mod yaml_scalars;
