//! Comma-separated values with the types that pandas would infer.
//!
//! The harness reads CSV files through pandas: a column of whole numbers is a column of integers, a
//! gap makes it floats, a gap elsewhere is null.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

/// Texts that pandas reads as a missing value.
const GAPS: &[&str] = &[
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// A record and the line it starts on.
struct Record {
    line: usize,
    fields: Vec<String>,
}

/// Rows by header name.
///
/// # Errors
/// Line and message of the first defect.
pub(crate) fn rows(text: &str) -> Result<Vec<Map<String, Value>>, (usize, String)> {
    let mut records = records(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
    let Some(header) = records.next() else { return Ok(Vec::new()) };
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); header.fields.len()];
    for record in records {
        if record.fields.len() != header.fields.len() {
            let message = format!("{} fields where the header has {}", record.fields.len(), header.fields.len());
            return Err((record.line, message));
        }
        for (column, field) in columns.iter_mut().zip(record.fields) {
            column.push(field);
        }
    }
    let count = columns.first().map_or(0, Vec::len);
    let mut rows: Vec<Map<String, Value>> = vec![Map::new(); count];
    for (name, column) in names(&header.fields).iter().zip(&columns) {
        for (row, value) in rows.iter_mut().zip(typed(column)) {
            row.insert(name.clone(), value);
        }
    }
    Ok(rows)
}

/// Column names as pandas makes them: a repeated one gets the first free of `.1`, `.2`, ..., one that
/// is empty the number of its column. No column may hide another.
fn names(header: &[String]) -> Vec<String> {
    let mut names: Vec<String> = header
        .iter()
        .enumerate()
        .map(|(i, n)| if n.is_empty() { format!("Unnamed: {i}") } else { n.clone() })
        .collect();
    let written: BTreeSet<String> = names.iter().cloned().collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // Named columns keep their names before columns without one get theirs.
    let (named, unnamed): (Vec<usize>, Vec<usize>) =
        (0..header.len()).partition(|place| header.get(*place).is_some_and(|name| !name.is_empty()));
    for place in named.into_iter().chain(unnamed) {
        let Some(name) = names.get_mut(place) else { continue };
        let first = name.clone();
        let mut count = counts.get(&first).copied().unwrap_or(0);
        while count > 0 {
            counts.insert(first.clone(), count + 1);
            *name = format!("{first}.{count}");
            count = if written.contains(name) { count + 1 } else { counts.get(name).copied().unwrap_or(0) };
        }
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    names
}

fn typed(column: &[String]) -> Vec<Value> {
    let gap = |field: &String| GAPS.contains(&field.as_str());
    let gaps = column.iter().any(gap);
    let numbers = || column.iter().filter(|field| !gap(field)).map(|field| field.trim());
    if column.iter().all(gap) {
        return vec![Value::Null; column.len()];
    }
    if !gaps && numbers().all(|text| text.parse::<i64>().is_ok()) {
        return numbers().map(|text| text.parse::<i64>().map_or(Value::Null, Value::from)).collect();
    }
    let float = |text: &str| {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        text.parse::<f64>().ok().filter(|_| plain)
    };
    if numbers().all(|text| float(text).is_some()) {
        let value = |field: &String| float(field.trim()).and_then(Number::from_f64).map_or(Value::Null, Value::Number);
        return column.iter().map(|field| if gap(field) { Value::Null } else { value(field) }).collect();
    }
    let truth = |field: &str| match field {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    };
    if !gaps && column.iter().all(|field| truth(field).is_some()) {
        return column.iter().map(|field| truth(field).map_or(Value::Null, Value::Bool)).collect();
    }
    column.iter().map(|field| if gap(field) { Value::Null } else { Value::String(field.clone()) }).collect()
}

/// RFC 4180: quotes may hold commas, line breaks and doubled quotes. Empty lines are skipped.
///
/// Not the `csv` crate: it reads a quoted field that does not end as if it ended with the file, and its position of a
/// record after empty lines is that of the first empty line.
fn records(text: &str) -> Result<Vec<Record>, (usize, String)> {
    let mut records = Vec::new();
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while chars.peek().is_some() {
        let start = line;
        let (mut fields, mut field, mut quoted_any) = (Vec::new(), String::new(), false);
        loop {
            match chars.next() {
                Some('"') if field.is_empty() => {
                    quoted_any = true;
                    loop {
                        match chars.next() {
                            Some('"') if chars.peek() == Some(&'"') => {
                                chars.next();
                                field.push('"');
                            }
                            Some('"') => break,
                            Some(c) => {
                                line += usize::from(c == '\n');
                                field.push(c);
                            }
                            None => return Err((start, "a quoted field does not end".to_owned())),
                        }
                    }
                }
                Some(',') => fields.push(std::mem::take(&mut field)),
                Some('\r') if chars.peek() == Some(&'\n') => {}
                Some('\n') | None => {
                    line += 1;
                    break;
                }
                Some(c) => field.push(c),
            }
        }
        if fields.is_empty() && field.is_empty() && !quoted_any {
            continue;
        }
        fields.push(field);
        records.push(Record { line: start, fields });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// The names are `pandas.read_csv(...).columns` of pandas 2.2 for these headers.
    #[test]
    fn repeated_csv_columns_are_named_as_by_pandas() {
        for (header, expected) in [
            ("text,text,index", ["text", "text.1", "index"]),
            ("a,a,a", ["a", "a.1", "a.2"]),
            ("a,a,a.1", ["a", "a.2", "a.1"]),
            ("a.1,a,a", ["a.1", "a", "a.2"]),
            (",a,", ["Unnamed: 0", "a", "Unnamed: 2"]),
        ] {
            let rows = rows(&format!("{header}\nx,y,z\n")).unwrap();
            assert_eq!(rows[0].keys().collect::<Vec<_>>(), expected, "{header}");
            assert_eq!(rows[0].values().collect::<Vec<_>>(), ["x", "y", "z"], "{header}");
        }
    }

    /// The values are what `pandas.read_csv` gives for the same text.
    #[test]
    fn columns_are_typed_as_by_pandas() {
        let text = "a,b,c,d,e\n1,1.5,x,True,1\n-2,,\"y, \"\"z\"\"\n!\",False,\n\n";
        let rows = rows(text).unwrap();
        assert_eq!(rows[0], *json!({"a": 1, "b": 1.5, "c": "x", "d": true, "e": 1.0}).as_object().unwrap());
        let second = json!({"a": -2, "b": null, "c": "y, \"z\"\n!", "d": false, "e": null});
        assert_eq!(rows[1], *second.as_object().unwrap());
        assert_eq!(super::rows("a,b\n1\n"), Err((2, "1 fields where the header has 2".to_owned())));
        assert!(super::rows("a\n\"x\n").is_err());
        assert!(super::rows("").unwrap().is_empty());
    }

    fn by_the_crate(text: &str) -> Vec<(u64, Vec<String>)> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let record =
            |record: csv::StringRecord| (record.position().unwrap().line(), record.iter().map(str::to_owned).collect());
        reader.records().map(|found| record(found.unwrap())).collect()
    }

    /// Why the crate does not replace our reader: both faults would pass.
    #[test]
    fn the_csv_crate_would_hide_faults() {
        assert_eq!(by_the_crate("a\n\"x\n"), [(1, vec!["a".to_owned()]), (2, vec!["x\n".to_owned()])]);
        assert!(records("a\n\"x\n").is_err());
        let ours: Vec<usize> = records("a\n\n\nb\n").unwrap().iter().map(|record| record.line).collect();
        assert_eq!(ours, [1, 4]);
        assert_eq!(by_the_crate("a\n\n\nb\n")[1].0, 2);
    }

    proptest! {
        /// What the `csv` crate writes is read back, and read as the crate itself reads it.
        #[test]
        fn records_are_those_of_the_csv_crate(
            written in prop::collection::vec(prop::collection::vec("[a, \"\n\ré]{0,6}", 1..5), 0..6),
            always in any::<bool>(),
        ) {
            let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
            let mut writer = csv::WriterBuilder::new().flexible(true).quote_style(style).from_writer(Vec::new());
            for record in &written {
                writer.write_record(record).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let ours: Vec<_> = records(&text).unwrap().into_iter().map(|record| record.fields).collect();
            prop_assert_eq!(&ours, &written);
            let theirs: Vec<_> = by_the_crate(&text).into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
