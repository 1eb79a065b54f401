//! Rotary position scaling: from metadata and factor tensors to `rope_scaling`.

use serde_json::{Value, json};

use super::dequantise::dequantise;
use super::error::ConvertError;
use super::family::Family;
use super::gguf::metadata::shortest;
use super::gguf::{GgmlType, GgufFile};
use super::shapes::Shapes;

/// `rope_scaling`, or null where positions are not scaled.
///
/// # Errors
/// A kind of scaling that the config can't say, or factors that fit no formula.
pub(crate) fn rope_scaling(
    file: &GgufFile,
    family: Family,
    shapes: &Shapes,
    theta: f64,
) -> Result<Value, ConvertError> {
    let metadata = file.metadata();
    let prefix = family.architecture();
    let unsayable =
        |what: String| ConvertError::Config { file: metadata.file().into(), what, model_type: family.model_type() };
    let long = factors(file, "rope_factors_long.weight")?;
    let short = factors(file, "rope_factors_short.weight")?;
    if let (Some(long), Some(short)) = (&long, &short) {
        if family != Family::Phi3 {
            return Err(unsayable("long and short rotary factors".to_owned()));
        }
        let decimal = |factors: &[f32]| factors.iter().map(|f| shortest(*f)).collect::<Vec<_>>();
        return Ok(json!({ "type": "longrope", "long_factor": decimal(long), "short_factor": decimal(short) }));
    }
    if let Some(frequencies) = factors(file, "rope_freqs.weight")? {
        return llama3(&frequencies, shapes.rotary_dim, theta)
            .ok_or_else(|| unsayable("rotary factors that are not Llama 3's".to_owned()));
    }
    let factor = metadata.number(&format!("{prefix}.rope.scaling.factor"))?;
    let factor = if factor.is_none() { metadata.number(&format!("{prefix}.rope.scale_linear"))? } else { factor };
    match metadata.text(&format!("{prefix}.rope.scaling.type"))? {
        None | Some("none") => match factor {
            Some(factor) if factor != 1.0 => Ok(json!({ "rope_type": "linear", "factor": factor })),
            _ => Ok(Value::Null),
        },
        Some("linear") => Ok(json!({ "rope_type": "linear", "factor": factor.unwrap_or(1.0) })),
        Some("yarn") => {
            let original = metadata.count(&format!("{prefix}.rope.scaling.original_context_length"))?;
            let (Some(original), Some(factor)) = (original, factor) else {
                return Err(unsayable("YaRN scaling without factor or original length".to_owned()));
            };
            Ok(json!({ "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original }))
        }
        Some(other) => Err(unsayable(format!("rotary scaling `{other}`"))),
    }
}

fn factors(file: &GgufFile, name: &str) -> Result<Option<Vec<f32>>, ConvertError> {
    let Some(tensor) = file.tensor(name) else { return Ok(None) };
    // A factor for each pair of dimensions of a head: anything larger is no list of factors.
    if tensor.info.ggml_type != GgmlType::F32 || tensor.info.shape.len() != 1 || tensor.info.elements() > 4096 {
        return Err(ConvertError::WrongShape {
            file: file.metadata().file().into(),
            tensor: name.to_owned(),
            found: tensor.info.shape.clone(),
            expected: vec![64],
        });
    }
    let values = dequantise(GgmlType::F32, &file.rows(tensor, 0..1));
    let values = values.map_err(|source| ConvertError::Dequantise {
        file: file.metadata().file().into(),
        tensor: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(Some(values))
}

/// Llama 3.1's scaling, whose parameters llama.cpp keeps only as one factor for each frequency.
/// Every published Llama 3.1, 3.2 and 3.3 has low and high frequency factors 1 and 4 and an
/// original length of 8192; the factor (8 or 32) is the largest one in the list. `None` when the
/// list is not what these give.
fn llama3(found: &[f32], rotary_dim: u64, theta: f64) -> Option<Value> {
    const ORIGINAL: f64 = 8192.0;
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    if found.len() as u64 * 2 != rotary_dim || !found.iter().all(|f| f.is_finite() && *f >= 1.0) {
        return None;
    }
    let factor = f64::from(found.iter().copied().fold(1.0_f32, f32::max));
    let fits = found.iter().enumerate().all(|(i, found)| {
        let wavelength = 2.0 * std::f64::consts::PI * theta.powf(2.0 * i as f64 / rotary_dim as f64);
        let expected = if wavelength < ORIGINAL / HIGH {
            1.0
        } else if wavelength > ORIGINAL / LOW {
            factor
        } else {
            let smooth = (ORIGINAL / wavelength - LOW) / (HIGH - LOW);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        (f64::from(*found) / expected - 1.0).abs() < 1e-3
    });
    fits.then(|| {
        json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": LOW,
            "high_freq_factor": HIGH,
            "original_max_position_embeddings": ORIGINAL as u64,
        })
    })
}
