use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::Calling;
use super::input::{number, query};
use super::problem::Problem;
use super::respond::{absent, found};
use super::telemetry::Telemetry;
use crate::domain::{Calculation, Invalid, Validation};
use crate::service::Calculations;

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    config.service(telemetry.resource(
        "/calculations/expensive",
        [web::get().to(expensive), web::head().to(expensive)],
    ));
}

/// How many characters the text may have.
const MAX_TEXT: usize = 200;

/// The largest whole number that every reader of JSON keeps exactly (RFC 8259, 6).
const MAX_NUMBER: i64 = (1 << 53) - 1;

/// What is to be calculated.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CalculationQuery {
    /// A text.
    #[param(min_length = 1, max_length = 200, example = "kettle")]
    param1: String,
    /// A whole number.
    #[param(value_type = i64, minimum = -9_007_199_254_740_991_i64, maximum = 9_007_199_254_740_991_i64, example = 7)]
    param2: String,
}

impl CalculationQuery {
    fn parse(self) -> Result<(String, i64), Problem> {
        let param2 = number("param2", &self.param2)?;
        let mut check = Validation::default();
        let text = check.check("param1", text(self.param1));
        let number = check.check("param2", exact(param2));
        let input = check.finish(|| Some((text?, number?)));
        input.map_err(Problem::invalid)
    }
}

fn text(text: String) -> Result<String, Invalid> {
    if (1..=MAX_TEXT).contains(&text.chars().count()) {
        return Ok(text);
    }
    let reason = format!("must have from 1 to {MAX_TEXT} characters");
    Err(Invalid::because(reason))
}

fn exact(number: i64) -> Result<i64, Invalid> {
    if (-MAX_NUMBER..=MAX_NUMBER).contains(&number) {
        return Ok(number);
    }
    let reason = format!("must be from -{MAX_NUMBER} to {MAX_NUMBER}");
    Err(Invalid::because(reason))
}

/// Calculate something slowly
///
/// It takes a while (`calculation.duration`), once: whoever asks for the same meanwhile waits for the
/// same run, through any instance that shares a Redis, and whoever asks later is answered out of the
/// cache.
#[utoipa::path(get, path = "/calculations/expensive", tag = "calculations", params(CalculationQuery),
    responses((status = 200, description = "What it came to", body = Calculation)),
    security(("login" = [])))]
pub(super) async fn expensive(
    request: HttpRequest,
    mut calling: Calling,
    calculations: web::Data<Calculations>,
) -> Result<HttpResponse, Problem> {
    let mode = calling.mode().await;
    let read = async {
        let (param1, param2) = query::<CalculationQuery>(&request)?.parse()?;
        Ok(calculations.read_expensive(&param1, param2, mode).await?)
    };
    let read = calling.reads(mode, read).await?;
    match read.value {
        Some(document) => Ok(found(&request, document, read.source)),
        None => Err(absent("calculation", read.source)),
    }
}
