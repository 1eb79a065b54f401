//! Element types of GGUF tensors.

use std::fmt;

/// An element type that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, non_camel_case_types)]
pub enum GgmlType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Type, number in the file, name, elements and bytes of a block.
const TABLE: &[(GgmlType, u32, &str, u64, u64)] = &[
    (GgmlType::F32, 0, "F32", 1, 4),
    (GgmlType::F16, 1, "F16", 1, 2),
    (GgmlType::Q4_0, 2, "Q4_0", 32, 18),
    (GgmlType::Q4_1, 3, "Q4_1", 32, 20),
    (GgmlType::Q5_0, 6, "Q5_0", 32, 22),
    (GgmlType::Q5_1, 7, "Q5_1", 32, 24),
    (GgmlType::Q8_0, 8, "Q8_0", 32, 34),
    (GgmlType::Q2_K, 10, "Q2_K", 256, 84),
    (GgmlType::Q3_K, 11, "Q3_K", 256, 110),
    (GgmlType::Q4_K, 12, "Q4_K", 256, 144),
    (GgmlType::Q5_K, 13, "Q5_K", 256, 176),
    (GgmlType::Q6_K, 14, "Q6_K", 256, 210),
    (GgmlType::BF16, 30, "BF16", 1, 2),
];

/// Names of types that can't be read, for the error.
const OTHERS: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl GgmlType {
    /// The type with this number in the file.
    ///
    /// # Errors
    /// The name of a type that can't be read.
    pub fn from_number(number: u32) -> Result<Self, String> {
        TABLE.iter().find(|row| row.1 == number).map(|row| row.0).ok_or_else(|| {
            OTHERS.iter().find(|row| row.0 == number).map_or_else(|| format!("{number}"), |row| row.1.to_owned())
        })
    }

    fn row(self) -> (&'static str, u64, u64) {
        // Every variant has a row; the fallback only avoids a panic.
        TABLE.iter().find(|row| row.0 == self).map_or(("?", 1, 4), |row| (row.2, row.3, row.4))
    }

    /// The name ggml gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Number of elements that share scales.
    #[must_use]
    pub fn block_elements(self) -> u64 {
        self.row().1
    }

    /// Size in the file.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().2
    }

    /// Whether values are stored by blocks with a scale.
    #[must_use]
    pub fn is_quantised(self) -> bool {
        self.block_elements() > 1
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
