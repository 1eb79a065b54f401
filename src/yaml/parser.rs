//! YAML tokens to a tree whose nodes remember where they stand.
//!
//! The grammar is that of PyYAML's `parser.py`. Aliases are expanded under a budget, merge keys (`<<`)
//! are honoured. A key given twice is an error, or a warning with the last value where the file's
//! peers read it so ([`Diagnostics::last_key_wins`]).

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::Diagnostics;
use super::mapping::Mapping;
use super::scanner::Scanner;
use super::token::{Mark, ScanError, TokenKind};
use super::tree::{Kind, Node, Span, Spanned};

/// Deepest nesting, most nodes and longest text accepted: far beyond any recipe, far below harm.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 200_000;
const MAX_BYTES: usize = 16 << 20;
const TOO_LARGE: &str = "the document is nested too deeply or too large for a recipe";

/// Parses all documents of a text. Faults go to `diagnostics`; what was complete before a fault is
/// returned.
pub(crate) fn parse(text: &str, diagnostics: &mut Diagnostics) -> Vec<Node> {
    let mut documents = Vec::new();
    if text.len() > MAX_BYTES {
        diagnostics.error(None, format!("the text has {} bytes; at most {MAX_BYTES} are read", text.len()));
        return documents;
    }
    if let Some((span, c)) = unprintable(text) {
        diagnostics.error(span, format!("not valid YAML: the control character U+{:04X}", u32::from(c)));
        return documents;
    }
    let lines = text.lines().count().max(1);
    let last = text.lines().last().map_or(0, |line| line.chars().count());
    let end = Span { line: lines, column: last + 1, length: 1 };
    let mut parser = Parser {
        scanner: Scanner::new(text),
        diagnostics,
        end,
        anchors: BTreeMap::new(),
        open: BTreeSet::new(),
        handles: BTreeMap::new(),
        nodes: 0,
    };
    match parser.documents(&mut documents) {
        Ok(()) | Err(Fault::Noted) => {}
        Err(Fault::Syntax(error)) => {
            let span = parser.span(error.mark, error.mark);
            let span = Span { length: 1, ..span };
            parser.diagnostics.error(span, format!("not valid YAML: {}", error.message));
        }
    }
    documents
}

/// The first character that YAML does not allow, as PyYAML's reader has it.
fn unprintable(text: &str) -> Option<(Span, char)> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}') || u32::from(c) >= 0x1_0000
    };
    let place = text.find(|c| !allowed(c))?;
    let before = text.get(..place)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().expect("a split has a first piece").chars().count() + 1;
    Some((Span { line, column, length: 1 }, text.get(place..)?.chars().next()?))
}

/// Reason why a text was not read to its end.
enum Fault {
    Syntax(ScanError),
    /// The diagnostics have it.
    Noted,
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

type Parsed<T> = Result<T, Fault>;

/// Collections that can start at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Flow,
    Block,
    /// The value of a block mapping: a list may stand in the column of its key.
    BlockValue,
}

struct Parser<'a> {
    scanner: Scanner,
    diagnostics: &'a mut Diagnostics,
    /// Just after the last character of the last line.
    end: Span,
    anchors: BTreeMap<String, Node>,
    /// Anchors whose node is not complete yet.
    open: BTreeSet<String>,
    /// Prefixes of tag handles that the document declares.
    handles: BTreeMap<String, String>,
    nodes: usize,
}

impl Parser<'_> {
    fn documents(&mut self, documents: &mut Vec<Node>) -> Parsed<()> {
        loop {
            while self.scanner.peek()?.kind == TokenKind::DocumentEnd {
                self.scanner.next()?;
            }
            if self.scanner.peek()?.kind == TokenKind::StreamEnd {
                return Ok(());
            }
            self.anchors.clear();
            self.handles.clear();
            let directives = self.directives()?;
            if self.scanner.peek()?.kind == TokenKind::DocumentStart {
                self.scanner.next()?;
            } else if directives || !documents.is_empty() {
                return self.unexpected("`---` before the next document");
            }
            let token = self.scanner.peek()?;
            let (start, kind) = (token.start, &token.kind);
            let empty = matches!(
                kind,
                TokenKind::Directive(_) | TokenKind::DocumentStart | TokenKind::DocumentEnd | TokenKind::StreamEnd
            );
            let node = if empty { self.empty(start)? } else { self.node(Context::Block, 0)? };
            documents.push(node);
            if self.scanner.peek()?.kind == TokenKind::DocumentEnd {
                self.scanner.next()?;
            }
        }
    }

    fn directives(&mut self) -> Parsed<bool> {
        let mut any = false;
        while let TokenKind::Directive(words) = &self.scanner.peek()?.kind {
            if let [name, handle, prefix] = words.as_slice()
                && name == "TAG"
            {
                self.handles.insert(handle.clone(), prefix.clone());
            }
            any = true;
            self.scanner.next()?;
        }
        Ok(any)
    }

    fn unexpected<T>(&mut self, expected: &str) -> Parsed<T> {
        let token = self.scanner.peek()?;
        let message = format!("expected {expected}, found {}", token.kind.describe());
        Err(Fault::Syntax(ScanError { message, mark: token.start }))
    }

    /// Whether the next token is one of `kinds`.
    fn at(&mut self, kinds: &[TokenKind]) -> Parsed<bool> {
        Ok(kinds.contains(&self.scanner.peek()?.kind))
    }

    fn count(&mut self, span: Span, nodes: usize, depth: usize) -> Parsed<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            self.diagnostics.error(span, TOO_LARGE);
            return Err(Fault::Noted);
        }
        Ok(())
    }

    /// A value that was left out.
    fn empty(&mut self, mark: Mark) -> Parsed<Node> {
        let span = self.span(mark, mark);
        self.count(span, 1, 0)?;
        Ok(Node { span, kind: Kind::Null })
    }

    fn node(&mut self, context: Context, depth: usize) -> Parsed<Node> {
        let start = self.scanner.peek()?.start;
        if let TokenKind::Alias(name) = &self.scanner.peek()?.kind {
            let name = name.clone();
            let end = self.scanner.next()?.end;
            let span = self.span(start, end);
            return self.alias(&name, span, depth);
        }
        let (mut anchor, mut tag, mut end) = (None, None, start);
        for _ in 0..2 {
            match &self.scanner.peek()?.kind {
                TokenKind::Anchor(name) if anchor.is_none() => anchor = Some(name.clone()),
                TokenKind::Tag(handle, suffix) if tag.is_none() => tag = Some((handle.clone(), suffix.clone())),
                _ => break,
            }
            end = self.scanner.next()?.end;
        }
        let span = self.span(start, start);
        self.count(span, 1, depth)?;
        if let Some(name) = &anchor {
            self.open.insert(name.clone());
        }
        let mut node = self.content(context, start, end, anchor.is_some() || tag.is_some(), depth)?;
        if let Some((handle, suffix)) = tag {
            self.tag(&mut node, handle.as_deref(), &suffix);
        }
        if let Some(name) = anchor {
            self.open.remove(&name);
            self.anchors.insert(name, node.clone());
        }
        Ok(node)
    }

    /// Parses the content after anchor and tag.
    fn content(&mut self, context: Context, start: Mark, end: Mark, named: bool, depth: usize) -> Parsed<Node> {
        let token = self.scanner.peek()?;
        let (from, to) = (token.start, token.end);
        let block = context != Context::Flow;
        match &token.kind {
            TokenKind::BlockEntry if context == Context::BlockValue => {
                let items = self.entries(false, depth)?;
                Ok(Node { span: self.span(start, to), kind: Kind::Sequence(items) })
            }
            TokenKind::Scalar { .. } => {
                let span = self.span(start, to);
                let TokenKind::Scalar { text, plain } = self.scanner.next()?.kind else {
                    return self.unexpected("a scalar");
                };
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if null { Kind::Null } else { Kind::Scalar { text, quoted: !plain } };
                Ok(Node { span, kind })
            }
            TokenKind::FlowSequenceStart => {
                let (items, close) = self.flow_sequence(from, depth)?;
                Ok(Node { span: self.span(start, close), kind: Kind::Sequence(items) })
            }
            TokenKind::FlowMappingStart => {
                let entries = self.flow_mapping(from, depth)?;
                Ok(Node { span: self.span(start, to), kind: Kind::Mapping(entries) })
            }
            TokenKind::BlockSequenceStart if block => {
                self.scanner.next()?;
                let items = self.entries(true, depth)?;
                Ok(Node { span: self.span(start, to), kind: Kind::Sequence(items) })
            }
            TokenKind::BlockMappingStart if block => {
                self.scanner.next()?;
                let entries = self.block_mapping(depth)?;
                Ok(Node { span: self.span(start, to), kind: Kind::Mapping(entries) })
            }
            _ if named => Ok(Node { span: self.span(start, end), kind: Kind::Null }),
            _ => self.unexpected("a value"),
        }
    }

    fn alias(&mut self, name: &str, span: Span, depth: usize) -> Parsed<Node> {
        let Some(node) = self.anchors.get(name) else {
            let message = if self.open.contains(name) {
                "an alias may not stand inside its own anchor".to_owned()
            } else {
                format!("alias `{name}` has no anchor before it")
            };
            self.diagnostics.error(span, message);
            return Err(Fault::Noted);
        };
        // What an alias stands for counts as if it were written out: its nodes, text and nesting.
        let (nodes, height) = extent(node);
        self.count(span, nodes.saturating_add(1), depth + height)?;
        match self.anchors.get(name) {
            Some(node) => Ok(node.clone()),
            None => self.unexpected("an anchor"),
        }
    }

    /// Applies a tag: what it makes of a scalar, or an error.
    fn tag(&mut self, node: &mut Node, handle: Option<&str>, suffix: &str) {
        let prefix = match handle {
            None => "",
            Some(handle) => match (self.handles.get(handle), handle) {
                (Some(prefix), _) => prefix,
                (None, "!!") => "tag:yaml.org,2002:",
                (None, other) => other,
            },
        };
        let tag = format!("{prefix}{suffix}");
        let text = node.text().map_or_else(String::new, str::to_owned);
        match (tag.as_str(), &mut node.kind) {
            ("!function", _) => {
                let help = "billon never runs Python: write a template, or prepare the data beforehand";
                self.diagnostics.error_help(node.span, format!("`!function {text}` names Python code"), help);
            }
            ("!" | "tag:yaml.org,2002:str", Kind::Scalar { quoted, .. }) => *quoted = true,
            ("tag:yaml.org,2002:str", kind @ Kind::Null) => {
                *kind = Kind::Scalar { text: String::new(), quoted: true };
            }
            (
                "tag:yaml.org,2002:int"
                | "tag:yaml.org,2002:float"
                | "tag:yaml.org,2002:bool"
                | "tag:yaml.org,2002:null",
                Kind::Scalar { quoted, .. },
            ) => *quoted = false,
            ("!" | "tag:yaml.org,2002:map", Kind::Mapping(_))
            | ("!" | "tag:yaml.org,2002:seq", Kind::Sequence(_))
            | ("!" | "tag:yaml.org,2002:null", Kind::Null) => {}
            _ => {
                let shown = tag.strip_prefix("tag:yaml.org,2002:").map_or(tag.clone(), |name| format!("!!{name}"));
                self.diagnostics.error(node.span, format!("unknown tag `{shown}`"));
            }
        }
    }

    /// Items after `- `; the list ends with a [`TokenKind::BlockEnd`] unless it stands in the column of
    /// its key.
    fn entries(&mut self, indented: bool, depth: usize) -> Parsed<Vec<Node>> {
        let mut items = Vec::new();
        while self.at(&[TokenKind::BlockEntry])? {
            let mark = self.scanner.next()?.end;
            let absent = if indented {
                self.at(&[TokenKind::BlockEntry, TokenKind::BlockEnd])?
            } else {
                self.at(&[TokenKind::BlockEntry, TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd])?
            };
            let item = if absent { self.empty(mark)? } else { self.node(Context::Block, depth + 1)? };
            items.push(item);
        }
        if indented {
            if !self.at(&[TokenKind::BlockEnd])? {
                return self.unexpected("a list item or less indentation");
            }
            self.scanner.next()?;
        }
        Ok(items)
    }

    fn block_mapping(&mut self, depth: usize) -> Parsed<Vec<(Spanned<String>, Node)>> {
        let mut mapping = Mapping::default();
        let ends = [TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd];
        loop {
            let key = if self.at(&[TokenKind::Key])? {
                let mark = self.scanner.next()?.end;
                if self.at(&ends)? { self.empty(mark)? } else { self.node(Context::BlockValue, depth + 1)? }
            } else if self.at(&[TokenKind::BlockEnd])? {
                self.scanner.next()?;
                return Ok(mapping.finish());
            } else {
                return self.unexpected("a key or less indentation");
            };
            let value = if self.at(&[TokenKind::Value])? {
                let mark = self.scanner.next()?.end;
                if self.at(&ends)? { self.empty(mark)? } else { self.node(Context::BlockValue, depth + 1)? }
            } else {
                let mark = self.scanner.peek()?.start;
                self.empty(mark)?
            };
            mapping.add(key, value, self.diagnostics);
        }
    }

    /// Items up to `]`, and where that ends.
    fn flow_sequence(&mut self, open: Mark, depth: usize) -> Parsed<(Vec<Node>, Mark)> {
        let mut items = Vec::new();
        self.scanner.next()?;
        loop {
            if self.at(&[TokenKind::FlowSequenceEnd])? {
                return Ok((items, self.scanner.next()?.end));
            }
            if !items.is_empty() {
                self.separator(open, "`,` or `]`", &TokenKind::FlowSequenceEnd)?;
                if self.at(&[TokenKind::FlowSequenceEnd])? {
                    continue;
                }
            }
            if self.at(&[TokenKind::Key])? {
                // `[a: b]` is a list with a mapping of one key.
                let start = self.scanner.peek()?.start;
                let span = self.span(start, start);
                self.count(span, 1, depth + 1)?;
                let (key, value) = self.flow_pair(&TokenKind::FlowSequenceEnd, depth + 2)?;
                let mut mapping = Mapping::default();
                mapping.add(key, value, self.diagnostics);
                items.push(Node { span, kind: Kind::Mapping(mapping.finish()) });
            } else {
                items.push(self.node(Context::Flow, depth + 1)?);
            }
        }
    }

    fn flow_mapping(&mut self, open: Mark, depth: usize) -> Parsed<Vec<(Spanned<String>, Node)>> {
        let mut mapping = Mapping::default();
        let mut first = true;
        self.scanner.next()?;
        loop {
            if self.at(&[TokenKind::FlowMappingEnd])? {
                self.scanner.next()?;
                return Ok(mapping.finish());
            }
            if !first {
                self.separator(open, "`,` or `}`", &TokenKind::FlowMappingEnd)?;
                if self.at(&[TokenKind::FlowMappingEnd])? {
                    continue;
                }
            }
            first = false;
            let (key, value) = if self.at(&[TokenKind::Key])? {
                self.flow_pair(&TokenKind::FlowMappingEnd, depth + 1)?
            } else {
                let key = self.node(Context::Flow, depth + 1)?;
                let mark = self.scanner.peek()?.start;
                (key, self.empty(mark)?)
            };
            mapping.add(key, value, self.diagnostics);
        }
    }

    /// The comma between two items of what was opened at `open`.
    fn separator(&mut self, open: Mark, expected: &str, close: &TokenKind) -> Parsed<()> {
        if self.at(&[TokenKind::FlowEntry])? {
            self.scanner.next()?;
            return Ok(());
        }
        if self.at(&[TokenKind::StreamEnd, TokenKind::DocumentStart, TokenKind::DocumentEnd])? {
            let message = format!("{} is missing for the bracket that opens here", close.describe());
            return Err(Fault::Syntax(ScanError { message, mark: open }));
        }
        self.unexpected(expected)
    }

    /// Key and value after a [`TokenKind::Key`] in brackets.
    fn flow_pair(&mut self, close: &TokenKind, depth: usize) -> Parsed<(Node, Node)> {
        let mark = self.scanner.next()?.end;
        let ends = [TokenKind::Value, TokenKind::FlowEntry, close.clone()];
        let key = if self.at(&ends)? { self.empty(mark)? } else { self.node(Context::Flow, depth)? };
        let value = if self.at(&[TokenKind::Value])? {
            let mark = self.scanner.next()?.end;
            let absent = self.at(&[TokenKind::FlowEntry, close.clone()])?;
            if absent { self.empty(mark)? } else { self.node(Context::Flow, depth)? }
        } else {
            let mark = self.scanner.peek()?.start;
            self.empty(mark)?
        };
        Ok((key, value))
    }

    fn span(&self, start: Mark, end: Mark) -> Span {
        let length = if start.shown.0 == end.shown.0 { end.shown.1.saturating_sub(start.shown.1) } else { 0 };
        let span = Span { line: start.shown.0 + 1, column: start.shown.1 + 1, length };
        // After a final line break there is no text to show.
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
