//! The report of made-up facts: nothing escapes, nothing varies, and the page holds what it should.

use super::data::{
    Curve, Difference, Forgetting, GateCheck, GateVerdict, PublishedTable, ReportData, ReportRow, Score, Selection,
    TaskColumn, TaskVectors,
};
use super::{html, markdown};

/// Facts of every kind; `name` stands wherever a text comes from a file.
#[expect(clippy::too_many_lines, reason = "one of everything")]
pub(super) fn sample(name: &str) -> ReportData {
    let tasks = [("fpb", "seen"), ("headline_dir", "seen"), ("fomc", "seen"), ("finarg_auc", "unseen")]
        .into_iter()
        .chain([("ma_completeness", "unseen"), ("fincausal_sc", "unseen")]);
    let tasks: Vec<TaskColumn> = tasks
        .map(|(task, role)| TaskColumn {
            name: format!("{task}{name}"),
            role: role.to_owned(),
            metric: format!("f1_weighted,choice-ll{name}"),
            documents: 300,
        })
        .collect();
    let kinds = [
        ("base", "base"),
        ("fpb", "specialist"),
        ("headline", "specialist"),
        ("fomc", "specialist"),
        ("multi", "multi-task"),
        ("task_arithmetic", "merge"),
        ("ties", "merge"),
    ];
    let score = |row: usize, task: usize| {
        let value = 0.35 + 0.07 * ((row * 3 + task * 5) % 7) as f64;
        Some(Score { value, interval: Some([value - 0.04, value + 0.05]) })
    };
    let rows: Vec<ReportRow> = kinds
        .iter()
        .enumerate()
        .map(|(row, (row_name, kind))| ReportRow {
            name: format!("{row_name}{name}"),
            kind: (*kind).to_owned(),
            note: format!("learns things{name}"),
            cells: (0..6).map(|task| score(row, task).filter(|_| row != 2 || task != 5)).collect(),
            seen: score(row, 1),
            unseen: score(row + 2, 4),
            verdict: (row > 0).then(|| ["PASS", "FAIL", "INCONCLUSIVE"][row % 3].to_owned()),
            recipe: (row > 0).then(|| format!("merge_method: ties\nmodels:\n  - model: \"x{name}\"\n```\n")),
        })
        .collect();
    let difference = |row: usize, task: usize| {
        let value = 0.03 * (((row * 5 + task * 3) % 9) as f64 - 4.0);
        Difference { value, interval: [value - 0.035, value + 0.04], mcnemar_p: Some(0.03), lost: 12, won: 9 }
    };
    let forgetting = (1..rows.len())
        .map(|row| Forgetting {
            row: rows[row].name.clone(),
            tasks: (0..6).map(|task| Some(difference(row, task)).filter(|_| row != 2 || task != 5)).collect(),
            means: vec![("seen".to_owned(), difference(row, 1)), ("unseen".to_owned(), difference(row, 4))],
        })
        .collect();
    let gates = rows[1..]
        .iter()
        .map(|row| GateVerdict {
            row: row.name.clone(),
            verdict: row.verdict.clone().unwrap(),
            rule: format!("max_drop 0.05 for every task{name}"),
            checks: tasks[3..]
                .iter()
                .map(|task| GateCheck {
                    name: task.name.clone(),
                    role: task.role.clone(),
                    rule: format!("max_drop 0.05{name}"),
                    baseline: 0.6,
                    candidate: 0.5,
                    verdict: row.verdict.clone().unwrap(),
                    reason: format!("drop 0.1000 is shown to be more than 0.0500 (p = 0.0012){name}"),
                })
                .collect(),
        })
        .collect();
    let curve = |index: usize| {
        let steps = || (0..60).map(|step| f64::from(step * 5));
        Curve {
            name: format!("{}{name}", kinds[index + 1].0),
            loss: steps().map(|x| (x, (0.4 + 0.1 * index as f64) + 1.4 * (-x / 60.0).exp())).collect(),
            learning_rate: steps().map(|x| (x, 2e-4 * (1.0 - x / 300.0))).collect(),
            evaluations: vec![(format!("eval_loss{name}"), vec![(100.0, 0.7), (200.0, 0.55), (295.0, 0.5)])],
        }
    };
    let pair = |text: &str| (format!("{text}{name}"), format!("{text} value{name}"));
    ReportData {
        title: format!("smollm2-finance{name}"),
        base_model: format!("HuggingFaceTB/SmolLM2-135M-Instruct{name}"),
        settings: vec![pair("documents of a task"), pair("chat template")],
        tasks,
        rows,
        forgetting,
        notes: vec![format!("There is no mean{name}.")],
        gates,
        selections: vec![Selection {
            merge: format!("ties{name}"),
            candidates: vec![(format!("weight=0.5{name}"), Some(0.61), true), ("weight=1.0".to_owned(), None, false)],
        }],
        curves: (0..3).map(curve).collect(),
        task_vectors: Some(TaskVectors {
            names: (1..4).map(|row| format!("{}{name}", kinds[row].0)).collect(),
            norms: vec![1.2, 0.8, 2.5],
            layers: (0..6).map(|layer| (layer.to_string(), vec![0.2, 0.1 + 0.02 * f64::from(layer), 0.5])).collect(),
            cosines: vec![vec![1.0, 0.31, -0.12], vec![0.31, 1.0, 0.07], vec![-0.12, 0.07, 1.0]],
        }),
        published: Some(PublishedTable {
            source: format!("arXiv 2411.02476{name}"),
            metric: "weighted F1".to_owned(),
            columns: vec![format!("fpb{name}")],
            rows: vec![(format!("merged{name}"), vec![Some(80.7)])],
        }),
        environment: vec![pair("processor"), pair("system")],
        hashes: vec![(format!("base_model/model.safetensors{name}"), "0".repeat(64))],
        durations: vec![(format!("train fpb{name}"), 312.0), ("report".to_owned(), 0.4)],
    }
}

/// A page for the browser check, where a path is given.
#[test]
fn the_page_is_whole_and_the_same_every_time() {
    let page = html::render(&sample("")).unwrap();
    assert_eq!(page, html::render(&sample("")).unwrap());
    assert_eq!(markdown::render(&sample("")).unwrap(), markdown::render(&sample("")).unwrap());
    for outside in ["http://", "https://", "<script", "<img", "@import", "url(", "javascript:"] {
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg viewBox=\"0 0 720").count(), 7, "every kind of plot is there");
    let titles = page.matches("<title id=").count();
    assert_eq!((titles, page.matches("<desc id=").count()), (7, 7));
    assert_eq!(page.matches("<table>").count(), page.matches("<caption").count());
    // Elements that are opened are closed.
    for tag in ["section", "table", "tr", "th", "td", "details", "figure", "svg", "ul", "div"] {
        let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    if let Some(path) = std::env::var_os("BILLON_SAMPLE_REPORT") {
        std::fs::write(path, &page).unwrap();
    }
}

#[test]
fn texts_of_files_stay_texts() {
    let evil = "</title></style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|*_[a](javascript:x) &amp; \
                ![i](http://e.x/p.png)\u{202e}\u{1b}[31m\n# heading\n```\n<!--";
    let page = html::render(&sample(evil)).unwrap();
    for markup in ["<script", "<img", "onerror=alert(2)>", "<!--", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("&lt;script&gt;") && page.contains("&amp;amp;"));
    for tag in ["section", "table", "tr", "td", "svg", "div"] {
        let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    let text = markdown::render(&sample(evil)).unwrap();
    let mut fence: Option<String> = None;
    let mut columns = 0;
    for line in text.lines() {
        let ticks: String = line.chars().take_while(|c| *c == '`').collect();
        if let Some(open) = &fence {
            if line == open {
                fence = None;
            }
            continue;
        }
        if ticks.len() >= 3 {
            fence = Some(ticks);
            continue;
        }
        let code = line.replace("\\\\", "").replace("\\<", "").replace("\\|", "").replace("\\!", "").replace("\\[", "");
        assert!(!code.contains('<') && !code.contains("![") && !code.contains("[a]"), "{line}");
        assert!(!line.contains("http://") && !line.contains('\u{1b}') && !line.contains('\u{202e}'), "{line}");
        assert!(!line.starts_with("# heading"), "{line}");
        // A cell never adds a column.
        let bars = code.matches('|').count();
        columns = if line.starts_with('|') { if columns == 0 { bars } else { columns } } else { 0 };
        assert!(!line.starts_with('|') || bars == columns, "{line}");
    }
    assert_eq!(fence, None, "a fence was left open");
}

#[test]
fn a_report_without_optional_facts_is_a_report() {
    let tasks = vec![TaskColumn { name: "t".into(), role: "seen".into(), metric: "acc,none".into(), documents: 1 }];
    let row = ReportRow { name: "base".into(), kind: "base".into(), cells: vec![None], ..ReportRow::default() };
    let data = ReportData { title: "x".into(), tasks, rows: vec![row], ..ReportData::default() };
    let page = html::render(&data).unwrap();
    assert!(!page.contains("NaN") && !page.contains("Infinity") && !page.contains("inf"), "{page}");
    assert!(markdown::render(&data).unwrap().contains("## Scores"));
    assert!(html::render(&ReportData::default()).is_ok());
}
