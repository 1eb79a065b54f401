//! Adding templates to an environment and rendering them, within limits.
//!
//! Templates come with models and task files of strangers. The limits are far above what any template that is in use
//! needs: instructions ([`FUEL`]), characters of the result ([`MOST_OUTPUT`]), of the template ([`MOST_SOURCE`]), depth of
//! expressions and of printed values. What passes them all and still runs away is stopped by [`super::guard`].

use std::io;

use minijinja::{Environment, Error, ErrorKind, Value};

use super::guard::{Subject, watched};
use super::scan;

/// Instructions of one rendering: two seconds or so. Templates in use take some thousand for a conversation.
pub(super) const FUEL: u64 = 50_000_000;

/// Most bytes of a rendered text.
pub(super) const MOST_OUTPUT: usize = 64 << 20;

/// Most bytes of a template. The largest in use have 20 kB.
const MOST_SOURCE: usize = 1 << 20;

/// Most characters of what a template raises that are shown.
const MOST_REASON: usize = 2000;

/// Stack that parsing, compiling and freeing may take for each byte of a template: `+1` costs 1.5 kB a link.
const STACK_FOR_BYTE: usize = 2 << 10;

/// Templates up to this size need no more stack than every thread has.
const SMALL: usize = 512;

/// Compiles a template under a name.
///
/// # Errors
/// Faults of it.
pub(crate) fn add(
    environment: &mut Environment<'static>,
    name: String,
    source: String,
    subject: &Subject,
) -> Result<(), Error> {
    let invalid = |message: String| Error::new(ErrorKind::SyntaxError, message);
    if source.len() > MOST_SOURCE {
        return Err(invalid(format!("it has {} bytes, more than {MOST_SOURCE}", source.len())));
    }
    if let Some(line) = scan::too_deep(&source) {
        let deepest = scan::DEEPEST;
        return Err(invalid(format!("an expression nests more than {deepest} operations deep (line {line})")));
    }
    on_stack_for(source.len(), || watched(subject, || environment.add_template_owned(name, source)))?
}

/// The text that a template makes of `context`.
///
/// # Errors
/// An exception that the template raises, or the limit it reached.
pub(crate) fn render(
    environment: &Environment<'_>,
    name: &str,
    context: Value,
    subject: &Subject,
) -> Result<String, Error> {
    let rendered = watched(subject, || {
        let mut out = Bounded::default();
        let result = environment.get_template(name)?.render_captured_to(context, &mut out).map(drop);
        if out.full {
            // The error that carries the place says only that writing failed.
            let line = result.err().and_then(|error| error.line());
            let place = line.map_or_else(String::new, |line| format!(" (line {line})"));
            let message = format!("its text is longer than {MOST_OUTPUT} bytes{place}");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        result?;
        String::from_utf8(out.bytes).map_err(|_| Error::new(ErrorKind::WriteFailure, "the result is not UTF-8"))
    });
    rendered.unwrap_or_else(|panic| Err(panicked(&panic)))
}

/// Names that a template uses and does not set.
#[must_use]
pub(crate) fn undeclared(environment: &Environment<'_>, name: &str, subject: &Subject) -> Vec<String> {
    let Ok(template) = environment.get_template(name) else { return Vec::new() };
    let names = on_stack_for(template.source().len(), || watched(subject, || template.undeclared_variables(false)));
    // None known where the thread for a large template could not be started.
    let mut names: Vec<String> = names.map_or_else(|_| Vec::new(), |names| names.into_iter().collect());
    names.sort();
    names
}

/// Reason of a failure, without the place.
#[must_use]
pub(crate) fn reason(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!("it takes more than {FUEL} steps, so it loops without end or nearly so");
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    // `raise_exception` takes a text of any length.
    match detail.char_indices().nth(MOST_REASON) {
        Some((end, _)) => format!("{} ...", &detail[..end]),
        None => detail,
    }
}

/// A text of so many bytes is refused when it is too long.
pub(in crate::python) fn fits(bytes: usize) -> Result<(), Error> {
    if bytes > MOST_OUTPUT { Err(too_long(bytes)) } else { Ok(()) }
}

fn too_long(bytes: usize) -> Error {
    let message = format!("a text of {bytes} bytes or more is too long; {MOST_OUTPUT} are the most");
    Error::new(ErrorKind::InvalidOperation, message)
}

fn panicked(panic: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("the template engine failed: {panic}"))
}

/// Runs `work` on a stack that a template of so many bytes cannot end.
fn on_stack_for<T: Send>(bytes: usize, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, Error> {
    let done = if bytes <= SMALL {
        work()
    } else {
        crate::parallel::on_stack((1 << 20) + bytes * STACK_FOR_BYTE, work)
            .unwrap_or_else(|error| Err(format!("there is no thread for it: {error}")))
    };
    done.map_err(|panic| panicked(&panic))
}

/// A buffer that takes at most [`MOST_OUTPUT`] bytes.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > MOST_OUTPUT {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> Result<String, String> {
        let subject = Subject::new("the template");
        let mut environment = crate::python::jinja::environment();
        add(&mut environment, "t".to_owned(), source.to_owned(), &subject).map_err(|e| reason(&e))?;
        render(&environment, "t", Value::UNDEFINED, &subject).map_err(|e| {
            let line = e.line().map_or_else(String::new, |line| format!(" (line {line})"));
            reason(&e) + &line
        })
    }

    #[test]
    fn every_limit_is_an_error() {
        for (source, expected) in [
            ("\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps"),
            ("\n{{ 'a\nb'|indent(4000000000) }}", "too long"),
            ("\n{{ 'a\nb'|indent(width=4000000000) }}", "too long"),
            ("\n{{ [1]|batch(1000000000, 0)|list|length }}", "too long"),
            ("\n{{ [1]|slice(1000000000)|list|length }}", "too long"),
            ("\n{{ '%1000000000d'|format(3) }}", "too long"),
            ("\n{{ '%*d'|format(1000000000, 3) }}", "too long"),
            ("\n{{ '{:>1000000000}'.format(3) }}", "too long"),
            ("\n{{ '{:{}}'.format(3, 1000000000) }}", "too long"),
            ("\n{{ range(99999)|join('x' * 99999) }}", "too long"),
            ("\n{{ ('x' * 99999).join(range(99999)) }}", "too long"),
            ("\n{{ ('x' * 99999).replace('x', 'y' * 99999) }}", "too long"),
            ("\n{{ ('x' * 99999)|replace('x', 'y' * 99999) }}", "too long"),
            ("\n{% for i in range(99) %}{{ 'x' * 9999999 }}{% endfor %}", "longer than"),
            ("\n{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "deep"),
            ("\n{% set ns = namespace() %}{% set ns.a = [1, {'b': ns}] %}{{ ns|tojson }}", "deep"),
            ("\n{% set ns = namespace() %}{% set ns.a = ns %}{{ ns|string }}", "deep"),
            ("\n{% set ns = namespace() %}{% set ns.a = ns %}{{ ns|pprint }}", "deep"),
            (
                "\n{% set ns = namespace(a=[]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
                "too long",
            ),
            (
                "\n{% set ns = namespace(a=[]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}",
                "too long",
            ),
            ("\n{{ debug() }}", "debug"),
            ("\n{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ] {
            let error = rendered(source).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
            // A whole text that grew too long has no line to name.
            assert!(error.contains("(line ") || expected == "longer than", "{source}: {error}");
        }
    }

    #[test]
    fn deep_expressions_are_named_with_their_line_and_moderate_ones_work() {
        for (link, count) in [("+1", 999), ("|string", 900), (" and 1", 900)] {
            assert!(rendered(&format!("{{{{ 1{} }}}}", link.repeat(count))).is_ok(), "{link}");
            let error = rendered(&format!("\n{{{{ 1{} }}}}", link.repeat(8000))).unwrap_err();
            assert!(error.contains("(line 2)"), "{link}: {error}");
        }
        assert!(rendered(&format!("{{{{ {}1 }}}}", "not ".repeat(990))).is_ok());
        assert!(rendered(&format!("{{{{ {}1 }}}}", "not ".repeat(9000))).is_err());
        let long = format!("{{% if 0 %}}{}{{% else %}}b{{% endif %}}", "{% elif 0 %}a".repeat(9000));
        assert_eq!(rendered(&long).unwrap(), "b");
        assert!(rendered(&" ".repeat(MOST_SOURCE + 1)).unwrap_err().contains("bytes"));
    }

    #[test]
    fn what_templates_in_use_do_is_within_the_limits() {
        for (source, expected) in [
            ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
            ("{{ 'a\nb'|indent(width=2, first=true) }}", "  a\n  b"),
            ("{{ [1, 2, 3]|batch(2, 0) }}", "[[1, 2], [3, 0]]"),
            ("{{ [1, 2, 3]|slice(2) }}", "[[1, 2], [3]]"),
            ("{{ '%05.1f %s'|format(3.14159, 'x') }}", "003.1 x"),
            ("{{ '{:>4}|{}'.format(3, 12345678901) }}", "   3|12345678901"),
            ("{{ [1, 2]|join(', ') }}{{ ','.join(['a', 'b']) }}", "1, 2a,b"),
            ("{{ [{'a': 1}, {'a': 2}]|join('-', attribute='a') }}", "1-2"),
            ("{{ 'aXbX'|replace('X', 'yy') }}{{ 'aXbX'.replace('X', 'y', 1) }}", "ayybyyaybX"),
            ("{% set ns = namespace(a='x') %}{{ ns.a }}{{ {'b': [1]}|pprint }}", "x{'b': [1]}"),
        ] {
            assert_eq!(rendered(source).unwrap(), expected, "{source}");
        }
    }
}
