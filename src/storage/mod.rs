//! Files: the only creator, and the only reader, of what lies on a disk.
//!
//! - [`publish`]: outputs appear whole, by one exchange of names; `place` says where one may go, [`manifest`] which files
//!   of a directory are billon's, `leftovers` what a killed run left, `staging` and `output_file` prepare, and
//!   [`file_set`] publishes several files into a folder with others'.
//! - [`input`]: opens what a user named; refuses FIFOs and devices and bounds sizes.
//! - [`mapped`]: memory maps; [`unchanged`] and [`shortened`] tell when a file changes while it is read.
//! - [`hash`]: digests and their cache, of whole files by all threads in [`file_digests`], of pieces in any order in
//!   [`hash_tree`]; [`sealed`]: records with a checksum each.
//! - [`append_log`]: logs that grow line by line.
//! - [`folder_lock`]: keeps a second run out of a folder that grows step by step.

pub(crate) mod append_log;
pub(crate) mod file_digests;
pub(crate) mod file_name;
pub(crate) mod file_set;
pub(crate) mod folder_lock;
pub(crate) mod hash;
pub(crate) mod hash_tree;
pub(crate) mod input;
pub(crate) mod leftovers;
pub(crate) mod manifest;
pub(crate) mod mapped;
pub(crate) mod output_file;
pub(crate) mod place;
pub(crate) mod publish;
pub(crate) mod sealed;
pub(crate) mod shortened;
pub(crate) mod staging;
pub(crate) mod stated;
pub(crate) mod unchanged;
mod write_error;
