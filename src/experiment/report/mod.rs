//! The report of an experiment: plain data in, files out.
//!
//! [`ReportData`] holds every fact; [`html`] makes one page of it that needs no network and no
//! script, [`markdown`] the same facts as text. Equal data give equal bytes. Whatever came from a
//! file is shown as text, never as markup.

pub mod data;
pub mod html;
pub mod markdown;
pub mod plot;
mod section;
pub mod words;

#[cfg(test)]
mod tests;

pub use data::ReportData;
