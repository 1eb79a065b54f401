//! Causal attention of a batch of spans, each behind its own chain of keys and values.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};

use super::values;
use crate::model::cache::KvBlock;
use crate::model::kernels::{self, AttentionShape, KeyValues};

/// Consecutive queries of one segment.
#[derive(Debug, Clone)]
pub struct Span {
    /// Rows of the query tensor.
    pub queries: Range<usize>,
    /// Rows of the key and value tensors: the segment's own positions up to the last query's.
    pub own: Range<usize>,
    /// What comes before, oldest first.
    pub past: Vec<Arc<KvBlock>>,
}

/// Attention of one layer over queries `[rows, heads * head_dim]`, keys and values.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Heads, scale, window, soft cap.
    pub shape: AttentionShape,
    /// The layer whose past is used.
    pub layer: usize,
    /// Spans that cover every query row.
    pub spans: Arc<Vec<Span>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let (q, k, v) = (values(name, q, q_layout)?, values(name, k, k_layout)?, values(name, v, v_layout)?);
        let width = self.shape.heads * self.shape.head_dim;
        let kv_width = self.shape.kv_heads * self.shape.head_dim;
        let mut out = vec![0.0; q.len()];
        for span in self.spans.iter() {
            let queries = span.queries.start * width..span.queries.end * width;
            let own = span.own.start * kv_width..span.own.end * kv_width;
            let (Some(q), Some(out), Some(keys), Some(values)) =
                (q.get(queries.clone()), out.get_mut(queries), k.get(own.clone()), v.get(own))
            else {
                bail!("{name}: a span reaches outside its tensors");
            };
            if span.queries.len() > span.own.len() {
                bail!("{name}: more queries than positions");
            }
            let mut chain: Vec<KeyValues<'_>> = Vec::with_capacity(span.past.len() + 1);
            for block in &span.past {
                match block.layer(self.layer) {
                    Some(layer) => chain.push(layer),
                    None => bail!("{name}: the past has no layer {}", self.layer),
                }
            }
            chain.push(KeyValues { keys, values });
            kernels::attention(&self.shape, q, &chain, out);
        }
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}
