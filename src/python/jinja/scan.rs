//! Nesting depth of the expressions of a template, found before the engine parses them.
//!
//! The engine parses `1+1+1...` in a loop, but compiles and frees the resulting tree by recursion: some thousand
//! operators, filters, subscripts or calls in a row end the stack. Jinja2 fails on a few hundred (`RecursionError`, or
//! Python's own limit on parentheses), so no template that works there is refused here.

/// Deepest expression: operators, filters, tests, subscripts, attributes and calls that act on one another's results.
pub(super) const DEEPEST: usize = 1000;

/// The line of the first expression that nests deeper than [`DEEPEST`].
pub(super) fn too_deep(source: &str) -> Option<usize> {
    let mut scanner = Scanner { bytes: source.as_bytes(), at: 0 };
    while let Some(start) = scanner.next_tag() {
        if scanner.tag() > DEEPEST {
            return Some(1 + source.bytes().take(start).filter(|byte| *byte == b'\n').count());
        }
    }
    None
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    /// Skips the next occurrence of `end`, or to the end of the text.
    fn skip_past(&mut self, end: &[u8]) {
        let found = self.rest().windows(end.len()).position(|window| window == end);
        self.at = found.map_or(self.bytes.len(), |place| self.at + place + end.len());
    }

    /// Skips the opening of the next `{{` or `{%`; where that begins.
    fn next_tag(&mut self) -> Option<usize> {
        while self.at < self.bytes.len() {
            match self.rest() {
                [b'{', b'#', ..] => {
                    self.at += 2;
                    self.skip_past(b"#}");
                }
                [b'{', b'{' | b'%', ..] => {
                    let start = self.at;
                    let block = self.rest().get(1) == Some(&b'%');
                    self.at += 2;
                    if block && self.word() == b"raw" {
                        self.skip_raw();
                    } else {
                        return Some(start);
                    }
                }
                _ => self.at += 1,
            }
        }
        None
    }

    /// The word after the opening of a block and its white-space marker.
    fn word(&self) -> &[u8] {
        let rest = self.rest();
        let rest = rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b"+")).unwrap_or(rest).trim_ascii_start();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        &rest[..length]
    }

    /// Skips the `endraw` that ends a raw block; its closing is harmless text.
    fn skip_raw(&mut self) {
        while self.at < self.bytes.len() {
            self.skip_past(b"{%");
            if self.word() == b"endraw" {
                return;
            }
        }
    }

    /// Skips the tag; returns the greatest depth of its expression.
    fn tag(&mut self) -> usize {
        // Operators since the last comma, for every open bracket: what stands between commas is one operand.
        let mut levels: Vec<usize> = vec![0];
        let (mut depth, mut deepest) = (0_usize, 0_usize);
        while let Some(&byte) = self.bytes.get(self.at) {
            let bare = levels.len() == 1;
            match (byte, self.rest().get(1)) {
                (b'}' | b'%', Some(b'}')) if bare => {
                    self.at += 2;
                    return deepest;
                }
                (b'\'' | b'"', _) => {
                    self.string(byte);
                    continue;
                }
                (b'(' | b'[' | b'{', _) => {
                    depth += 1;
                    if let Some(level) = levels.last_mut() {
                        *level += 1;
                    }
                    levels.push(0);
                }
                (b')' | b']' | b'}', _) if !bare => depth -= levels.pop().unwrap_or(0),
                (b',' | b':', _) => {
                    if let Some(level) = levels.last_mut() {
                        depth -= std::mem::take(level);
                    }
                }
                (b'+' | b'-' | b'*' | b'/' | b'%' | b'~' | b'|' | b'.' | b'<' | b'>' | b'=' | b'!', _) => {
                    depth += 1;
                    if let Some(level) = levels.last_mut() {
                        *level += 1;
                    }
                }
                (byte, _) if byte.is_ascii_alphabetic() || byte == b'_' => {
                    let rest = self.rest();
                    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                    let word = &rest[..length];
                    if matches!(word, b"not" | b"and" | b"or" | b"is" | b"in" | b"if" | b"else") {
                        depth += 1;
                        if let Some(level) = levels.last_mut() {
                            *level += 1;
                        }
                    }
                    self.at += length;
                    deepest = deepest.max(depth);
                    continue;
                }
                _ => {}
            }
            deepest = deepest.max(depth);
            self.at += 1;
        }
        deepest
    }

    fn string(&mut self, quote: u8) {
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == quote {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chained_operators_count_as_nesting_and_lists_do_not() {
        for link in ["+1", "|string", ".a", "[0]", "()", " and 1", " if 1 else 2", " is odd", "~''", "**2"] {
            let chain = format!("\n\n{{{{ 1{} }}}}", link.repeat(2000));
            assert_eq!(too_deep(&chain), Some(3), "{link}");
            let short = format!("{{{{ 1{} }}}}", link.repeat(400));
            assert_eq!(too_deep(&short), None, "{link}");
        }
        for prefix in ["not ", "-", "(", "[", "{1:"] {
            assert_eq!(too_deep(&format!("{{% if {}1 %}}", prefix.repeat(2000))), Some(1), "{prefix}");
        }
        let list = format!("{{{{ [{}] }}}}", "doc.a|trim + '+++', ".repeat(5000));
        assert_eq!(too_deep(&list), None);
        let dictionary = format!("{{{{ {{{}}} }}}}", "'a+b': doc.a[0].b, ".repeat(5000));
        assert_eq!(too_deep(&dictionary), None);
        assert_eq!(too_deep(&"{{ a.b + 1 }}".repeat(5000)), None);
    }

    #[test]
    fn text_comments_and_raw_blocks_hide_nothing() {
        let chain = format!("{{{{ 1{} }}}}", "+1".repeat(2000));
        assert_eq!(too_deep(&format!("{{# ' {{{{ #}}\n{chain}")), Some(2));
        assert_eq!(too_deep(&format!("{{%- raw -%}}{{{{ ' {{% endraw %}}\n{chain}")), Some(2));
        assert_eq!(too_deep(&format!("{{% raw %}}{chain}{{% endraw %}}")), None);
        assert_eq!(too_deep(&format!("it's {{{{ 'a\\'b' }}}}\n{chain}")), Some(2));
        assert_eq!(too_deep(&"+".repeat(5000)), None);
        for broken in ["{{", "{%", "{#", "{{ '", "{{ '\\", "{% raw %}", "{{ ) }}", "{"] {
            assert_eq!(too_deep(broken), None, "{broken}");
        }
    }
}
