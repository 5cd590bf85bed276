//! The report as one page that needs nothing else.

use anyhow::Result;
use maud::{Markup, PreEscaped, html};

use super::chart;
use super::outcome::{Millis, SideOutcome, Window};
use super::report::{Entry, Report, p99, recovery};
use crate::page;
use crate::text::grouped;

/// The page.
///
/// # Errors
/// A chart could not be drawn.
pub(super) fn page(report: &Report) -> Result<String> {
    let sections = report
        .scenarios
        .iter()
        .map(section)
        .collect::<Result<Vec<_>>>()?;
    let passed = report.is_passed();
    let head = html! {
        h1 { "Outage drill" }
        p { (badge(word(passed))) " " (summary(report)) }
    };
    let body = html! {
        (overview(report))
        (how_to_read(report))
        @for section in sections { (section) }
    };
    let title = format!("Outage drill: {}", word(passed));
    Ok(page::page(&title, &head, &body))
}

fn summary(report: &Report) -> String {
    let speed = if report.ignores_speed {
        "; how fast it was is told, not judged"
    } else {
        ""
    };
    format!(
        "Alacena {}, {} cores; each side was sent {} requests a second, {}% of them writes{speed}.",
        report.version,
        report.cores,
        grouped(report.rate.into()),
        report.writes
    )
}

fn overview(report: &Report) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        @for head in [
                            "scenario", "side", "verdict", "requests", "failed", "refused", "stale",
                            "lost", "p99 before", "p99 while broken", "p99 after", "well after",
                        ] { th scope="col" { (head) } }
                    }
                }
                tbody {
                    @for entry in &report.scenarios {
                        @for side in &entry.sides { (overview_row(entry, side)) }
                        @if entry.sides.is_empty() {
                            tr {
                                th scope="row" { (link(entry)) }
                                td colspan="11" { (badge(entry.verdict())) " " (entry.whys().join("; ")) }
                            }
                        }
                    }
                }
            }
        }
        p.note { "p99 in ms; in brackets as a multiple of the memory backend's at the same time." }
    }
}

fn overview_row(entry: &Entry, side: &SideOutcome) -> Markup {
    let counts = &side.counts;
    html! {
        tr {
            th scope="row" { (link(entry)) }
            td.text { (side.name) }
            td { (badge(word(side.is_passed()))) }
            td { (grouped(counts.requests())) }
            td { (grouped(counts.failed)) }
            td { (grouped(counts.refused_reads + counts.refused_writes)) }
            td { (grouped(side.stale + side.wrong)) }
            td { (grouped(side.lost)) }
            td { (p99(side.before, side.before_ratio)) }
            td { (p99(side.during, side.during_ratio)) }
            td { (p99(side.after, side.after_ratio)) }
            td { (recovery(side)) }
        }
    }
}

fn how_to_read(report: &Report) -> Markup {
    let compared = report.scenarios.iter().any(|entry| entry.sides.len() > 1);
    html! {
        details {
            summary { "How to read this" }
            p {
                "A request takes from when it was due to its answer: one that is sent late, because all \
                 clients still wait for answers, has waited too. Reads are judged by a history \
                 of everything that was written and read: stale is a value which another write had \
                 replaced that the same instance had acknowledged before the read began. Lost are \
                 acknowledged writes that the database does not know of at the end."
            }
            p {
                "While broken: from a quarter of a second after it broke until it was mended. After: from \
                 the time on by which all must be well again. Well after: when the last instance said \
                 so, counted from the mend."
            }
            @if compared {
                p { "All sides were asked at the same time, each on a database of its own." }
            }
        }
    }
}

fn section(entry: &Entry) -> Result<Markup> {
    let picture = if entry.sides.is_empty() {
        None
    } else {
        Some(chart::svg(entry)?)
    };
    Ok(html! {
        section id=(entry.name) {
            h2 { (entry.name) " " (badge(entry.verdict())) }
            p { (entry.about) "." }
            @let whys = entry.whys();
            @if !whys.is_empty() {
                ul.whys { @for why in whys { li { (why) } } }
            }
            @if let Some(picture) = picture {
                figure role="img" aria-label=(format!("{} over time", entry.name)) {
                    (PreEscaped(picture))
                }
                (windows(entry))
            }
            details {
                summary { "The scenario's file" }
                pre { (entry.text) }
            }
        }
    })
}

/// How long requests took, in each part of the scenario.
fn windows(entry: &Entry) -> Markup {
    let cell =
        |time: Option<Millis>| time.map_or_else(|| "-".to_owned(), |Millis(ms)| format!("{ms:.2}"));
    let cells = |window: Window| {
        html! {
            td { (grouped(window.requests)) }
            td { (cell(window.p50)) }
            td { (cell(window.p99)) }
            td { (cell(window.longest)) }
        }
    };
    html! {
        details {
            summary { "Figures" }
            div.wide {
                table {
                    thead {
                        tr {
                            th rowspan="2" scope="col" { "side" }
                            @for part in ["before", "while broken", "after"] {
                                th colspan="4" scope="colgroup" { (part) }
                            }
                            th rowspan="2" scope="col" { "hits near" }
                            th rowspan="2" scope="col" { "hits far" }
                            th rowspan="2" scope="col" { "missed elsewhere, at most" }
                        }
                        tr {
                            @for _ in 0..3 {
                                @for head in ["requests", "p50 ms", "p99 ms", "longest ms"] {
                                    th scope="col" { (head) }
                                }
                            }
                        }
                    }
                    tbody {
                        @for side in &entry.sides {
                            tr {
                                th scope="row" { (side.name) }
                                (cells(side.before))
                                (cells(side.during))
                                (cells(side.after))
                                @let counts = &side.counts;
                                td { (format!("{:.0}%", counts.percent_of_reads(counts.near))) }
                                td { (format!("{:.0}%", counts.percent_of_reads(counts.far))) }
                                td { (format!("{:.1} ms", side.missed_elsewhere.0)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn link(entry: &Entry) -> Markup {
    html! { a href=(format!("#{}", entry.name)) { (entry.name) } }
}

fn badge(word: &str) -> Markup {
    let class = word.replace(' ', "-");
    html! { span class=(format!("badge {class}")) { (word) } }
}

fn word(passed: bool) -> &'static str {
    if passed { "passed" } else { "not passed" }
}
