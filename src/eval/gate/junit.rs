//! The gate as JUnit XML: one test case a check. Inconclusive checks are skipped tests, or failures
//! when the gate counts them as such, so that the file agrees with the exit code.

use std::fmt::Write as _;

use super::decision::Verdict;
use super::run::GateReport;
use crate::visible;

/// The XML.
#[must_use]
pub(crate) fn render(report: &GateReport, fail_on_inconclusive: bool) -> String {
    let fails = |verdict| verdict == Verdict::Fail || (fail_on_inconclusive && verdict == Verdict::Inconclusive);
    let failures = report.checks.iter().filter(|check| fails(check.verdict)).count();
    let skipped = report.checks.iter().filter(|check| check.verdict == Verdict::Inconclusive).count();
    let skipped = if fail_on_inconclusive { 0 } else { skipped };
    let counts =
        format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"", report.checks.len());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite name=\"billon gate\" {counts}>\n"
    );
    xml.push_str("    <properties>\n");
    let seed = report.seed.to_string();
    for (name, value) in [
        ("verdict", report.verdict.name()),
        ("rule", report.rule.as_str()),
        ("baseline", report.baseline.as_str()),
        ("candidate", report.candidate.as_str()),
        ("seed", seed.as_str()),
    ] {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", escape(value));
    }
    xml.push_str("    </properties>\n");
    for check in &report.checks {
        let class = if check.group { "group" } else { check.role.as_deref().unwrap_or("task") };
        let name = format!("{} {} {}", check.name, check.metric, check.rule).replace("  ", " ");
        let _ = write!(xml, "    <testcase classname=\"{}\" name=\"{}\"", escape(class), escape(&name));
        let reason = escape(&check.reason);
        let _ = match check.verdict {
            verdict if fails(verdict) => writeln!(
                xml,
                ">\n      <failure type=\"{}\" message=\"{reason}\"></failure>\n    </testcase>",
                check.verdict.name()
            ),
            Verdict::Inconclusive => writeln!(xml, ">\n      <skipped message=\"{reason}\"/>\n    </testcase>"),
            _ => writeln!(xml, ">\n      <system-out>{reason}</system-out>\n    </testcase>"),
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text in XML 1.0: the five entities, and no control characters, which it cannot hold.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if visible::is_hidden(c) || c == '\u{fffe}' || c == '\u{ffff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
