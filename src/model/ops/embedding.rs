//! Rows of an embedding that is trained.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::values::{like, read, values};

/// Picks the rows of tokens from `[vocabulary, hidden]`, times a factor.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingRows {
    /// Rows to pick, each below the vocabulary.
    pub tokens: Arc<Vec<u32>>,
    /// Gemma's factor.
    pub scale: f32,
}

impl CustomOp1 for EmbeddingRows {
    fn name(&self) -> &'static str {
        "embedding-rows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let table = values(self.name(), storage, layout)?;
        let (_, width) = layout.shape().dims2()?;
        let mut out = Vec::with_capacity(self.tokens.len() * width);
        for &token in &*self.tokens {
            let start = token as usize * width;
            match table.get(start..start + width) {
                Some(row) => out.extend(row.iter().map(|value| value * self.scale)),
                None => bail!("{}: token {token} has no row", self.name()),
            }
        }
        Ok((CpuStorage::F32(out), Shape::from((self.tokens.len(), width))))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad_res: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = arg.dims2()?;
        let mut table = vec![0.0; arg.elem_count()];
        read(self.name(), grad_res, |dout| {
            for (&token, dout) in self.tokens.iter().zip(dout.chunks_exact(width)) {
                let row = &mut table[token as usize * width..][..width];
                row.iter_mut().zip(dout).for_each(|(sum, dout)| *sum += dout * self.scale);
            }
            Ok(())
        })?;
        like(arg, table).map(Some)
    }
}
