//! Every expectation is what `CPython` 3.11's `re` answers for the same pattern and text.

use super::*;

fn findall(pattern: &str, text: &str) -> Vec<String> {
    let regex = PythonRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let found = regex.find_all(text).unwrap();
    found.iter().map(|found| found.group(0).unwrap().to_owned()).collect()
}

/// Patterns that `re.compile` accepts and what `[m.group() for m in re.finditer(p, text)]` is.
#[test]
fn matches_are_those_of_python() {
    for (pattern, text, expected) in [
        (r"(?<=answer: )\w+", "answer: yes, answer: no", &["yes", "no"][..]),
        (r"\d+(?!\d*%)", "10% of 25", &["25"]),
        (r"(a+)b\1", "aabaa", &["aabaa"]),
        (r"(?P<q>['x])y(?P=q)", "xyx 'y'", &["xyx", "'y'"]),
        // An empty match may follow a match, and a non-empty one an empty match at the same place.
        ("a*", "baac", &["", "aa", "", ""]),
        ("a*?", "aa", &["", "a", "", "a", ""]),
        ("|a", "a", &["", "a", ""]),
        // `$` matches before a last line break too, `\Z` does not.
        (r"b$", "ab\n", &["b"]),
        (r"b\Z", "ab\n", &[]),
        ("(?m)^.$", "a\nb\n", &["a", "b"]),
        // Classes: no set operations, no nesting, a leading bracket is a member.
        ("[[a]", "[a", &["[", "a"]),
        ("[]a]", "]a", &["]", "a"]),
        ("[a&&b]", "a&b", &["a", "&", "b"]),
        ("[a~~]", "~a", &["~", "a"]),
        (r"[\w.-]+", "a-b.c d", &["a-b.c", "d"]),
        // Words are letters, numbers and the underscore: no combining marks, but fractions.
        (r"\w+", "e\u{301}a ½", &["e", "a", "½"]),
        (r"\b", "e\u{301}", &["", ""]),
        (r"\bA\b", "A\u{301} A", &["A", "A"]),
        (r"(?a)\w+", "aé", &["a"]),
        (r"\s", "a\u{1c}b", &["\u{1c}"]),
        // Braces that are no quantifier are literals.
        (r"boxed{(.*)}", "boxed{4}", &["boxed{4}"]),
        ("a{,2}", "aaa", &["aa", "a", ""]),
        ("x{}", "x{}", &["x{}"]),
        ("a{1", "a{1", &["a{1"]),
        (r"(?x) a b # two", "ab", &["ab"]),
        ("(?i)straße|b", "STRAßE B", &["STRAßE", "B"]),
        ("(?i:a)b", "Ab AB", &["Ab"]),
        (r"\x41\u00e9\101\0", "AéA\0", &["AéA\0"]),
        ("(a)?(?(1)b|c)", "ab c", &["ab", "c"]),
        ("a(?#note)*", "aa", &["aa", ""]),
        (r"<\<\>>", "<<>>", &["<<>>"]),
        ("a++b", "aab", &["aab"]),
        (".", "\r\n\u{85}", &["\r", "\u{85}"]),
        (r"[^\W\d]+", "ab1c", &["ab", "c"]),
        (r"\#\&\-\~\ ", "#&-~ ", &["#&-~ "]),
    ] {
        assert_eq!(findall(pattern, text), expected, "{pattern} on {text:?}");
    }
}

/// Patterns that `re.compile` refuses, with its reason and position.
#[test]
fn what_python_refuses_is_refused_with_its_reason() {
    for (pattern, reason, position) in [
        (".*q_proj)|(.*v_proj", "unbalanced parenthesis", 8),
        ("(a", "missing ), unterminated subpattern", 0),
        ("*a", "nothing to repeat", 0),
        ("^*", "nothing to repeat", 1),
        ("a**", "multiple repeat", 2),
        (r"\p{L}", r"bad escape \p", 0),
        (r"a\q", r"bad escape \q", 1),
        ("[a", "unterminated character set", 0),
        ("[b-a]", "bad character range b-a", 1),
        (r"[\w-a]", r"bad character range \w-a", 1),
        ("(?<=a|bc)d", "look-behind requires fixed-width pattern", 0),
        ("(?<n>a)", "unknown extension ?<n", 1),
        (r"(a)\2", "invalid group reference 2", 4),
        (r"(a\1)", "cannot refer to an open group", 2),
        ("(?P<a>x)(?P<a>y)", "redefinition of group name 'a' as group 2; was group 1", 12),
        ("a(?i)b", "global flags not at the start of the expression", 1),
        ("a{3,2}", "min repeat greater than max repeat", 2),
        ("a\\", "bad escape (end of pattern)", 1),
    ] {
        let error = PythonRegex::new(pattern).unwrap_err();
        assert_eq!((error.reason.as_str(), error.position), (reason, position), "{pattern}");
    }
    let deep = "(".repeat(5000) + &")".repeat(5000);
    assert!(PythonRegex::new(&deep).is_err());
}

#[test]
fn a_search_that_backtracks_without_end_is_given_up() {
    let regex = PythonRegex::new(r"(?=(a+)+$)x").unwrap();
    let hard = PythonRegex::new(r"^(?:(?=a)a+)+$").unwrap();
    let text = "a".repeat(40) + "!";
    assert!(regex.is_match(&text).is_ok());
    let error = hard.is_match(&text).unwrap_err();
    assert!(error.to_string().contains("steps"), "{error}");
    // A regular pattern takes linear time however it is written.
    assert!(!PythonRegex::new("^(a+)+$").unwrap().is_match(&"a".repeat(100_000).replace("aaaaa", "aaaab")).unwrap());
}

#[test]
fn replacing_and_anchoring_follow_python() {
    let star = PythonRegex::new("x*").unwrap();
    assert_eq!(star.replace("abxd", 0, |_| "-".to_owned()).unwrap(), "-a-b--d-");
    assert_eq!(star.replace("abxd", 2, |_| "-".to_owned()).unwrap(), "-a-bxd");
    assert!(PythonRegex::whole("a|ab").unwrap().is_match("ab").unwrap(), "fullmatch backtracks to the end");
    assert!(!PythonRegex::whole("a").unwrap().is_match("ab").unwrap());
    assert!(!PythonRegex::at_start("b").unwrap().is_match("ab").unwrap());
    let named = PythonRegex::new("(?P<first>a)(?P<second>b)").unwrap();
    assert_eq!(named.group_number("second"), Some(2));
    let swapped = Template::new(&named, r"\g<second>$\1\n\-").unwrap();
    assert_eq!(named.replace("xab", 0, |found| swapped.expand(found)).unwrap(), "xb$a\n\\-");
    for wrong in [r"\3", r"\g<third>", r"\q", "\\"] {
        assert!(Template::new(&named, wrong).is_err(), "{wrong}");
    }
}
