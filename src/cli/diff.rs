//! stub
use clap::Args;
use crate::error::Result;
#[allow(unused_imports)]
use crate::event::CancelFlag;
/// Args
#[derive(Debug, Args)]
pub struct DiffArgs { #[arg(long)] pub(super) json: bool }
impl DiffArgs { pub(super) fn json(&self)->bool{self.json} pub(super) fn run(self,_c:&CancelFlag)->Result<()>{Ok(())} }
