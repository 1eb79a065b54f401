//! Tests of the parser.

use std::sync::Arc;

use proptest::prelude::*;

use super::diagnostic::SourceText;
use super::*;

fn tree(text: &str) -> (Vec<Node>, Diagnostics) {
    let source = Arc::new(SourceText { name: "r.yml".into(), text: text.into() });
    let mut diagnostics = Diagnostics::new(source, false);
    let nodes = parse(text, &mut diagnostics);
    (nodes, diagnostics)
}

#[test]
fn places_anchors_and_merge_keys() {
    let (nodes, diagnostics) = tree("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n---\nsecond: ~\n");
    assert!(!diagnostics.has_errors());
    assert_eq!(nodes.len(), 2);
    let Kind::Mapping(entries) = &nodes[0].kind else { panic!() };
    assert_eq!(entries[1].0.span, Span { line: 2, column: 1, length: 5 });
    let Kind::Mapping(other) = &entries[1].1.kind else { panic!() };
    let pairs: Vec<_> = other.iter().map(|(k, v)| (k.value.as_str(), v.text().unwrap())).collect();
    assert_eq!(pairs, [("x", "1"), ("y", "3")], "merged keys first, as in PyYAML's dictionary");
}

#[test]
fn faults_are_noted_not_panicked() {
    for text in ["a: 1\na: 2", "a: [1", "a: {b", "? [x]\n: y", "a: *missing", "a:\n\tb: 1", "a: &x [*x]"] {
        assert!(tree(text).1.has_errors(), "{text:?}");
    }
    let deep = "[".repeat(2000) + &"]".repeat(2000);
    assert!(tree(&deep).1.has_errors());
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..9 {
        let refs = vec![format!("*a{}", i - 1); 10].join(",");
        bomb += &format!("a{i}: &a{i} [{refs}]\n");
    }
    assert!(tree(&bomb).1.has_errors());
}

/// The end of this text is on a line that does not exist, below the last line break.
#[test]
fn a_fault_at_the_end_is_shown_at_the_last_line() {
    for (text, place) in [("%YAML 1.1\n", (1, 10)), ("a: 1\nb\n", (2, 1))] {
        let (_, diagnostics) = tree(text);
        let span = diagnostics.list()[0].span.unwrap();
        assert_eq!((span.line, span.column), place, "{:?}", diagnostics.list());
    }
}

/// Aliases must not add up to a tree too deep for the stack, or to more text than fits memory.
#[test]
fn aliases_count_as_if_written_out() {
    let (open, close) = ("[".repeat(50), "]".repeat(50));
    let mut deep = format!("- &a0 {open}{close}\n");
    for i in 1..100 {
        deep += &format!("- &a{i} {open}*a{}{close}\n", i - 1);
    }
    assert!(tree(&deep).1.has_errors());
    let long = format!("- &a {}\n- [{}]\n", "x".repeat(1 << 20), "*a,".repeat(100));
    assert!(tree(&long).1.has_errors());
    assert!(!tree("- &a [[1], 2]\n- [*a, {b: *a}]\n").1.has_errors());
}

#[test]
fn scalars_read_as_pyyaml_and_python_would() {
    for (text, value) in
        [("1e-5", 1e-5), (".5", 0.5), ("-1_000", -1000.0), ("1.", 1.0), ("0x10", 16.0), ("-.inf", f64::NEG_INFINITY)]
    {
        assert_eq!(number(text), Some(value), "{text}");
    }
    for text in ["", "abc", "1x", "-", "e5", "."] {
        assert_eq!(number(text), None, "{text}");
    }
    assert_eq!((boolean("Yes"), boolean("OFF"), boolean("maybe")), (Some(true), Some(false), None));
}

/// The tree as one line: `null`, `"quoted"` or plain text, `[items]`, `{key: value}`.
fn line(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Scalar { text, quoted: true } => format!("{text:?}"),
        Kind::Scalar { text, quoted: false } => text.clone(),
        Kind::Sequence(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(", ")),
        Kind::Mapping(entries) => {
            let pairs: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", key.value, line(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// Documents as PyYAML 6.0.3 loads them, from its `compose_all`; texts that YAML 1.2 refuses are among them.
#[test]
fn texts_are_read_as_pyyaml_reads_them() {
    for (text, expected) in [
        ("a:\n  until: [\n    x\n  ]\nb: 2\n", "{a: {until: [x]}, b: 2}"),
        ("a:\n  b: {\nc: 1\n}\n", "{a: {b: {c: 1}}}"),
        ("a:\n  b: \"x\ny\n\nz\"\n", "{a: {b: \"x y\\nz\"}}"),
        ("a:\n  b: 'it''s\non'\n", "{a: {b: \"it's on\"}}"),
        ("a: \"x\\\n   y\\u00e9\"\n", "{a: \"xyé\"}"),
        ("a: [b: c, d]\n", "{a: [{b: c}, d]}"),
        ("a: {b:c, 'd':e}\n", "{a: {b:c: null, d: e}}"),
        ("a:\n- 1\n- b: 2\n  c: 3\nd: x y\n  z\n", "{a: [1, {b: 2, c: 3}], d: x y z}"),
        (
            "a: |\n  x\n\n   y\nb: >-\n  p\n  q\n\n  r\n\nc: |+\n  s\n\n",
            "{a: \"x\\n\\n y\\n\", b: \"p q\\nr\", c: \"s\\n\\n\"}",
        ),
        ("a: b#c # d\n? e\n: f\ng: !!str 5\nh:\ti\n", "{a: b#c, e: f, g: \"5\", h: i}"),
        ("a: &x [1]\nb: *x\nc: {<<: [{p: 1}, {p: 2, q: 3}], r: 4}\n", "{a: [1], b: [1], c: {p: 1, q: 3, r: 4}}"),
        ("\u{feff}a: 1\r\nb: ~\r\n", "{a: 1, b: null}"),
    ] {
        let (nodes, diagnostics) = tree(text);
        assert!(!diagnostics.has_errors(), "{text:?}: {:?}", diagnostics.list());
        assert_eq!(nodes.iter().map(line).collect::<Vec<_>>(), [expected], "{text:?}");
    }
    for text in [
        "a: b: c\n",
        "a: @x\n",
        "a: [1\nb: 2\n",
        "a: 'x' 'y'\n",
        "]",
        "a: - b\n",
        "\ta: b\n",
        "a: \u{7}\n",
        ": a\n",
        "a: !!python/tuple [1]\n",
    ] {
        assert!(tree(text).1.has_errors(), "{text:?}");
    }
}

#[test]
fn of_a_key_given_twice_the_last_value_counts_with_a_warning_or_is_refused() {
    let text = "a: 1\nb: 2\na: 3\n";
    let source = Arc::new(SourceText { name: "r.yml".into(), text: text.into() });
    let mut diagnostics = Diagnostics::new(source, false).last_key_wins();
    let nodes = parse(text, &mut diagnostics);
    assert_eq!(line(&nodes[0]), "{a: 3, b: 2}");
    let warnings = diagnostics.warnings();
    assert!(!diagnostics.has_errors() && warnings.len() == 1, "{warnings:?}");
    assert!(warnings[0].contains("key `a` is given twice (first on line 1)\n --> r.yml:3:1"), "{}", warnings[0]);
    assert!(tree(text).1.has_errors(), "files whose warnings nobody shows");
}

/// 20,000 keys took 14 seconds, and a long line came back whole.
#[test]
fn many_keys_take_linear_time_and_messages_stay_short() {
    let keys = |count: usize| (0..count).map(|i| format!("k{i}: 1\n")).collect::<String>();
    let time = |text: &str| {
        let start = std::time::Instant::now();
        let (nodes, mut diagnostics) = tree(text);
        let Kind::Mapping(entries) = &nodes[0].kind else { panic!() };
        for (key, _) in entries {
            diagnostics.unknown(key.span, "key", &key.value, &["base_model", "models"]);
        }
        let message = diagnostics.check().unwrap_err().to_string();
        assert!(message.len() < 20_000 && message.contains("more"), "{}", message.len());
        start.elapsed().as_secs_f64()
    };
    let (few, many) = (time(&keys(4_000)), time(&keys(64_000)));
    assert!(many < 100.0 * few.max(1e-3), "{few} s for 4,000 keys, {many} s for 64,000");
    let long = format!("a: 1\n{}: [1\n", "x".repeat(1 << 20));
    let message = tree(&long).1.check().unwrap_err().to_string();
    assert!(message.len() < 2_000 && message.contains("r.yml:2:1"), "{}", message.len());
    let (_, mut diagnostics) = tree("a: 1\n");
    diagnostics.unknown(Span { line: 1, column: 1, length: 1 }, "key", &"y".repeat(1 << 20), &["a"]);
    assert!(diagnostics.check().unwrap_err().to_string().len() < 2_000);
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_a_panic(text in "[ \\-:a-c\\[\\]{}&*<>|'\"#\n\t,?!~0-9.]{0,80}") {
        let (_, diagnostics) = tree(&text);
        for diagnostic in diagnostics.list() {
            prop_assert!(!diagnostics.render(diagnostic).is_empty());
        }
    }
}
