//! The words test: doc comments begin with what the item is or does, and say more than its name.

use std::path::{Path, PathBuf};

/// First words that put a riddle before the noun.
const QUESTIONS: &[&str] = &["what", "whats", "its", "where", "how", "why", "which", "whose"];

/// Greatest share of paragraphs that may begin so.
const MOST: f64 = 0.04;

/// Words that add nothing to a name.
const EMPTY: &[&str] = &["the", "a", "an", "of", "this", "its", "in"];

/// A doc comment, and the line of code that it documents.
#[derive(Debug, PartialEq)]
struct Doc {
    line: usize,
    text: Vec<String>,
    item: String,
}

impl Doc {
    /// First line of each paragraph, with its number; code, lists, tables and headings are none.
    fn paragraphs(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        let starts = self.text.iter().enumerate().filter(move |(at, line)| {
            fenced ^= line.starts_with("```");
            let before = at.checked_sub(1).map_or("", |before| self.text[before].as_str());
            let begins = before.is_empty() || before.starts_with('#');
            begins && !fenced && !line.is_empty() && !line.starts_with(['#', '-', '|', '`'])
        });
        starts.map(|(at, line)| (self.line + at, line.as_str()))
    }

    /// Whether a single line of at most three words has no word that the item's name lacks.
    fn repeats_the_name(&self) -> bool {
        let [line] = self.text.as_slice() else { return false };
        let (said, name) = (words(line), words(&name(&self.item)));
        !said.is_empty() && said.len() <= 3 && said.iter().all(|word| name.contains(word))
    }
}

/// The doc comments of a source in order; one of `//!` has no item.
fn docs(source: &str) -> Vec<Doc> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut docs = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(mark) = ["///", "//!"].into_iter().find(|mark| lines[at].starts_with(mark)) else {
            at += 1;
            continue;
        };
        let end = at + lines[at..].iter().take_while(|line| line.starts_with(mark)).count();
        let text = lines[at..end].iter().map(|line| line[mark.len()..].trim().to_owned()).collect();
        let item = lines[end..].iter().find(|line| mark == "///" && !line.starts_with("#["));
        docs.push(Doc { line: at + 1, text, item: item.copied().unwrap_or_default().to_owned() });
        at = end;
    }
    docs
}

/// The name that an item's first line defines: after its keyword, or first where a field or a variant has none.
fn name(item: &str) -> String {
    const KEYWORDS: &[&str] = &["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "macro_rules"];
    let mut tokens = item.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|token| !token.is_empty());
    let mut first = None;
    let found = tokens.by_ref().any(|token| {
        if first.is_none() && !["pub", "crate", "super", "in", "unsafe", "async"].contains(&token) {
            first = Some(token);
        }
        KEYWORDS.contains(&token) && first == Some(token)
    });
    (if found { tokens.find(|token| *token != "fn") } else { first }).unwrap_or_default().to_owned()
}

/// Words of a name or a text, in lower case and without a plural's `s`; empty ones left out.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut before = ' ';
    for c in text.chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()) {
            spaced.push(' ');
        }
        spaced.push(if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
        before = c;
    }
    let known = |word: &&str| !EMPTY.contains(word);
    spaced.split_whitespace().filter(known).map(|word| word.trim_end_matches('s').to_owned()).collect()
}

/// Every source below `src`, in order of the paths.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    sources.sort();
    sources
}

#[test]
fn docs_begin_with_the_noun_or_the_verb() {
    let (mut paragraphs, mut questions) = (0, Vec::new());
    for (path, source) in sources() {
        for doc in docs(&source) {
            for (line, text) in doc.paragraphs() {
                paragraphs += 1;
                let first: String = text.split_whitespace().next().unwrap_or_default().to_lowercase();
                let first: String = first.chars().filter(|c| c.is_alphabetic()).collect();
                if QUESTIONS.contains(&first.as_str()) {
                    questions.push(format!("{}:{line}: {text}", path.display()));
                }
            }
        }
    }
    let share = questions.len() as f64 / f64::from(paragraphs);
    assert!(
        share <= MOST,
        "{} of {paragraphs} paragraphs of doc comments ({:.1} %, at most {:.0} %) begin with a question: begin with what \
         the item is (a noun) or does (a verb in the third person)\n{}",
        questions.len(),
        100.0 * share,
        100.0 * MOST,
        questions.join("\n")
    );
}

#[test]
fn no_doc_comment_repeats_the_name_of_its_item() {
    let mut repeats = Vec::new();
    for (path, source) in sources() {
        // The kernels' documents are written anew in a change of their own.
        if path.starts_with("compute") {
            continue;
        }
        let repeating = docs(&source).into_iter().filter(Doc::repeats_the_name);
        repeats.extend(repeating.map(|doc| format!("{}:{}: {} `{}`", path.display(), doc.line, doc.text[0], doc.item)));
    }
    assert!(
        repeats.is_empty(),
        "{} doc comments repeat the name of their item: say more, or delete them where the name says it\n{}",
        repeats.len(),
        repeats.join("\n")
    );
}

#[test]
fn docs_are_parsed() {
    let source = "//! What it is.\n//!\n//! How it works.\n\nstruct S {\n    /// The names.\n    #[serde(default)]\n    pub(crate) \
                  names: Vec<String>,\n    /// Names in order.\n    order: u8,\n}\n/// Reads.\n///\n/// # Errors\n/// Why.\n\
                  const fn read_all() {}\n";
    let docs = docs(source);
    let starts = |doc: &Doc| doc.paragraphs().map(|(line, text)| format!("{line} {text}")).collect::<Vec<_>>();
    assert_eq!(docs.len(), 4);
    assert_eq!(starts(&docs[0]), ["1 What it is.", "3 How it works."]);
    assert_eq!(starts(&docs[3]), ["12 Reads.", "15 Why."]);
    assert_eq!(docs.iter().map(Doc::repeats_the_name).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!(docs.iter().map(|doc| name(&doc.item)).collect::<Vec<_>>(), ["", "names", "order", "read_all"]);
}
