//! YAML text to a tree whose nodes remember where they stand.
//!
//! Scalars stay text until someone asks for a type, because the same word means different things:
//! `no` is a boolean to PyYAML (YAML 1.1) and a string to YAML 1.2, `1e-5` the other way round.
//! Aliases are expanded under a budget, merge keys (`<<`) are honoured, duplicate keys are errors.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as ParserSpan};

use super::diagnostic::Diagnostics;

/// A place in the text: line and column count from 1, the length is in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Length on that line, in characters; 0 marks one character.
    pub length: usize,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// Any other scalar.
    Scalar {
        /// Its text, unquoted.
        text: String,
        /// Whether it was written with quotes or as a block.
        quoted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in order of writing.
    Mapping(Vec<(Spanned<String>, Node)>),
}

/// Deepest nesting and most nodes accepted: far beyond any recipe, far below harm.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 200_000;
const TOO_LARGE: &str = "the document is nested too deeply or too large for a recipe";

impl Node {
    /// What it is, for messages.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "a scalar",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// A scalar's value as a boolean: YAML 1.1's words in any usual case, and 0 and 1.
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" | "1.0" => Some(true),
        "false" | "no" | "off" | "n" | "f" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// A scalar's value as a number, quoted or not: PyYAML's and Python's spellings.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match digits.to_ascii_lowercase().as_str() {
        ".inf" | "inf" | "infinity" => return Some(sign * f64::INFINITY),
        ".nan" | "nan" => return Some(f64::NAN),
        "true" => return Some(1.0),
        "false" => return Some(0.0),
        _ => {}
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return u64::from_str_radix(&hex.replace('_', ""), 16).ok().map(|n| sign * n as f64);
    }
    let first = *digits.as_bytes().first()?;
    let numeric = first.is_ascii_digit() || first == b'.';
    if !numeric || digits.ends_with('_') {
        return None;
    }
    digits.replace('_', "").parse::<f64>().ok().map(|n| sign * n)
}

/// Parses all documents of a text. Faults go to `diagnostics`; what was complete before a fault is
/// returned.
pub fn parse(text: &str, diagnostics: &mut Diagnostics) -> Vec<Node> {
    let end = Span {
        line: text.lines().count().max(1),
        column: text.lines().last().map_or(0, |line| line.chars().count()) + 1,
        length: 1,
    };
    let mut builder = Builder { end, anchors: BTreeMap::new(), nodes: 0 };
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    loop {
        let result = match parser.next_event() {
            None => return documents,
            Some(Err(error)) => {
                builder.fault(&error, diagnostics);
                return documents;
            }
            Some(Ok((
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing,
                _,
            ))) => {
                continue;
            }
            Some(Ok((event, span))) => builder.node(&mut parser, event, span, 0, diagnostics),
        };
        match result {
            Some(node) => documents.push(node),
            None => return documents,
        }
    }
}

struct Builder {
    /// Just after the last character of the last line.
    end: Span,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    /// Builds the node that `event` begins; `None` after a fault was noted.
    fn node<'i, T: saphyr_parser::Input>(
        &mut self,
        parser: &mut Parser<'i, T>,
        event: Event<'i>,
        place: ParserSpan,
        depth: usize,
        diagnostics: &mut Diagnostics,
    ) -> Option<Node> {
        let mut span = self.span(place);
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            diagnostics.error(span, TOO_LARGE);
            return None;
        }
        let (kind, anchor) = match event {
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    diagnostics.error(span, "an alias may not stand inside its own anchor");
                    return None;
                };
                // What an alias stands for counts as if it were written out: its nodes, text and nesting.
                let (nodes, height) = extent(node);
                self.nodes = self.nodes.saturating_add(nodes);
                if depth + height > MAX_DEPTH || self.nodes > MAX_NODES {
                    diagnostics.error(span, TOO_LARGE);
                    return None;
                }
                return Some(node.clone());
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag.filter(|tag| tag.handle == "!") {
                    if tag.suffix == "function" {
                        let help = "billon never runs Python: write a template, or prepare the data beforehand";
                        diagnostics.error_help(span, format!("`!function {text}` names Python code"), help);
                    } else {
                        diagnostics.error(span, format!("unknown tag `!{}`", tag.suffix));
                    }
                }
                let quoted = style != ScalarStyle::Plain;
                let null = !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (if null { Kind::Null } else { Kind::Scalar { text: text.into_owned(), quoted } }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next(parser, diagnostics)? {
                        (Event::SequenceEnd, end) => {
                            if end.end.line() == span.line {
                                span.length = (end.end.col() + 1).saturating_sub(span.column);
                            }
                            break;
                        }
                        (event, place) => items.push(self.node(parser, event, place, depth + 1, diagnostics)?),
                    }
                }
                (Kind::Sequence(items), anchor)
            }
            Event::MappingStart(anchor, _) => (Kind::Mapping(self.mapping(parser, depth, diagnostics)?), anchor),
            _ => {
                diagnostics.error(span, "not valid YAML: unexpected end of the document");
                return None;
            }
        };
        let node = Node { span, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn mapping<T: saphyr_parser::Input>(
        &mut self,
        parser: &mut Parser<'_, T>,
        depth: usize,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<(Spanned<String>, Node)>> {
        let mut entries: Vec<(Spanned<String>, Node)> = Vec::new();
        let mut inherited: Vec<(Spanned<String>, Node)> = Vec::new();
        loop {
            let (event, place) = self.next(parser, diagnostics)?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(parser, event, place, depth + 1, diagnostics)?;
            let (event, place) = self.next(parser, diagnostics)?;
            let value = self.node(parser, event, place, depth + 1, diagnostics)?;
            let name = match (&key.kind, key.text()) {
                (_, Some(text)) => text.to_owned(),
                (Kind::Null, _) => String::new(),
                _ => {
                    diagnostics.error(key.span, "a key must be a plain word");
                    continue;
                }
            };
            if name == "<<" {
                match value.kind {
                    Kind::Mapping(merged) => inherited.extend(merged),
                    Kind::Sequence(items) => {
                        for item in items {
                            if let Kind::Mapping(merged) = item.kind {
                                inherited.extend(merged);
                            }
                        }
                    }
                    _ => diagnostics.error(key.span, "`<<` takes a mapping or a list of mappings"),
                }
            } else if let Some((first, _)) = entries.iter().find(|(k, _)| k.value == name) {
                let message = format!("key `{name}` is given twice (first on line {})", first.span.line);
                diagnostics.error(key.span, message);
            } else {
                entries.push((Spanned { value: name, span: key.span }, value));
            }
        }
        for (key, value) in inherited {
            if !entries.iter().any(|(k, _)| k.value == key.value) {
                entries.push((key, value));
            }
        }
        Some(entries)
    }

    fn next<'i, T: saphyr_parser::Input>(
        &self,
        parser: &mut Parser<'i, T>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Event<'i>, ParserSpan)> {
        match parser.next_event() {
            Some(Ok(next)) => Some(next),
            Some(Err(error)) => {
                self.fault(&error, diagnostics);
                None
            }
            None => {
                diagnostics.error(self.end, "not valid YAML: the text ends early");
                None
            }
        }
    }

    fn fault(&self, error: &ScanError, diagnostics: &mut Diagnostics) {
        let marker = error.marker();
        let span = self.within(Span { line: marker.line().max(1), column: marker.col() + 1, length: 1 });
        diagnostics.error(span, format!("not valid YAML: {}", error.info()));
    }

    fn span(&self, place: ParserSpan) -> Span {
        let (start, end) = (place.start, place.end);
        let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 0 };
        self.within(Span { line: start.line().max(1), column: start.col() + 1, length })
    }

    /// The parser counts a line after a final line break, which has no text to show.
    fn within(&self, span: Span) -> Span {
        if span.line > self.end.line { self.end } else { span }
    }
}

/// Nodes of a tree (long texts count as several) and how deep it is.
fn extent(node: &Node) -> (usize, usize) {
    let below = |children: &mut dyn Iterator<Item = &Node>| {
        children.map(extent).fold((1, 0), |(nodes, height), child| (nodes + child.0, height.max(child.1 + 1)))
    };
    match &node.kind {
        Kind::Null => (1, 0),
        Kind::Scalar { text, .. } => (1 + text.len() / 64, 0),
        Kind::Sequence(items) => below(&mut items.iter()),
        Kind::Mapping(entries) => {
            let (nodes, height) = below(&mut entries.iter().map(|(_, value)| value));
            (nodes + entries.iter().map(|(key, _)| 1 + key.value.len() / 64).sum::<usize>(), height)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::diagnostic::SourceText;
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

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
        assert_eq!(pairs, [("y", "3"), ("x", "1")]);
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

    /// The parser places this fault on a line that does not exist, below the last line break.
    #[test]
    fn a_fault_at_the_end_is_shown_at_the_last_line() {
        let (_, diagnostics) = tree("a: 1\nb\n");
        let span = diagnostics.list()[0].span.unwrap();
        assert_eq!((span.line, span.column), (2, 2), "{:?}", diagnostics.list());
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
        for (text, value) in [
            ("1e-5", 1e-5),
            (".5", 0.5),
            ("-1_000", -1000.0),
            ("1.", 1.0),
            ("0x10", 16.0),
            ("-.inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "abc", "1x", "-", "e5", "."] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!((boolean("Yes"), boolean("OFF"), boolean("maybe")), (Some(true), Some(false), None));
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
}
