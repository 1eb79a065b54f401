//! The report of an experiment: plain data in, files out.
//!
//! [`ReportData`] holds every fact; [`html`] makes one page of it that needs no network and no
//! script, [`markdown`] the same facts as text. Equal data give equal bytes. Whatever came from a
//! file is shown as text, never as markup.

pub(crate) mod data;
pub(crate) mod html;
pub(crate) mod markdown;
pub(crate) mod plot;
mod section;
pub(crate) mod words;

#[cfg(test)]
mod tests;

pub(crate) use data::ReportData;
