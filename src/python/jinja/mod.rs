//! Jinja2 as Python programs use it.
//!
//! Chat templates and task files were written for Jinja2 inside Python, where `{{ true }}` prints
//! `True` and a list prints as its `repr`. [`environment()`] is a minijinja environment that prints so
//! and knows the usual methods; [`repr`](super::repr) holds the printing, [`literal`](super::literal) the way back
//! (`ast.literal_eval`). Templates are added and rendered within limits by [`add`] and [`render`].

mod bounded;
mod environment;
pub(crate) mod guard;
mod scan;
pub(super) mod template;

pub(crate) use environment::{environment, regex_replace};
pub(crate) use template::{add, reason, render, undeclared};
