//! Causal attention of a batch of spans, each after its own past blocks of keys and values.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{like, read, values};
use crate::compute::nn;
use crate::compute::nn::{Attended, AttentionShape, KeyValues};
use crate::model::cache::KvBlock;

/// Consecutive queries of one segment.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Rows of the query tensor.
    pub queries: Range<usize>,
    /// Rows of the key and value tensors: the segment's own positions up to the last query's.
    pub own: Range<usize>,
    /// Blocks of earlier positions, oldest first.
    pub past: Vec<Arc<KvBlock>>,
}

/// Attention of one layer over queries `[rows, heads * head_dim]`, keys and values.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
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
            nn::attention(&self.shape, q, &chain, out);
        }
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _res: &Tensor,
        grad_res: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut dq = vec![0.0; q.elem_count()];
        let (mut dk, mut dv) = (vec![0.0; k.elem_count()], vec![0.0; v.elem_count()]);
        let name = self.name();
        read(name, q, |q| {
            read(name, k, |k| {
                read(name, v, |v| {
                    read(name, grad_res, |dout| self.gradients([q, k, v, dout], [&mut dq, &mut dk, &mut dv]))
                })
            })
        })?;
        Ok((Some(like(q, dq)?), Some(like(k, dk)?), Some(like(v, dv)?)))
    }
}

impl Attention {
    fn gradients(&self, [q, k, v, dout]: [&[f32]; 4], [dq, dk, dv]: [&mut [f32]; 3]) -> Result<()> {
        let width = self.shape.heads * self.shape.head_dim;
        let kv_width = self.shape.kv_heads * self.shape.head_dim;
        for span in self.spans.iter() {
            if !span.past.is_empty() {
                bail!("{}: no gradient reaches keys and values of the past", self.name());
            }
            let queries = span.queries.start * width..span.queries.end * width;
            let own = span.own.start * kv_width..span.own.end * kv_width;
            let attended = Attended {
                q: &q[queries.clone()],
                k: &k[own.clone()],
                v: &v[own.clone()],
                dout: &dout[queries.clone()],
            };
            nn::attention_backward(&self.shape, attended, &mut dq[queries], &mut dk[own.clone()], &mut dv[own]);
        }
        Ok(())
    }
}
