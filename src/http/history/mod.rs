//! What reads were like over the last day: as figures, and as a picture.

mod chart;

use std::ops::RangeInclusive;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, http::header};
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use self::chart::{Chart, Theme};
use super::caller::Admin;
use super::input::{number, query};
use super::problem::{Kind, Problem};
use super::telemetry::Telemetry;
use crate::cache::{Cache, Extremes, Minute, ReadHistory, Reads, Timestamp};
use crate::domain::{Invalid, Validation};

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource("/cache/history", [web::get().to(history)]));
    config.service(telemetry.resource("/cache/history.svg", [web::get().to(picture)]));
}

/// Reads by where their answers came from.
#[derive(Serialize, ToSchema)]
struct Counts {
    #[schema(example = 1600)]
    reads: u64,
    /// Those that the cache answered, in percent; null without reads.
    #[schema(example = 93.75)]
    hit_rate: Option<f64>,
    /// Answered by this process's memory.
    #[schema(example = 1500)]
    near: u64,
    /// Answered by Redis.
    far: u64,
    /// Answered by either past the entry's time, the database being away.
    late: u64,
    /// Answered by the database.
    #[schema(example = 100)]
    loaded: u64,
}

impl From<Reads> for Counts {
    fn from(reads: Reads) -> Self {
        let Reads {
            near,
            far,
            late,
            loaded,
        } = reads;
        Self {
            reads: reads.total(),
            hit_rate: reads.hit_rate(),
            near,
            far,
            late,
            loaded,
        }
    }
}

/// A minute's hit rate.
#[derive(Serialize, ToSchema)]
struct Rate {
    /// In percent.
    #[schema(example = 99.5)]
    hit_rate: f64,
    /// When the minute began.
    #[schema(example = "2026-01-01T12:00:00Z")]
    at: String,
}

impl Rate {
    fn of(minute: Minute) -> Option<Self> {
        Some(Self {
            hit_rate: minute.reads.hit_rate()?,
            at: time(minute.at),
        })
    }
}

/// A minute's reads.
#[derive(Serialize, ToSchema)]
struct Busiest {
    #[schema(example = 1600)]
    reads: u64,
    /// When the minute began.
    #[schema(example = "2026-01-01T12:00:00Z")]
    at: String,
}

/// Minutes together. Their hit rate is the average: each minute weighs as much as was read in it.
#[derive(Serialize, ToSchema)]
struct Summary {
    #[serde(flatten)]
    counts: Counts,
    /// The minute with the highest hit rate, among those in which something was read.
    peak: Option<Rate>,
    /// The one with the lowest.
    lowest: Option<Rate>,
    /// The minute in which most was read.
    busiest: Option<Busiest>,
}

impl Summary {
    fn of(minutes: &[Minute]) -> Self {
        let mut reads = Reads::default();
        for minute in minutes {
            reads += minute.reads;
        }
        let Extremes {
            peak,
            lowest,
            busiest,
        } = Extremes::of(minutes);
        Self {
            counts: reads.into(),
            peak: peak.and_then(Rate::of),
            lowest: lowest.and_then(Rate::of),
            busiest: busiest.map(|minute| Busiest {
                reads: minute.reads.total(),
                at: time(minute.at),
            }),
        }
    }
}

/// What was read of one kind of key.
#[derive(Serialize, ToSchema)]
struct KindSummary {
    #[schema(example = "user")]
    kind: String,
    #[serde(flatten)]
    summary: Summary,
}

/// A minute of the clock.
#[derive(Serialize, ToSchema)]
struct MinuteCounts {
    /// When it began.
    #[schema(example = "2026-01-01T12:00:00Z")]
    at: String,
    #[serde(flatten)]
    counts: Counts,
    /// Whether it is over: the last one runs.
    is_complete: bool,
}

/// What this service has read, minute by minute.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// The configured backend.
    #[schema(example = "memory")]
    backend: &'static str,
    /// When the first minute began.
    #[schema(example = "2026-01-01T12:00:00Z")]
    from: String,
    /// Now.
    #[schema(example = "2026-01-01T12:34:56Z")]
    until: String,
    #[schema(example = 60)]
    interval_seconds: u64,
    #[serde(flatten)]
    summary: Summary,
    /// The same for each kind of key.
    kinds: Vec<KindSummary>,
    /// The oldest first. No minute is older than the service. They are those of its own clock, which
    /// was the wall clock's when it started, and has not been set since.
    minutes: Vec<MinuteCounts>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// How many minutes, the running one among them.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1440, default = 1440, example = 60)]
    minutes: Option<String>,
    /// Only reads of this kind of key. Of one that was never read, there are none.
    kind: Option<String>,
}

/// Reads over time
///
/// Counts of this service's own reads for each minute of up to a day, by where their answers came
/// from, for all and for each kind of key. They begin with the service.
#[utoipa::path(get, path = "/cache/history", tag = "cache", params(HistoryQuery),
    responses((status = 200, description = "The figures", body = History)),
    security(("login" = [])))]
pub(super) async fn history(
    request: HttpRequest,
    _admin: Admin,
    cache: web::Data<Cache>,
    history: web::Data<ReadHistory>,
) -> Result<HttpResponse, Problem> {
    let HistoryQuery { minutes, kind } = query(&request)?;
    let minutes = whole("minutes", minutes, MOST_MINUTES)?;
    let mut check = Validation::default();
    let minutes = check.check("minutes", within(minutes, 1..=MOST_MINUTES));
    let minutes = check.finish(|| minutes).map_err(Problem::invalid)?;
    let (mut window, mut kinds) = history.by_kind(minutes as usize);
    if let Some(name) = kind {
        // Not read yet may mean not read since a restart: whoever asks regularly is not refused then.
        let known = kinds.into_iter().find(|(known, _)| *known == name);
        let unread = |minute: &Minute| Minute {
            reads: Reads::default(),
            ..*minute
        };
        window.minutes = match known {
            Some((_, minutes)) => minutes,
            None => window.minutes.iter().map(unread).collect(),
        };
        kinds = vec![(name, window.minutes.clone())];
    }
    let kinds = kinds.into_iter();
    let minutes = window.minutes.iter();
    let answer = History {
        backend: cache.backend_name(),
        from: window
            .minutes
            .first()
            .map_or_else(String::new, |first| time(first.at)),
        until: time(window.until),
        interval_seconds: 60,
        summary: Summary::of(&window.minutes),
        kinds: kinds
            .map(|(kind, minutes)| KindSummary {
                kind,
                summary: Summary::of(&minutes),
            })
            .collect(),
        minutes: minutes
            .map(|minute| MinuteCounts {
                at: time(minute.at),
                counts: minute.reads.into(),
                is_complete: minute.is_complete,
            })
            .collect(),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(answer))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PictureQuery {
    /// How many minutes, the running one last.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1440, default = 1440, example = 60)]
    minutes: Option<String>,
    /// In pixels.
    #[param(value_type = Option<i64>, minimum = 320, maximum = 1600, default = 900, example = 900)]
    width: Option<String>,
    /// Whether it is for a light or a dark page.
    #[param(schema_with = theme_names)]
    theme: Option<String>,
}

/// The first is the usual one.
const THEMES: [(&str, Theme); 2] = [("light", Theme::LIGHT), ("dark", Theme::DARK)];

fn theme_names() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(THEMES.map(|(name, _)| name)))
        .default(Some(THEMES[0].0.into()))
        .build()
}

const MOST_MINUTES: i64 = ReadHistory::MINUTES as i64;
const WIDTHS: RangeInclusive<i64> = 320..=1600;
const DEFAULT_WIDTH: i64 = 900;

/// Reads over time, drawn
///
/// The hit rate, how much of it each tier has, and the reads of each minute.
#[utoipa::path(get, path = "/cache/history.svg", tag = "cache", params(PictureQuery),
    responses((status = 200, description = "The picture", body = String, content_type = "image/svg+xml",
               example = "<svg …/>")),
    security(("login" = [])))]
pub(super) async fn picture(
    request: HttpRequest,
    _admin: Admin,
    history: web::Data<ReadHistory>,
) -> Result<HttpResponse, Problem> {
    let PictureQuery {
        minutes,
        width,
        theme,
    } = query(&request)?;
    let minutes = whole("minutes", minutes, MOST_MINUTES)?;
    let width = whole("width", width, DEFAULT_WIDTH)?;
    let mut check = Validation::default();
    let minutes = check.check("minutes", within(minutes, 1..=MOST_MINUTES));
    let width = check.check("width", within(width, WIDTHS));
    let theme = check.check("theme", theme_of(theme.as_deref()));
    let input = check.finish(|| Some((minutes? as usize, width? as u32, theme?)));
    let (minutes, width, theme) = input.map_err(Problem::invalid)?;
    let window = history.window(minutes);
    // A day takes a while to draw, and others wait for this thread.
    let drawn = web::block(move || {
        let chart = Chart {
            window: &window,
            minutes,
            width,
            theme,
        };
        chart.svg()
    });
    let drawn = drawn.await.map_err(|error| error.to_string());
    let svg = drawn.and_then(|drawn| drawn).map_err(|why| {
        log::error!("a picture could not be drawn: {why}");
        Problem::of(Kind::Internal)
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, mime::IMAGE_SVG))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(svg))
}

/// The number that a parameter is, or else the usual one.
fn whole(name: &str, text: Option<String>, otherwise: i64) -> Result<i64, Problem> {
    text.map_or(Ok(otherwise), |text| number(name, &text))
}

fn within(number: i64, range: RangeInclusive<i64>) -> Result<i64, Invalid> {
    if range.contains(&number) {
        return Ok(number);
    }
    let reason = format!("must be from {} to {}", range.start(), range.end());
    Err(Invalid::because(reason))
}

fn theme_of(name: Option<&str>) -> Result<Theme, Invalid> {
    let name = name.unwrap_or(THEMES[0].0);
    let theme = THEMES.into_iter().find(|(known, _)| *known == name);
    let refusal = || Invalid::because("must be `light` or `dark`");
    theme.map(|(_, theme)| theme).ok_or_else(refusal)
}

/// As RFC 3339 has it.
fn time(at: Timestamp) -> String {
    i64::try_from(at.millis())
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}
