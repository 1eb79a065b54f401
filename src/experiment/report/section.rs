//! The report as sections, the same for every format.

use super::data::{Difference, Forgetting, GateVerdict, ReportData, Score};
use super::plot;
use super::words::{number, p_value, score, signed};
use crate::experiment::error::ExperimentError;
use crate::experiment::plan::duration;

/// Axis label of training plots.
const STEP: &str = "optimiser step";

/// A part with a heading.
pub(super) struct Section {
    /// HTML anchor.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

pub(super) enum Block {
    /// Plain words.
    Text(String),
    Table(Table),
    /// An SVG element and what its colours stand for.
    Figure {
        svg: String,
        caption: String,
        legend: Vec<(String, String)>,
    },
    /// A text as it is in a file, shown on demand.
    Code {
        title: String,
        text: String,
        language: &'static str,
    },
}

pub(super) struct Table {
    pub(super) caption: String,
    /// Columns above columns: title and how many it spans; empty without any.
    pub(super) groups: Vec<(String, usize)>,
    pub(super) header: Vec<String>,
    /// Whether a column holds numbers.
    pub(super) numeric: Vec<bool>,
    /// The first cell of a row is its header.
    pub(super) rows: Vec<Vec<Cell>>,
}

#[derive(Default, Clone)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Smaller, below; a line each.
    pub(super) more: String,
    /// Stands out in its column.
    pub(super) strong: bool,
    pub(super) tone: Tone,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Open,
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn with(text: impl Into<String>, more: impl Into<String>) -> Self {
        Self { text: text.into(), more: more.into(), ..Self::default() }
    }

    fn toned(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// All sections that have something to say.
pub(super) fn sections(data: &ReportData) -> Result<Vec<Section>, ExperimentError> {
    let mut found = vec![summary(data)?, scores(data)];
    found.extend(forgetting(data)?);
    found.extend(gates(data));
    found.extend(selections(data));
    found.extend(training(data)?);
    found.extend(task_vectors(data)?);
    found.extend(published(data));
    found.push(recipes(data));
    found.push(provenance(data));
    Ok(found)
}

/// The first words of the report.
pub(super) fn lead(data: &ReportData) -> String {
    let count = |kind: &str| data.rows.iter().filter(|row| row.kind == kind).count();
    let specialists = count("specialist") + count("multi-task");
    let role = |role: &str| data.tasks.iter().filter(|task| task.role == role).count();
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let tasks = ["seen", "unseen", "general"].map(|name| (role(name), format!("{name} task")));
    let tasks: Vec<String> = tasks.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n, what)).collect();
    let tasks = match tasks.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
        None => "no task".to_owned(),
    };
    let (specialists, merges) = (plural(specialists, "specialist"), plural(count("merge"), "merge"));
    format!("{specialists} and {merges} of {}, measured on {tasks}.", data.base_model)
}

fn interval(score: &Score) -> String {
    score.interval.map_or_else(String::new, |[low, high]| format!("{low:.3} – {high:.3}"))
}

fn verdict_tone(verdict: &str) -> Tone {
    match verdict {
        "PASS" => Tone::Good,
        "FAIL" => Tone::Bad,
        _ => Tone::Open,
    }
}

/// Good or bad where the interval does not hold 0.
fn change_tone(difference: &Difference) -> Tone {
    match difference.interval {
        [low, _] if low > 0.0 => Tone::Good,
        [_, high] if high < 0.0 => Tone::Bad,
        _ => Tone::Plain,
    }
}

fn change(difference: &Difference) -> Cell {
    let [low, high] = difference.interval;
    Cell::with(signed(difference.value), format!("{} to {}", signed(low), signed(high))).toned(change_tone(difference))
}

fn mean_of<'a>(row: &'a Forgetting, role: &str) -> Option<&'a Difference> {
    row.means.iter().find(|(name, _)| name == role).map(|(_, difference)| difference)
}

fn summary(data: &ReportData) -> Result<Section, ExperimentError> {
    let mut blocks = vec![Block::Text(
        "Mean scores over the seen tasks, which the specialists learn, and over the unseen ones, which none does; \
         changes are against the base model on the same documents, with 95 % intervals. A change in colour has an \
         interval without 0."
            .to_owned(),
    )];
    let gated = data.rows.iter().any(|row| row.verdict.is_some());
    let mut header = vec!["row", "seen", "change", "unseen", "change"];
    header.extend(gated.then_some("gate"));
    let mut numeric = vec![false, true, true, true, true];
    numeric.extend(gated.then_some(false));
    let rows = data.rows.iter().enumerate().map(|(index, row)| {
        let against = data.forgetting.iter().find(|f| f.row == row.name);
        let mean = |score: &Option<Score>| {
            score.map_or_else(|| Cell::new("–"), |s| Cell::with(self::score(s.value), interval(&s)))
        };
        let changed = |role: &str| against.and_then(|row| mean_of(row, role)).map_or_else(|| Cell::new("–"), change);
        let mut cells = vec![
            Cell::with(format!("{}. {}", index + 1, row.name), row.note.clone()),
            mean(&row.seen),
            changed("seen"),
            mean(&row.unseen),
            changed("unseen"),
        ];
        if gated {
            let verdict = row.verdict.clone().unwrap_or_else(|| "–".to_owned());
            let tone = row.verdict.as_deref().map_or(Tone::Plain, verdict_tone);
            cells.push(Cell::new(verdict).toned(tone));
        }
        cells
    });
    blocks.push(Block::Table(Table {
        caption: "Every row at a glance".to_owned(),
        groups: Vec::new(),
        header: header.into_iter().map(str::to_owned).collect(),
        numeric,
        rows: rows.collect(),
    }));
    blocks.extend(data.notes.iter().cloned().map(Block::Text));
    if gated {
        let count = |gate: &GateVerdict| gate.checks.len();
        let (least, most) = data.gates.iter().map(count).fold((usize::MAX, 0), |(l, m), n| (l.min(n), m.max(n)));
        let checks = if least < most { format!("{least} to {most}") } else { most.to_string() };
        let mut rules: Vec<&str> = data.gates.iter().map(|gate| gate.rule.as_str()).filter(|r| !r.is_empty()).collect();
        rules.dedup();
        if let Some(rule) = rules.first() {
            blocks.push(Block::Text(format!(
                "The gate's verdict on a row is over {checks} checks against the base model: {rule}. Tasks that a row was \
                 trained on are its seen ones, all others are unseen to it, whatever other rows learn."
            )));
        }
    }
    if let Some(svg) = plot::seen_unseen(&data.rows)? {
        let legend = data.rows.iter().enumerate();
        blocks.push(Block::Figure {
            svg,
            caption:
                "Right is better on what was learnt, up is better on what was not; the dashed lines meet at the base \
                      model."
                    .to_owned(),
            legend: legend.map(|(i, row)| (format!("{}. {}", i + 1, row.name), plot::css(plot::colour(i)))).collect(),
        });
    }
    Ok(Section { id: "summary", title: "Summary", blocks })
}

fn scores(data: &ReportData) -> Section {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for task in &data.tasks {
        match groups.last_mut() {
            Some((role, span)) if *role == task.role => *span += 1,
            _ => groups.push((task.role.clone(), 1)),
        }
    }
    let best: Vec<f64> = (0..data.tasks.len())
        .map(|t| data.rows.iter().filter_map(|r| r.cells.get(t)?.map(|s| s.value)).fold(f64::NEG_INFINITY, f64::max))
        .collect();
    let rows = data.rows.iter().map(|row| {
        let cells = row.cells.iter().zip(&best).map(|(cell, best)| match cell {
            Some(s) => Cell { strong: s.value >= *best, ..Cell::with(score(s.value), interval(s)) },
            None => Cell::new("–"),
        });
        std::iter::once(Cell::with(row.name.clone(), row.kind.clone())).chain(cells).collect()
    });
    let mut header = vec!["row".to_owned()];
    header.extend(data.tasks.iter().map(|task| task.name.clone()));
    let table = Table {
        caption: "Scores with 95 % intervals; the best of each task stands out".to_owned(),
        groups: std::iter::once((String::new(), 1)).chain(groups).collect(),
        numeric: (0..header.len()).map(|column| column > 0).collect(),
        header,
        rows: rows.collect(),
    };
    let asked = data.tasks.iter().map(|t| {
        vec![Cell::new(&t.name), Cell::new(&t.role), Cell::new(&t.metric), Cell::new(t.documents.to_string())]
    });
    let tasks = Table {
        caption: "What was asked".to_owned(),
        groups: Vec::new(),
        header: ["task", "role", "metric", "documents"].map(str::to_owned).to_vec(),
        numeric: vec![false, false, false, true],
        rows: asked.collect(),
    };
    Section { id: "scores", title: "Scores", blocks: vec![Block::Table(table), Block::Table(tasks)] }
}

fn forgetting(data: &ReportData) -> Result<Option<Section>, ExperimentError> {
    if data.forgetting.is_empty() {
        return Ok(None);
    }
    let rows = data.forgetting.iter().map(|row| {
        let cells = row.tasks.iter().map(|difference| match difference {
            Some(d) => {
                let mut cell = change(d);
                let p = d.mcnemar_p.map_or_else(String::new, |p| format!("p {}, ", p_value(p)));
                cell.more = format!("{}\n{p}{} lost, {} won", cell.more, d.lost, d.won);
                cell
            }
            None => Cell::new("–"),
        });
        std::iter::once(Cell::new(&row.row)).chain(cells).collect()
    });
    let mut header = vec!["row".to_owned()];
    header.extend(data.tasks.iter().map(|task| task.name.clone()));
    let table = Table {
        caption: "Score less the base model's".to_owned(),
        groups: Vec::new(),
        numeric: (0..header.len()).map(|column| column > 0).collect(),
        header,
        rows: rows.collect(),
    };
    let words = "Each row against the base model on the same documents: the difference, its paired 95 % interval, \
                 McNemar's exact p where a document is right or wrong, and how many documents only the base (lost) or only \
                 the row (won) gets right.";
    let mut blocks = vec![Block::Text(words.to_owned())];
    if let Some(svg) = plot::forgetting(&data.tasks, &data.forgetting)? {
        let legend = data.forgetting.iter().enumerate();
        blocks.push(Block::Figure {
            svg,
            caption: "Left of 0 is forgotten, right of it is gained.".to_owned(),
            legend: legend.map(|(i, row)| (row.row.clone(), plot::css(plot::colour(i + 1)))).collect(),
        });
    }
    blocks.push(Block::Table(table));
    Ok(Some(Section { id: "forgetting", title: "Forgetting", blocks }))
}

fn gates(data: &ReportData) -> Option<Section> {
    let rows = data.gates.iter().flat_map(|gate| {
        gate.checks.iter().map(|check| {
            vec![
                Cell::new(&gate.row),
                Cell::with(
                    &check.name,
                    if check.role.is_empty() { check.rule.clone() } else { format!("{}, {}", check.role, check.rule) },
                ),
                Cell::new(score(check.baseline)),
                Cell::new(score(check.candidate)),
                Cell::new(&check.verdict).toned(verdict_tone(&check.verdict)),
                Cell::new(&check.reason),
            ]
        })
    });
    let table = Table {
        caption: "Every check of the gate".to_owned(),
        groups: Vec::new(),
        header: ["row", "check", "base", "row's score", "verdict", "why"].map(str::to_owned).to_vec(),
        numeric: vec![false, false, true, true, false, false],
        rows: rows.collect(),
    };
    let words = "PASS: shown to keep its limit. FAIL: shown to break it. INCONCLUSIVE: these documents show neither.";
    let blocks = vec![Block::Text(words.to_owned()), Block::Table(table)];
    (!data.gates.is_empty()).then_some(Section { id: "gate", title: "Gate", blocks })
}

fn selections(data: &ReportData) -> Option<Section> {
    let rows = data.selections.iter().flat_map(|selection| {
        selection.candidates.iter().map(|(setting, value, chosen)| {
            let shown = value.map_or_else(|| "–".to_owned(), score);
            let mark = Cell::new(if *chosen { "chosen" } else { "" });
            let score = Cell { strong: *chosen, ..Cell::new(shown) };
            vec![Cell::new(&selection.merge), Cell::new(setting), score, mark]
        })
    });
    let table = Table {
        caption: "Mean score on the validation splits of the seen tasks".to_owned(),
        groups: Vec::new(),
        header: ["merge", "setting", "validation", ""].map(str::to_owned).to_vec(),
        numeric: vec![false, false, true, false],
        rows: rows.collect(),
    };
    let words = "Settings were chosen on validation splits only; no test document and no unseen task took part.";
    let blocks = vec![Block::Text(words.to_owned()), Block::Table(table)];
    (!data.selections.is_empty()).then_some(Section { id: "selection", title: "Selection", blocks })
}

fn training(data: &ReportData) -> Result<Option<Section>, ExperimentError> {
    let mut blocks = Vec::new();
    let legend: Vec<_> =
        data.curves.iter().enumerate().map(|(i, c)| (c.name.clone(), plot::css(plot::colour(i)))).collect();
    if let Some(svg) = plot::losses(&data.curves)? {
        let caption = "Training loss, as logged.".to_owned();
        blocks.push(Block::Figure { svg, caption, legend: legend.clone() });
    }
    let rates: Vec<_> = data.curves.iter().map(|c| (c.name.clone(), c.learning_rate.clone())).collect();
    if let Some(svg) = plot::lines("plot-rate", "Learning rates", [STEP, "learning rate"], &rates)? {
        blocks.push(Block::Figure { svg, caption: "Learning rate.".to_owned(), legend });
    }
    let mut names: Vec<&String> = data.curves.iter().flat_map(|c| c.evaluations.iter().map(|(name, _)| name)).collect();
    names.sort();
    names.dedup();
    for (index, name) in names.into_iter().enumerate() {
        let of =
            |c: &super::data::Curve| c.evaluations.iter().find(|(n, _)| n == name).map(|(_, points)| points.clone());
        let series: Vec<_> = data.curves.iter().map(|c| (c.name.clone(), of(c).unwrap_or_else(Vec::new))).collect();
        let title = format!("{name} during training");
        if let Some(svg) = plot::lines(&format!("plot-eval-{index}"), &title, [STEP, name], &series)? {
            let present = series.iter().enumerate().filter(|(_, (_, points))| !points.is_empty());
            let legend = present.map(|(i, (name, _))| (name.clone(), plot::css(plot::colour(i)))).collect();
            blocks.push(Block::Figure { svg, caption: format!("{title}."), legend });
        }
    }
    Ok((!blocks.is_empty()).then_some(Section { id: "training", title: "Training", blocks }))
}

fn task_vectors(data: &ReportData) -> Result<Option<Section>, ExperimentError> {
    let Some(vectors) = data.task_vectors.as_ref().filter(|vectors| !vectors.names.is_empty()) else { return Ok(None) };
    let mut blocks = vec![Block::Text(
        "A task vector is what training added to the weights: specialist less base. Merging adds them up, so their lengths \
         say how much each weighs and their cosines how much they interfere."
            .to_owned(),
    )];
    if let Some(svg) = plot::cosines(vectors)? {
        blocks.push(Block::Figure { svg, caption: "Cosines of all pairs.".to_owned(), legend: Vec::new() });
    }
    let rows = vectors.names.iter().enumerate().map(|(i, name)| {
        let cosines =
            vectors.cosines.get(i).into_iter().flatten().map(|c| Cell::new(format!("{c:.3}").replace('-', "−")));
        let norm = vectors.norms.get(i).copied().unwrap_or(f64::NAN);
        [Cell::new(name), Cell::new(number(norm))].into_iter().chain(cosines).collect()
    });
    let mut header = vec!["specialist".to_owned(), "norm".to_owned()];
    header.extend(vectors.names.iter().cloned());
    blocks.push(Block::Table(Table {
        caption: "Norms and cosines".to_owned(),
        groups: vec![(String::new(), 2), ("cosine with".to_owned(), vectors.names.len())],
        numeric: (0..header.len()).map(|column| column > 0).collect(),
        header,
        rows: rows.collect(),
    }));
    let series = vectors.names.iter().enumerate().map(|(i, name)| {
        let layers = vectors.layers.iter().filter_map(|(layer, norms)| Some((layer.parse().ok()?, *norms.get(i)?)));
        (name.clone(), layers.collect())
    });
    let series: Vec<(String, Vec<(f64, f64)>)> = series.collect();
    if let Some(svg) = plot::lines("plot-layers", "Norm of each layer's part", ["layer", "norm"], &series)? {
        let legend = series.iter().enumerate().map(|(i, (name, _))| (name.clone(), plot::css(plot::colour(i))));
        let caption = "How far training moved each layer.".to_owned();
        blocks.push(Block::Figure { svg, caption, legend: legend.collect() });
    }
    let rows = vectors.layers.iter().map(|(layer, norms)| {
        std::iter::once(Cell::new(layer)).chain(norms.iter().map(|n| Cell::new(number(*n)))).collect()
    });
    let mut header = vec!["layer".to_owned()];
    header.extend(series.iter().map(|(name, _)| name.clone()));
    if !vectors.layers.is_empty() {
        blocks.push(Block::Table(Table {
            caption: "Norm of each layer's part".to_owned(),
            groups: Vec::new(),
            numeric: (0..header.len()).map(|column| column > 0).collect(),
            header,
            rows: rows.collect(),
        }));
    }
    Ok(Some(Section { id: "task-vectors", title: "Task vectors", blocks }))
}

fn published(data: &ReportData) -> Option<Section> {
    let table = data.published.as_ref()?;
    let rows = table.rows.iter().map(|(name, figures)| {
        let cells = figures.iter().map(|f| Cell::new(f.map_or_else(|| "–".to_owned(), |f| format!("{f:.1}"))));
        std::iter::once(Cell::new(name)).chain(cells).collect()
    });
    let mut header = vec!["row".to_owned()];
    header.extend(table.columns.iter().cloned());
    let words = format!("From {}. Other models, data and prompts: for orientation, not for comparison.", table.source);
    let table = Table {
        caption: format!("Published figures, {}", table.metric),
        groups: Vec::new(),
        numeric: (0..header.len()).map(|column| column > 0).collect(),
        header,
        rows: rows.collect(),
    };
    let blocks = vec![Block::Text(words), Block::Table(table)];
    Some(Section { id: "published", title: "Published figures", blocks })
}

fn recipes(data: &ReportData) -> Section {
    let blocks = data.rows.iter().filter_map(|row| {
        let text = row.recipe.clone()?;
        Some(Block::Code { title: row.name.clone(), text, language: "yaml" })
    });
    Section { id: "recipes", title: "Recipes", blocks: blocks.collect() }
}

fn provenance(data: &ReportData) -> Section {
    let pairs = |caption: &str, header: [&str; 2], rows: &[(String, String)]| {
        let rows = rows.iter().map(|(name, value)| vec![Cell::new(name), Cell::new(value)]).collect();
        let header = header.map(str::to_owned).to_vec();
        Block::Table(Table { caption: caption.to_owned(), groups: Vec::new(), header, numeric: vec![false; 2], rows })
    };
    let seconds: f64 = data.durations.iter().map(|(_, seconds)| seconds).sum();
    let durations: Vec<(String, String)> =
        data.durations.iter().map(|(step, seconds)| (step.clone(), format!("{seconds:.1} s"))).collect();
    let caption = format!("Time of every step, {} in all", duration(seconds));
    Section {
        id: "provenance",
        title: "Provenance",
        blocks: vec![
            pairs("How tasks were asked", ["setting", "value"], &data.settings),
            pairs("Environment", ["what", "value"], &data.environment),
            pairs(&caption, ["step", "time"], &durations),
            pairs("Files", ["file", "SHA-256"], &data.hashes),
        ],
    }
}
