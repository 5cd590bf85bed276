//! The report as one page that needs nothing else.

use maud::{Markup, PreEscaped, html};

use super::chart::Picture;
use super::report::{Entry, Figures, Outcome, Report, ResponseTimes, Spread};
use super::tables::{dash, exact, median, whole};
use crate::page;
use crate::text::grouped;

/// The page.
pub(super) fn page(report: &Report, pictures: &[Picture]) -> String {
    let head = html! {
        h1 { "What a cache costs and gains" }
        p { (summary(report)) }
    };
    let body = html! {
        @if let Some(warning) = warning(report) { p.whys { (warning) } }
        @for picture in pictures {
            section id=(picture.name) {
                h2 { (picture.title) }
                p { (picture.note) }
                figure role="img" aria-label=(picture.title) { (PreEscaped(&picture.svg)) }
            }
        }
        section id="figures" {
            h2 { "Figures" }
            p.note { (legend(report)) }
            @for entry in &report.workloads { (workload(entry)) }
        }
        (how_to_read())
    };
    page::page("Alacena: what a cache costs and gains", &head, &body)
}

fn summary(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "Alacena {}, {}; {} ({} cores, {} GiB, Linux {}); {}. {} users, {} rounds of {} s, {} connections.",
        report.version,
        report.database.as_deref().unwrap_or("no target of our own"),
        machine.processor,
        machine.cores,
        machine.memory_bytes >> 30,
        machine.kernel,
        report.began,
        grouped(report.extent.rows.into()),
        report.extent.rounds,
        report.extent.slice_seconds,
        report.extent.connections,
    )
}

/// At what load for each core a machine is busy with other things.
const BUSY: f64 = 0.25;

/// From how much lateness on, in milliseconds, whoever measures is to blame for part of a response time.
const LATE: f64 = 1.0;

/// What whoever reads the figures must know.
fn warning(report: &Report) -> Option<String> {
    let mut all = Vec::new();
    if report.failed() > 0 {
        let failed = grouped(report.failed());
        all.push(format!(
            "{failed} requests failed, and the figures say nothing of those."
        ));
    }
    if report.is_quick {
        all.push("Measured quickly: figures are less exact than they look.".to_owned());
    }
    if f64::from(report.machine.load_before) > report.machine.cores as f64 * BUSY {
        let load = report.machine.load_before;
        all.push(format!(
            "The machine was busy before it began (load {load:.1})."
        ));
    }
    let open = report.workloads.iter().flat_map(|entry| &entry.targets);
    let lateness = open.filter_map(|outcome| outcome.open.as_ref()?.lateness);
    let latest = lateness.fold(0.0, f64::max);
    if latest > LATE {
        all.push(format!(
            "Requests were handed to the clients up to {latest:.1} ms late (99 of 100), which is part of \
             response times."
        ));
    }
    (!all.is_empty()).then(|| all.join(" "))
}

fn legend(report: &Report) -> String {
    format!(
        "Medians of all rounds, with the worst and the best in brackets; × says how many times as good as \
         {} in the same round. Times in ms.",
        report.reference
    )
}

fn workload(entry: &Entry) -> Markup {
    html! {
        h3 { (entry.name.name()) }
        p { (entry.about) "." }
        @for outcome in &entry.targets {
            @if let Some(why) = &outcome.left_out {
                p.whys { (outcome.name) " is left out: " (why) "." }
            }
        }
        @let closed = entry.targets.iter().filter_map(|outcome| Some((outcome, outcome.closed.as_ref()?)));
        @let open = entry.targets.iter().filter_map(|outcome| Some((outcome, outcome.open.as_ref()?)));
        (figures("As fast as it answers (closed loop)", closed.collect()))
        @let rate = entry.rate.map_or_else(String::new, |rate| grouped(rate as u64));
        (figures(&format!("At {rate} requests a second (open loop)"), open.collect()))
    }
}

fn figures(caption: &str, all: Vec<(&Outcome, &Figures)>) -> Markup {
    let heads = [
        "target",
        "requests",
        "failed",
        "answers/s",
        "×",
        "mean",
        "×",
        "p50",
        "p99",
        "p99.9",
        "longest",
        "hits",
        "queries",
        "to Redis",
        "CPU µs",
        "Redis CPU µs",
        "MiB",
    ];
    html! {
        @if !all.is_empty() {
            div.wide {
                table {
                    caption { (caption) }
                    thead { tr { @for head in heads { th scope="col" { (head) } } } }
                    tbody {
                        @for (outcome, figures) in all { (row(outcome, figures)) }
                    }
                }
            }
        }
    }
}

fn row(outcome: &Outcome, figures: &Figures) -> Markup {
    let cost = &figures.cost;
    let time = |time: fn(&ResponseTimes) -> Option<String>| {
        figures.times.as_ref().and_then(time).unwrap_or_else(dash)
    };
    html! {
        tr {
            th scope="row" { (outcome.name) }
            td { (grouped(figures.requests)) }
            td { (grouped(figures.failed)) }
            td { (whole(figures.throughput)) }
            td { (ratio(figures.throughput_ratio)) }
            td { (time(|times| Some(exact(times.mean, 3)))) }
            td { (ratio(figures.speed_up)) }
            td { (time(|times| Some(exact(times.p50, 3)))) }
            td { (time(|times| Some(exact(times.p99, 3)))) }
            td { (time(|times| Some(format!("{:.3}", times.p999?)))) }
            td { (time(|times| Some(format!("{:.1}", times.longest)))) }
            td { (figures.hit_rate.map_or_else(dash, |rate| format!("{rate:.1}%"))) }
            td { (median(cost.queries, 3)) }
            td { (median(cost.redis_commands, 3)) }
            td { (cost.cpu_us.map_or_else(dash, whole)) }
            td { (cost.redis_cpu_us.map_or_else(dash, whole)) }
            td { (cost.memory_bytes.map_or_else(dash, |bytes| (bytes >> 20).to_string())) }
            td { (format!("{:.0}%", figures.clients_busy)) }
        }
    }
}

fn how_to_read() -> Markup {
    html! {
        details {
            summary { "How this was measured" }
            p {
                "Each target is a process of its own on this machine, with the same rows, and is sent the same \
                 requests. They take turns, in another order in each round and for each workload; so what slows \
                 the machine down slows all of them. Clients and servers share the machine: where the clients \
                 were at work for most of the time, they are what was measured, and what a request takes says \
                 more than the answers in a second."
            }
            p {
                "Closed loop: each connection sends the next request when the last is answered. Open loop: \
                 requests are due at times that do not wait for answers, at half of what the slowest target \
                 answers; one that is due while all connections wait is sent late, and has waited too. Before \
                 each measurement everything that will be asked for is read once, and then the target is \
                 asked for a while as in the closed loop; what comes of that is dropped. The workloads cold, \
                 stampede and warming begin with nothing cached instead."
            }
            p {
                "Queries and commands are the service's own counts, processor time and memory are what the \
                 operating system says of the processes. A dash: that cannot be seen from outside, or there \
                 are too few requests to tell."
            }
        }
    }
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(dash, |spread| exact(spread, 2))
}
