//! What targets are asked for.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::options::Extent;
use crate::traffic::Zipf;

/// Users on a page of a list.
const PAGE: u32 = 20;

/// Something to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// A user by id, each as often as any other
    Uniform,
    /// A user by id, a few of them most of the time
    Zipf,
    /// A page of twenty users, the first ones most of the time
    List,
    /// A user by e-mail address, a few of them most of the time
    Email,
    /// Like zipf, and now and then a user is renamed
    Mixed,
    /// Each user once, with nothing cached
    Cold,
    /// A crowd that asks for the same user at the same time, who is not cached
    Stampede,
    /// Like mixed, from when nothing is cached, over time
    Warming,
}

impl Workload {
    /// In the order in which they are put to targets.
    pub(super) const ALL: [Self; 8] = [
        Self::Uniform,
        Self::Zipf,
        Self::List,
        Self::Email,
        Self::Mixed,
        Self::Cold,
        Self::Stampede,
        Self::Warming,
    ];

    /// As the command line calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::List => "list",
            Self::Email => "email",
            Self::Mixed => "mixed",
            Self::Cold => "cold",
            Self::Stampede => "stampede",
            Self::Warming => "warming",
        }
    }

    /// What it is, in a few words.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Uniform => "a user by id, each as often as any other",
            Self::Zipf => "a user by id, a few of them most of the time (Zipf's law, 0.99)",
            Self::List => "a page of twenty users, the first ones most of the time",
            Self::Email => "a user by e-mail address, a few of them most of the time",
            Self::Mixed => "users by id as in zipf, and now and then one is renamed",
            Self::Cold => "each user once by id, with nothing cached",
            Self::Stampede => "a crowd asks for one user at the same time, who is not cached",
            Self::Warming => "as mixed, from when nothing is cached",
        }
    }

    /// Whether targets are asked as fast as they answer.
    pub(super) fn has_closed_loop(self) -> bool {
        self != Self::Warming
    }

    /// Whether they are asked for a time, so that answers in a second mean something.
    pub(super) fn is_timed(self) -> bool {
        self.has_closed_loop() && self != Self::Stampede
    }

    /// Whether targets are asked at a rate.
    pub(super) fn has_open_loop(self) -> bool {
        self != Self::Stampede
    }

    /// What is to be cached before it begins: the request, of as many as there are rows, that this row
    /// stands for.
    pub(super) fn all(self, row: u32) -> Option<Ask> {
        match self {
            Self::List => row.is_multiple_of(PAGE).then_some(Ask::Page(row / PAGE)),
            Self::Email => Some(Ask::ByEmail(row)),
            _ => Some(Ask::User(row)),
        }
    }

    /// Whether nothing is cached when a measurement begins.
    pub(super) fn begins_empty(self) -> bool {
        matches!(self, Self::Cold | Self::Stampede | Self::Warming)
    }
}

/// A request, of one of a target's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    User(u32),
    ByEmail(u32),
    Page(u32),
    Rename(u32, u32),
}

impl Ask {
    /// Whether its answer comes out of a cache, or may.
    pub(super) fn is_read(self) -> bool {
        !matches!(self, Self::Rename(..))
    }
}

/// Chooses requests.
#[derive(Clone, Debug)]
pub(super) struct Choice(Arc<Odds>);

#[derive(Debug)]
struct Odds {
    rows: u32,
    popular: Zipf,
    pages: Zipf,
    writes_percent: u8,
    seed: u64,
}

impl Choice {
    pub(super) fn new(extent: &Extent) -> Self {
        Self(Arc::new(Odds {
            rows: extent.rows,
            popular: Zipf::over(extent.rows as usize),
            pages: Zipf::over((extent.rows / PAGE) as usize),
            writes_percent: extent.writes_percent,
            seed: extent.seed,
        }))
    }

    /// Requests of a workload. The same round and lane give the same ones, whoever is asked.
    pub(super) fn stream(&self, workload: Workload, round: usize, lane: usize) -> Stream {
        Stream {
            workload,
            odds: Arc::clone(&self.0),
            luck: fastrand::Rng::with_seed(self.seed(&[workload as usize, round, lane])),
        }
    }

    /// When they are due.
    pub(super) fn gaps(&self, workload: Workload, round: usize, rate: f64) -> Gaps {
        Gaps::new(rate, self.seed(&[workload as usize, round]))
    }

    /// In which order so many targets have their turns in a round.
    pub(super) fn turns(&self, workload: Workload, round: usize, targets: usize) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..targets).collect();
        let seed = self.seed(&[workload as usize, round]);
        fastrand::Rng::with_seed(seed).shuffle(&mut turns);
        turns
    }

    /// A seed for each of these.
    fn seed(&self, parts: &[usize]) -> u64 {
        parts.iter().fold(self.0.seed, |seed, &part| {
            fastrand::Rng::with_seed(seed ^ part as u64).u64(..)
        })
    }

    /// Every row, in some order.
    pub(super) fn every_row(&self, round: usize) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.0.rows).collect();
        fastrand::Rng::with_seed(self.seed(&[round])).shuffle(&mut rows);
        rows
    }
}

/// Requests without end.
pub(super) struct Stream {
    workload: Workload,
    odds: Arc<Odds>,
    luck: fastrand::Rng,
}

impl Iterator for Stream {
    type Item = Ask;

    fn next(&mut self) -> Option<Ask> {
        Some(self.ask())
    }
}

impl Stream {
    /// The next one.
    pub(super) fn ask(&mut self) -> Ask {
        match self.workload {
            Workload::Uniform | Workload::Cold => Ask::User(self.luck.u32(..self.odds.rows)),
            Workload::Zipf | Workload::Stampede => Ask::User(self.popular()),
            Workload::List => Ask::Page(self.odds.pages.row(self.luck.f64()) as u32),
            Workload::Email => Ask::ByEmail(self.popular()),
            Workload::Mixed | Workload::Warming => {
                let is_write = self.luck.u8(..100) < self.odds.writes_percent;
                let row = self.popular();
                if is_write {
                    Ask::Rename(row, self.luck.u32(..))
                } else {
                    Ask::User(row)
                }
            }
        }
    }

    fn popular(&mut self) -> u32 {
        self.odds.popular.row(self.luck.f64()) as u32
    }
}

/// How long after one request the next is due: as if those who ask knew nothing of each other.
pub(super) struct Gaps {
    rate: f64,
    luck: fastrand::Rng,
}

impl Gaps {
    /// So that so many are due in a second.
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Self {
            rate,
            luck: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.luck.f64()).ln() / self.rate)
    }
}

/// A user of a target.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) email: String,
}

/// What stands in each request to a target.
#[derive(Debug)]
pub(super) struct Script {
    rows: Arc<[Row]>,
    /// The lines that all requests have.
    head: String,
}

impl Script {
    pub(super) fn new(rows: Arc<[Row]>, host: &str, authorization: &str) -> Self {
        Self {
            rows,
            head: format!("Host: {host}\r\nAuthorization: {authorization}\r\n"),
        }
    }

    fn row(&self, index: u32) -> &Row {
        &self.rows[index as usize % self.rows.len()]
    }

    /// Writes a request, as it is sent.
    pub(super) fn write(&self, ask: Ask, request: &mut Vec<u8>) {
        request.clear();
        let head = &self.head;
        // Writing to memory does not fail.
        let _ = match ask {
            Ask::User(row) => write!(
                request,
                "GET /users/{} HTTP/1.1\r\n{head}\r\n",
                self.row(row).id
            ),
            Ask::ByEmail(row) => write!(
                request,
                "GET /users/by-email/{} HTTP/1.1\r\n{head}\r\n",
                utf8_percent_encode(&self.row(row).email, NON_ALPHANUMERIC)
            ),
            Ask::Page(page) => write!(
                request,
                "GET /users?skip={}&limit={PAGE} HTTP/1.1\r\n{head}\r\n",
                page * PAGE
            ),
            Ask::Rename(row, name) => {
                let body = format!("{{\"full_name\":\"Ana {name}\"}}");
                write!(
                    request,
                    "PATCH /users/{} HTTP/1.1\r\n{head}Content-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    self.row(row).id,
                    body.len()
                )
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice() -> Choice {
        Choice::new(&Extent {
            rows: 200,
            rounds: 1,
            slice_seconds: 1.0,
            warm_up_seconds: 0.0,
            connections: 1,
            crowd: 2,
            stampedes: 1,
            writes_percent: 20,
            seed: 7,
        })
    }

    fn some(workload: Workload, round: usize, lane: usize) -> Vec<Ask> {
        let stream = choice().stream(workload, round, lane);
        stream.take(2000).collect()
    }

    #[test]
    fn the_same_round_asks_everybody_for_the_same() {
        for workload in Workload::ALL {
            assert_eq!(some(workload, 3, 1), some(workload, 3, 1));
            assert_ne!(some(workload, 3, 1), some(workload, 3, 2), "{workload:?}");
            assert_ne!(some(workload, 3, 1), some(workload, 4, 1), "{workload:?}");
        }
    }

    #[test]
    fn everybody_has_a_turn_and_nobody_always_the_same_one() {
        let turns = |round| choice().turns(Workload::Zipf, round, 4);
        let mut firsts: Vec<usize> = (0..40).map(|round| turns(round)[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts, [0, 1, 2, 3]);
        for round in 0..40 {
            let mut turns = turns(round);
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn as_many_requests_are_writes_as_were_asked_for() {
        let asks = some(Workload::Mixed, 0, 0);
        let writes = asks.iter().filter(|ask| !ask.is_read()).count();
        assert!((300..500).contains(&writes), "{writes}");
        assert!(some(Workload::Zipf, 0, 0).iter().all(|ask| ask.is_read()));
    }

    #[test]
    fn a_cold_start_asks_for_each_row_once() {
        let mut rows = choice().every_row(0);
        assert_ne!(rows, choice().every_row(1));
        rows.sort_unstable();
        assert_eq!(rows, (0..200).collect::<Vec<u32>>());
    }

    #[test]
    fn as_much_is_due_as_was_asked_for() {
        let mut gaps = Gaps::new(50.0, 1);
        let time: Duration = (0..20_000).map(|_| gaps.next()).sum();
        let seconds = time.as_secs_f64();
        assert!((seconds - 400.0).abs() < 40.0, "{seconds}");
    }

    #[test]
    fn requests_are_what_a_server_reads() {
        let row = Row {
            id: 7,
            email: "a+b@example.com".to_owned(),
        };
        let script = Script::new(Arc::new([row]), "here:80", "Bearer token");
        let written = |ask| {
            let mut request = b"what was there before".to_vec();
            script.write(ask, &mut request);
            String::from_utf8(request).expect("text")
        };
        let head = "HTTP/1.1\r\nHost: here:80\r\nAuthorization: Bearer token\r\n";
        assert_eq!(written(Ask::User(0)), format!("GET /users/7 {head}\r\n"));
        assert_eq!(
            written(Ask::ByEmail(0)),
            format!("GET /users/by-email/a%2Bb%40example%2Ecom {head}\r\n")
        );
        assert_eq!(
            written(Ask::Page(2)),
            format!("GET /users?skip=40&limit=20 {head}\r\n")
        );
        let rename = written(Ask::Rename(0, 12));
        assert!(rename.contains("Content-Length: 22\r\n"), "{rename}");
        assert!(
            rename.ends_with("\r\n\r\n{\"full_name\":\"Ana 12\"}"),
            "{rename}"
        );
    }
}
