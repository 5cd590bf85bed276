//! The table, and whether the guarantees are kept.

use std::fmt::Write;
use std::time::Duration;

use super::fault::Fault;
use super::options::Options;
use super::tally::{Row, Tally, Violation};
use crate::text::{grouped, table};

/// The table's columns.
const HEAD: [&str; 11] = [
    "",
    "reads",
    "writes",
    "failed",
    "stale: same instance",
    "stale: with position",
    "missed elsewhere: reads",
    "p50 / p99",
    "of those stale: reads",
    "p50 / p99 / max",
    "longest request",
];

/// A limit that was exceeded, or a promise that was broken.
pub(super) fn broken(tally: &Tally, options: &Options) -> Vec<String> {
    let total = tally.total();
    let mut broken = Vec::new();
    let mut count = |count: u64, what: &str| {
        if count > 0 {
            broken.push(format!("{count} {what}"));
        }
    };
    count(
        total.stale_same_instance,
        "reads were older than what the same instance had acknowledged",
    );
    count(
        total.stale_with_position,
        "reads were older than the position that was sent",
    );
    count(total.wrong, "reads answered what nobody had written");
    count(
        total.failed,
        "requests failed to instances that had not been killed",
    );
    for (index, row) in &tally.rows {
        let when = name(*index);
        let (limit, is_well) = match index {
            None => (options.limit_max, true),
            Some(_) => (options.limit_fault, false),
        };
        let p99 = row.missed.quantile(0.99);
        if is_well && p99 > options.limit_p99 {
            let limit = options.limit_p99;
            broken.push(format!(
                "{when}: what other instances wrote was missed for {p99:?} (p99, limit {limit:?})"
            ));
        }
        let max = row.missed.max();
        if max > limit {
            broken.push(format!(
                "{when}: what another instance wrote was missed for {max:?} (limit {limit:?})"
            ));
        }
    }
    broken
}

/// What was run, in a line.
pub(super) fn title(tally: &Tally, options: &Options, lasted: Duration) -> String {
    let total = tally.total();
    let database = match options.database.as_str() {
        kind @ ("sqlite" | "postgres") => kind,
        _ => "a database given by URL",
    };
    let seconds = lasted.as_secs_f64();
    format!(
        "{} instances, {} on {database}: {} reads and {} writes in {seconds:.0} s",
        options.instances,
        options.backend.name(),
        grouped(total.reads),
        grouped(total.writes),
    )
}

/// The whole report, in Markdown that reads well as it is.
pub(super) fn report(tally: &Tally, title: &str, broken: &[String]) -> String {
    let total = tally.total();
    let mut text = format!("{title}; {} values judged\n\n", grouped(total.values));
    text += &table(&rows(tally, &total));
    let _ = writeln!(
        text,
        "\nmissed elsewhere: reads without a position that began within a second of a write at another\n\
         instance, and for how long they missed it (0 if they did not); then those alone that did.\n\
         failed: + requests to an instance that had just been killed."
    );
    for Violation { during, what } in &tally.violations {
        let during = during.map_or_else(|| "all well".to_owned(), |fault| fault.to_string());
        let _ = writeln!(text, "\n- [{during}] {what}");
    }
    let told = tally.violations.len() as u64;
    if tally.violation_count > told {
        let _ = writeln!(text, "\n- and {} more", tally.violation_count - told);
    }
    let _ = match broken {
        [] => writeln!(text, "\nEvery guarantee is kept."),
        broken => writeln!(text, "\nBROKEN:\n- {}", broken.join("\n- ")),
    };
    text
}

fn rows(tally: &Tally, total: &Row) -> Vec<Vec<String>> {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    let lines = tally
        .rows
        .iter()
        .map(|(index, row)| line(&name(*index), row));
    rows.extend(lines.map(Vec::from));
    rows.push(line("total", total).to_vec());
    rows
}

fn line(name: &str, row: &Row) -> [String; HEAD.len()] {
    let missed = &row.missed;
    let failed = match row.explained {
        0 => grouped(row.failed),
        explained => format!("{} + {}", grouped(row.failed), grouped(explained)),
    };
    let two = |quantile: &dyn Fn(f64) -> Duration| {
        format!("{} / {}", ms(quantile(0.5)), ms(quantile(0.99)))
    };
    [
        name.to_owned(),
        grouped(row.reads),
        grouped(row.writes),
        failed,
        grouped(row.stale_same_instance),
        grouped(row.stale_with_position),
        grouped(missed.reads),
        two(&|part| missed.quantile(part)) + " ms",
        grouped(missed.stale.len() as u64),
        format!(
            "{} / {} ms",
            two(&|part| missed.quantile_of_stale(part)),
            ms(missed.max())
        ),
        format!("{} ms", ms(row.longest)),
    ]
}

fn name(index: Option<usize>) -> String {
    match index.and_then(|index| Fault::ALL.get(index)) {
        Some(fault) => fault.to_string(),
        None => "all well".to_owned(),
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}
