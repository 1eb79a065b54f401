//! A frozen weight with trained low-rank factors (Hu et al. 2021), and `DoRA`'s magnitudes.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{PackedLinear, like, read, values};
use crate::compute::nn::{View, multiply};
use crate::rng::Philox;

/// Dropout mask on the inputs of `lora_A`: a pure function of the key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dropout {
    /// Probability that an input is dropped.
    pub rate: f32,
    /// Key of the pass and the module.
    pub key: u64,
}

impl Dropout {
    /// The inputs, dropped ones zero and the others scaled up.
    pub(super) fn apply(self, x: &[f32]) -> Vec<f32> {
        let random = Philox::new(self.key);
        let keep = 1.0 / (1.0 - self.rate);
        // Uniform integers below this are dropped.
        let bound = (f64::from(self.rate) * 4_294_967_296.0) as u64;
        let mut out = Vec::with_capacity(x.len());
        for (counter, values) in x.chunks(4).enumerate() {
            let drawn = random.block(counter as u64);
            out.extend(values.iter().zip(drawn).map(|(v, u)| if u64::from(u) < bound { 0.0 } else { v * keep }));
        }
        out
    }
}

/// `W x + b + scale B (A dropout(x))` with x, A `[r, k]` and B `[n, r]` as arguments.
#[derive(Debug, Clone)]
pub(crate) struct LoraLinear {
    /// The frozen part.
    pub base: PackedLinear,
    /// `alpha / r`, or `alpha / sqrt r`.
    pub scale: f32,
    /// In training.
    pub dropout: Option<Dropout>,
}

impl LoraLinear {
    fn dropped<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        match self.dropout {
            Some(dropout) if dropout.rate > 0.0 => Cow::Owned(dropout.apply(x)),
            _ => Cow::Borrowed(x),
        }
    }
}

impl CustomOp3 for LoraLinear {
    fn name(&self) -> &'static str {
        "lora-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let (r, k) = a_layout.shape().dims2()?;
        let (n, columns) = b_layout.shape().dims2()?;
        if k != self.base.weight.k() || n != self.base.weight.n() || columns != r {
            bail!("{name}: factors of {r}x{k} and {n}x{columns} do not fit the weight");
        }
        let x = values(name, x, x_layout)?;
        let (a, b) = (values(name, a, a_layout)?, values(name, b, b_layout)?);
        let m = x.len() / k.max(1);
        let mut out = self.base.weight.matmul_to_vec(m, x, self.base.bias.as_deref());
        let x = self.dropped(x);
        let mut low = vec![0.0; m * r];
        multiply(View::rows(&x, k, k), View::rows(a, k, k).t(), 1.0, false, &mut low, r);
        multiply(View::rows(&low, r, r), View::rows(b, r, r).t(), self.scale, true, &mut out, n);
        Ok((CpuStorage::F32(out), Shape::from((m, n))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _res: &Tensor,
        grad_res: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let name = self.name();
        let ((r, k), (n, _), m) = (a.dims2()?, b.dims2()?, x.dim(0)?);
        let (mut da, mut db) = (vec![0.0; r * k], vec![0.0; n * r]);
        let dx = read(name, x, |x| {
            read(name, a, |a| {
                read(name, b, |b| {
                    read(name, grad_res, |dout| {
                        let inputs = self.dropped(x);
                        let (inputs_view, a) = (View::rows(&inputs, k, k), View::rows(a, k, k));
                        let (b, dout_view) = (View::rows(b, r, r), View::rows(dout, n, n));
                        let mut dx = self.base.weight.matmul_transposed_to_vec(m, dout);
                        let (mut low, mut dlow) = (vec![0.0; m * r], vec![0.0; m * r]);
                        multiply(inputs_view, a.t(), 1.0, false, &mut low, r);
                        multiply(dout_view, b, self.scale, false, &mut dlow, r);
                        let (low, dlow) = (View::rows(&low, r, r), View::rows(&dlow, r, r));
                        multiply(dout_view.t(), low, self.scale, false, &mut db, r);
                        multiply(dlow.t(), inputs_view, 1.0, false, &mut da, k);
                        match self.dropout {
                            Some(dropout) if dropout.rate > 0.0 => {
                                let mut through = vec![0.0; m * k];
                                multiply(dlow, a, 1.0, false, &mut through, k);
                                let kept = dropout.apply(&through);
                                dx.iter_mut().zip(kept).for_each(|(dx, kept)| *dx += kept);
                            }
                            _ => multiply(dlow, a, 1.0, true, &mut dx, k),
                        }
                        Ok(dx)
                    })
                })
            })
        })?;
        Ok((Some(like(x, dx)?), Some(like(a, da)?), Some(like(b, db)?)))
    }
}

/// `DoRA` (Liu et al. 2024): columns of `y` times `m / norm`, the norm a constant, and then the bias.
///
/// The arguments are y `[rows, n]` and m `[n]`.
#[derive(Debug, Clone)]
pub(crate) struct Magnitude {
    /// `|W + s B A|` of each output.
    pub norm: Arc<[f32]>,
    /// Added at the end.
    pub bias: Option<Arc<[f32]>>,
}

impl CustomOp2 for Magnitude {
    fn name(&self) -> &'static str {
        "magnitude"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, m) = (values(self.name(), y, y_layout)?, values(self.name(), m, m_layout)?);
        if m.len() != self.norm.len() || m.is_empty() {
            bail!("{}: {} magnitudes for {} outputs", self.name(), m.len(), self.norm.len());
        }
        let factors: Vec<f32> = m.iter().zip(&*self.norm).map(|(m, norm)| m / norm).collect();
        let mut out = Vec::with_capacity(y.len());
        for row in y.chunks_exact(m.len()) {
            out.extend(row.iter().zip(&factors).map(|(y, factor)| y * factor));
        }
        if let Some(bias) = &self.bias {
            for row in out.chunks_exact_mut(m.len()) {
                row.iter_mut().zip(&**bias).for_each(|(out, bias)| *out += bias);
            }
        }
        Ok((CpuStorage::F32(out), y_layout.shape().clone()))
    }

    fn bwd(
        &self,
        y: &Tensor,
        m: &Tensor,
        _res: &Tensor,
        grad_res: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut dm = vec![0.0; m.elem_count()];
        let mut dy = Vec::with_capacity(y.elem_count());
        let name = self.name();
        read(name, y, |y| {
            read(name, m, |m| {
                read(name, grad_res, |dout| {
                    for (y, dout) in y.chunks_exact(m.len()).zip(dout.chunks_exact(m.len())) {
                        for ((((y, dout), m), norm), dm) in y.iter().zip(dout).zip(m).zip(&*self.norm).zip(&mut dm) {
                            dy.push(dout * (m / norm));
                            *dm += dout * y / norm;
                        }
                    }
                    Ok(())
                })
            })
        })?;
        Ok((Some(like(y, dy)?), Some(like(m, dm)?)))
    }
}
