//! `Adapter::open` on a folder of arbitrary config and weights: it may never panic, and what it accepts has factors of one
//! rank that agree with their shapes, finite scales, and saves as an adapter that reads the same.

#![no_main]

mod scratch;

use billon::internal::{Adapter, LoraConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((config, weights)) = scratch::parts(input) else { return };
    let path = scratch::write("adapter_config.json", config);
    let alone = LoraConfig::parse(&path, config);
    // The JSON header of a weight file; its data are zeros, so that mutations need not keep lengths in step.
    let mut file = (weights.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(weights);
    file.resize(file.len() + 4096, 0);
    scratch::write("adapter_model.safetensors", &file);
    match Adapter::open(scratch::folder()) {
        Ok(adapter) => {
            assert!(alone.is_ok(), "the config is refused alone");
            for (module, factors) in adapter.factors() {
                assert!(factors.rank() > 0 && factors.scale().is_finite(), "{module}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(config) = alone {
        assert!(LoraConfig::parse(&path, config.text().as_bytes()).is_ok(), "what is written is not read");
    }
});
