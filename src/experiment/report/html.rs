//! The report as one HTML page.

use std::fmt::Write as _;

use super::data::ReportData;
use super::section::{Block, Cell, Section, Table, Tone, lead, sections};
use super::words::html;
use crate::experiment::error::ExperimentError;

/// Longest table that is open when the page is.
const OPEN_ROWS: usize = 14;

/// Characters from which on a cell is text to be read and gets room.
const LONG: usize = 40;

/// The page. It loads nothing and runs no script.
///
/// # Errors
/// A plot that can't be drawn.
pub(crate) fn render(data: &ReportData) -> Result<String, ExperimentError> {
    let sections = sections(data)?;
    let title = html(&data.title);
    let mut page = String::new();
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<header>\n<p class=\"kind\">Experiment report</p>\n\
         <h1>{title}</h1>\n<p class=\"lead\">{}</p>\n<nav aria-label=\"Sections\"><ul>",
        include_str!("page.css"),
        html(&lead(data)),
    );
    for section in sections.iter().filter(|section| !section.blocks.is_empty()) {
        let _ = write!(page, "<li><a href=\"#{}\">{}</a></li>", section.id, html(section.title));
    }
    page.push_str("</ul></nav>\n</header>\n<main>\n");
    for section in sections.iter().filter(|section| !section.blocks.is_empty()) {
        render_section(section, &mut page);
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(page, "</main>\n<footer><p>Made by billon {version}.</p></footer>\n</body>\n</html>\n");
    Ok(page)
}

fn render_section(section: &Section, page: &mut String) {
    let (id, title) = (section.id, html(section.title));
    let _ = write!(page, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n");
    for block in &section.blocks {
        match block {
            Block::Text(text) => {
                let _ = writeln!(page, "<p>{}</p>", html(text));
            }
            Block::Table(table) if table.rows.is_empty() => {}
            Block::Table(table) => render_table(table, page),
            Block::Figure { svg, caption, legend } => {
                let _ = write!(page, "<figure>\n<div class=\"scroll\" tabindex=\"0\">{svg}</div>\n");
                if !legend.is_empty() {
                    page.push_str("<ul class=\"legend\">");
                    for (name, colour) in legend {
                        let _ = write!(
                            page,
                            "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><circle cx=\"5\" cy=\"5\" r=\"5\" \
                             fill=\"{}\"/></svg>{}</li>",
                            html(colour),
                            html(name)
                        );
                    }
                    page.push_str("</ul>\n");
                }
                let _ = write!(page, "<figcaption>{}</figcaption>\n</figure>\n", html(caption));
            }
            Block::Code { title, text, .. } => {
                let _ = writeln!(
                    page,
                    "<details><summary>{}</summary><pre tabindex=\"0\"><code>{}</code></pre></details>",
                    html(title),
                    html(text.trim_end())
                );
            }
        }
    }
    page.push_str("</section>\n");
}

fn render_table(table: &Table, page: &mut String) {
    let caption = html(&table.caption);
    let long = table.rows.len() > OPEN_ROWS;
    if long {
        let _ = writeln!(page, "<details><summary>{caption} ({} rows)</summary>", table.rows.len());
    }
    let _ = write!(
        page,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table>\n\
         <caption{}>{caption}</caption>\n<thead>\n",
        if long { " class=\"hidden\"" } else { "" }
    );
    if !table.groups.is_empty() {
        page.push_str("<tr>");
        for (title, span) in &table.groups {
            let tag = if title.is_empty() { "td" } else { "th scope=\"colgroup\"" };
            let end = if title.is_empty() { "td" } else { "th" };
            let _ = write!(page, "<{tag} colspan=\"{span}\">{}</{end}>", html(title));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("<tr>");
    for (title, numeric) in table.header.iter().zip(&table.numeric) {
        let class = if *numeric { " class=\"number\"" } else { "" };
        let _ = write!(page, "<th scope=\"col\"{class}>{}</th>", html(title));
    }
    page.push_str("</tr>\n</thead>\n<tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for (index, (cell, numeric)) in row.iter().zip(&table.numeric).enumerate() {
            render_cell(cell, *numeric, index == 0, page);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    if long {
        page.push_str("</details>\n");
    }
}

fn render_cell(cell: &Cell, numeric: bool, header: bool, page: &mut String) {
    let mut classes = Vec::new();
    classes.extend(numeric.then_some("number"));
    classes.extend((!numeric && cell.text.chars().count() > LONG).then_some("long"));
    classes.extend(cell.strong.then_some("best"));
    classes.extend(match cell.tone {
        Tone::Plain => None,
        Tone::Good => Some("good"),
        Tone::Bad => Some("bad"),
        Tone::Open => Some("open"),
    });
    let class = if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
    let (tag, end) = if header { ("th scope=\"row\"", "th") } else { ("td", "td") };
    let _ = write!(page, "<{tag}{class}>{}", html(&cell.text));
    for line in cell.more.lines() {
        let _ = write!(page, "<small>{}</small>", html(line));
    }
    let _ = write!(page, "</{end}>");
}
