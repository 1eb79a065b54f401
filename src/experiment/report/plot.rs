//! Plots as SVG elements of a page.
//!
//! Ink is `currentColor`, so that plots follow a dark page; series have colours that stand out on
//! both. Every plot has a title and a description that say what it shows without it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::data::{Curve, Forgetting, ReportRow, TaskColumn, TaskVectors};
use super::words::{html, number, score, visible};
use crate::experiment::error::ExperimentError;

/// Colours of series, in turn.
pub(crate) const COLOURS: [RGBColor; 8] = [
    RGBColor(59, 130, 196),
    RGBColor(214, 120, 42),
    RGBColor(47, 158, 115),
    RGBColor(182, 95, 165),
    RGBColor(178, 146, 30),
    RGBColor(107, 127, 215),
    RGBColor(205, 85, 95),
    RGBColor(84, 160, 166),
];
/// Replaced by the page's own ink.
const INK: RGBColor = RGBColor(0, 0, 0);
const FONT: &str = "system-ui, sans-serif";
const WIDTH: u32 = 720;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

/// The colour of a series.
#[must_use]
pub(crate) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// The colour as a page writes it.
#[must_use]
pub(crate) fn css(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

/// Draws on an empty area and makes an accessible element of it.
fn element(
    id: &str,
    height: u32,
    title: &str,
    description: &str,
    draw: impl FnOnce(&Area<'_>) -> Result<(), String>,
) -> Result<String, ExperimentError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let failed = |reason: String| ExperimentError::Plot { plot: title.to_owned(), reason };
        draw(&area).map_err(failed)?;
        area.present().map_err(|error| failed(error.to_string()))?;
    }
    let body = svg.split_once('>').map_or("", |(_, rest)| rest);
    Ok(format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>{}",
        html(title),
        html(description),
        body.replace("\"#000000\"", "\"currentColor\"")
    ))
}

fn text<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> String {
    error.to_string()
}

/// A range with some air, never empty.
fn padded(values: impl Iterator<Item = f64>, air: f64) -> std::ops::Range<f64> {
    let (low, high) =
        values.filter(|x| x.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if low > high {
        return 0.0..1.0;
    }
    let span = (high - low).max(high.abs().max(1e-3) * 0.02);
    low - air * span..high + air * span
}

fn label(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// Axes in the report's style.
macro_rules! mesh {
    ($chart:expr, $x:expr, $y:expr, $labels:expr) => {
        $chart
            .configure_mesh()
            .x_desc($x)
            .y_desc($y)
            .x_labels($labels)
            .y_labels(6)
            .light_line_style(INK.mix(0.0))
            .bold_line_style(INK.mix(0.12))
            .axis_style(INK.mix(0.5))
            .label_style(label(15))
            .axis_desc_style(label(15))
            .x_label_formatter(&|x| number_label(*x))
            .y_label_formatter(&|y| number_label(*y))
            .draw()
            .map_err(text)
    };
}

fn number_label(x: f64) -> String {
    let text = if x != 0.0 && x.abs() < 0.01 {
        // What is left of a sum that should be 0 is 0.
        if x.abs() < 1e-9 {
            return "0".to_owned();
        }
        format!("{x:.1e}").replace(".0e", "e")
    } else {
        format!("{x:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    text.replace('-', "−")
}

/// Lines, over optimiser steps or over layers.
///
/// # Errors
/// The plot can't be drawn.
pub(crate) fn lines(
    id: &str,
    title: &str,
    [x, y]: [&str; 2],
    series: &[(String, Points)],
) -> Result<Option<String>, ExperimentError> {
    let points = || series.iter().flat_map(|(_, points)| points);
    if points().filter(|(x, y)| x.is_finite() && y.is_finite()).count() < 2 {
        return Ok(None);
    }
    let ends = series.iter().filter_map(|(name, points)| {
        let (first, last) = (points.first()?, points.last()?);
        Some(format!("{name}: {} at {x} {} to {} at {}", number(first.1), first.0, number(last.1), last.0))
    });
    let description = ends.collect::<Vec<_>>().join("; ");
    element(id, 340, title, &description, |area| {
        let x_range = padded(points().map(|p| p.0), 0.02);
        let y_range = padded(points().map(|p| p.1), 0.06);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x_range, y_range)
            .map_err(text)?;
        mesh!(chart, shortened(x, 40), shortened(y, 40), 8)?;
        for (index, (_, points)) in series.iter().enumerate() {
            let finite = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            chart.draw_series(LineSeries::new(finite, colour(index).stroke_width(2))).map_err(text)?;
        }
        Ok(())
    })
    .map(Some)
}

/// Training losses of all specialists.
///
/// # Errors
/// The plot can't be drawn.
pub(crate) fn losses(curves: &[Curve]) -> Result<Option<String>, ExperimentError> {
    let series: Vec<_> = curves.iter().map(|c| (c.name.clone(), c.loss.clone())).collect();
    lines("plot-loss", "Training loss of every specialist", ["optimiser step", "loss"], &series)
}

/// Mean score on unseen tasks over mean score on seen ones, a point a row.
///
/// # Errors
/// The plot can't be drawn.
pub(crate) fn seen_unseen(rows: &[ReportRow]) -> Result<Option<String>, ExperimentError> {
    let points: Vec<_> = rows.iter().enumerate().filter_map(|(i, r)| Some((i, &r.name, r.seen?, r.unseen?))).collect();
    if points.is_empty() {
        return Ok(None);
    }
    let described = points.iter().map(|(_, name, x, y)| format!("{name}: {} and {}", score(x.value), score(y.value)));
    let description = format!("Mean score on seen and on unseen tasks. {}", described.collect::<Vec<_>>().join("; "));
    element("plot-seen-unseen", 420, "Seen against unseen tasks", &description, |area| {
        let ends = |s: &super::data::Score| s.interval.unwrap_or([s.value; 2]).into_iter().chain([s.value]);
        let xs = padded(points.iter().flat_map(|(_, _, x, _)| ends(x).collect::<Vec<_>>()), 0.08);
        let ys = padded(points.iter().flat_map(|(_, _, _, y)| ends(y).collect::<Vec<_>>()), 0.08);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(xs.clone(), ys.clone())
            .map_err(text)?;
        mesh!(chart, "mean score on seen tasks", "mean score on unseen tasks", 8)?;
        if let Some((_, _, base_x, base_y)) = points.iter().find(|(i, ..)| *i == 0) {
            let across = [(xs.start, base_y.value), (xs.end, base_y.value)];
            let up = [(base_x.value, ys.start), (base_x.value, ys.end)];
            for line in [across, up] {
                chart.draw_series(DashedLineSeries::new(line, 4, 4, INK.mix(0.35).into())).map_err(text)?;
            }
        }
        for (index, _, x, y) in &points {
            let ink = colour(*index);
            if let Some([low, high]) = x.interval {
                chart.draw_series(LineSeries::new([(low, y.value), (high, y.value)], ink.mix(0.55))).map_err(text)?;
            }
            if let Some([low, high]) = y.interval {
                chart.draw_series(LineSeries::new([(x.value, low), (x.value, high)], ink.mix(0.55))).map_err(text)?;
            }
        }
        for (index, _, x, y) in &points {
            let at = (x.value, y.value);
            chart.draw_series([Circle::new(at, 6, colour(*index).filled())]).map_err(text)?;
            let number = EmptyElement::at(at) + Text::new((index + 1).to_string(), (9, -18), label(15));
            chart.draw_series([number]).map_err(text)?;
        }
        Ok(())
    })
    .map(Some)
}

/// Differences from the base with their intervals: a band a task, a point a row.
///
/// # Errors
/// The plot can't be drawn.
pub(crate) fn forgetting(tasks: &[TaskColumn], rows: &[Forgetting]) -> Result<Option<String>, ExperimentError> {
    let bands: Vec<usize> =
        (0..tasks.len()).filter(|&t| rows.iter().any(|row| row.tasks.get(t).is_some_and(Option::is_some))).collect();
    if bands.is_empty() {
        return Ok(None);
    }
    let step = 15;
    let band = (rows.len() as u32 * step + 18) as i32;
    let height = band as u32 * bands.len() as u32 + 76;
    let worst = rows.iter().flat_map(|row| {
        bands.iter().filter_map(move |&t| row.tasks.get(t)?.map(|d| (d.value, &row.row, &tasks[t].name)))
    });
    let worst = worst.min_by(|a, b| a.0.total_cmp(&b.0));
    let description = worst.map_or_else(String::new, |(value, row, task)| {
        format!(
            "Score less the base model's, with 95 % intervals. The greatest loss: {row} on {task}, {}.",
            number(value)
        )
    });
    element("plot-forgetting", height, "What every row gained and lost", &description, |area| {
        let all = rows.iter().flat_map(|row| row.tasks.iter().flatten());
        let ends = all.flat_map(|d| [d.value, d.interval[0], d.interval[1], 0.0]);
        let range = padded(ends, 0.05);
        let (left, right) = (170, WIDTH as i32 - 24);
        let (top, bottom) = (10, height as i32 - 52);
        let x = |value: f64| {
            let share = (value - range.start) / (range.end - range.start);
            left + (share * f64::from(right - left)).round() as i32
        };
        let line = |from: (i32, i32), to: (i32, i32), style: ShapeStyle| {
            area.draw(&PathElement::new(vec![from, to], style)).map_err(text)
        };
        for tick in ticks(&range) {
            line((x(tick), top), (x(tick), bottom), INK.mix(if tick == 0.0 { 0.6 } else { 0.12 }).into())?;
            let style = label(15).pos(Pos::new(HPos::Center, VPos::Top));
            area.draw(&Text::new(number_label(tick), (x(tick), bottom + 6), style)).map_err(text)?;
        }
        let axis = label(15).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new("score less the base model's", (i32::midpoint(left, right), bottom + 28), axis))
            .map_err(text)?;
        for (index, &task) in bands.iter().enumerate() {
            let start = top + index as i32 * band;
            line((left, start), (right, start), INK.mix(0.12).into())?;
            let style = label(15).pos(Pos::new(HPos::Right, VPos::Center));
            let name = shortened(&tasks[task].name, 18);
            let middle = start + band / 2;
            area.draw(&Text::new(name, (left - 12, middle - 8), style)).map_err(text)?;
            let role = (FONT, 13).into_font().color(&INK.mix(0.6)).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(shortened(&tasks[task].role, 18), (left - 12, middle + 9), role)).map_err(text)?;
            for (place, row) in rows.iter().enumerate() {
                let Some(Some(difference)) = row.tasks.get(task) else { continue };
                let y = start + 9 + place as i32 * step as i32 + step as i32 / 2;
                // The base model has the first colour.
                let ink = colour(place + 1);
                let [low, high] = difference.interval;
                line((x(low), y), (x(high), y), ink.mix(0.6).stroke_width(2))?;
                area.draw(&Circle::new((x(difference.value), y), 4, ink.filled())).map_err(text)?;
            }
        }
        Ok(())
    })
    .map(Some)
}

/// Round values across a range, about six.
fn ticks(range: &std::ops::Range<f64>) -> Vec<f64> {
    let raw = (range.end - range.start) / 6.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
    let (first, last) = ((range.start / step).ceil() as i64, (range.end / step).floor() as i64);
    (first..=last).map(|n| n as f64 * step).collect()
}

/// The cosines of all pairs of task vectors.
///
/// # Errors
/// The plot can't be drawn.
pub(crate) fn cosines(vectors: &TaskVectors) -> Result<Option<String>, ExperimentError> {
    let n = vectors.names.len();
    if n < 2 {
        return Ok(None);
    }
    let cell = (((WIDTH - 190) / n as u32).min(84)) as i32;
    let (left, top) = (150, 12);
    let height = (top + cell * n as i32 + 40) as u32;
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    let most = pairs.max_by(|a, b| cosine(vectors, *a).total_cmp(&cosine(vectors, *b)));
    let description = most.map_or_else(String::new, |(i, j)| {
        let (a, b) = (&vectors.names[i], &vectors.names[j]);
        format!("Cosines of task vectors. The most alike: {a} and {b}, {}.", number(cosine(vectors, (i, j))))
    });
    element("plot-cosines", height, "How alike the task vectors are", &description, |area| {
        for (i, name) in vectors.names.iter().enumerate() {
            let y = top + i as i32 * cell;
            let style = label(14).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(shortened(name, 17), (left - 10, y + cell / 2), style)).map_err(text)?;
            let style = label(14).pos(Pos::new(HPos::Center, VPos::Top));
            let below = (left + i as i32 * cell + cell / 2, top + n as i32 * cell + 6);
            area.draw(&Text::new(shortened(name, (cell / 8).max(3) as usize), below, style)).map_err(text)?;
            for j in 0..n {
                let value = cosine(vectors, (i, j));
                // Alike is one hue, opposed the other; strength is opacity, which suits both themes.
                let ink = if value < 0.0 { COLOURS[1] } else { COLOURS[0] };
                let x = left + j as i32 * cell;
                let corners = [(x + 1, y + 1), (x + cell - 1, y + cell - 1)];
                area.draw(&Rectangle::new(corners, ink.mix(value.abs().clamp(0.02, 1.0) * 0.8).filled()))
                    .map_err(text)?;
                let style = label(if cell < 44 { 11 } else { 15 }).pos(Pos::new(HPos::Center, VPos::Center));
                let shown = format!("{value:.2}").replace('-', "−");
                area.draw(&Text::new(shown, (x + cell / 2, y + cell / 2), style)).map_err(text)?;
            }
        }
        Ok(())
    })
    .map(Some)
}

fn cosine(vectors: &TaskVectors, (i, j): (usize, usize)) -> f64 {
    vectors.cosines.get(i).and_then(|row| row.get(j)).copied().filter(|x| x.is_finite()).unwrap_or(0.0)
}

fn shortened(name: &str, most: usize) -> String {
    let clean = visible(name);
    if clean.chars().count() <= most {
        clean
    } else {
        clean.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    }
}
