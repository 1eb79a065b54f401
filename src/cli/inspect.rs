//! stub
use clap::Args;
use crate::error::Result;
#[allow(unused_imports)]
use crate::event::CancelFlag;
/// Args
#[derive(Debug, Args)]
pub struct InspectArgs { #[arg(long)] pub(super) json: bool }
impl InspectArgs { pub(super) fn run(self)->Result<()>{Ok(())} }
