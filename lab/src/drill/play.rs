//! One scenario, from its beginning to its end.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use super::live::Live;
use super::load::{LastLook, Load, warm_up};
use super::options::Options;
use super::outcome::{Evidence, Played, SideOutcome, Span};
use super::scenario::Scenario;
use super::scene::{Scene, Side};
use super::watch::Watch;
use crate::traffic::Clock;

/// How long all may take to be well again where speed is ignored.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays a scenario, measures and judges it.
pub(super) async fn play(
    options: &Options,
    scenario: &Scenario,
) -> Result<(Played, Vec<SideOutcome>)> {
    let mut scene = Scene::set(options, scenario, Clock::start()).await?;
    let played = play_on(&mut scene, options, scenario).await;
    for side in &scene.sides {
        let tidied = side.tidy().await;
        if let Err(error) = tidied.context("removing the rows that were made") {
            eprintln!("{scenario}: {}: {error:#}", side.name);
        }
    }
    played
}

async fn play_on(
    scene: &mut Scene,
    options: &Options,
    scenario: &Scenario,
) -> Result<(Played, Vec<SideOutcome>)> {
    for side in &scene.sides {
        warm_up(&side.stage).await?;
    }
    if scenario.needs_old_data() {
        scene.keep()?;
    }
    let clock = scene.sides[0].stage.clock;
    // The load's own beginning is the beginning of all times.
    let began = clock.now();
    let load = Load::start(&scene.sides, options)?;
    let live = Live::start(scenario, &scene.sides, load.notes());
    let spans = direct(scene, scenario, clock, &live).await;
    live.phase("after");
    sleep(scenario.after).await;
    let ended = clock.now();
    load.end(ended);
    let records = block_in_place(|| load.finish())?;
    drop(live);
    let played = Played {
        began,
        spans: spans?,
        ended,
    };
    if options.ignore_speed {
        // Whoever is not is told so.
        let _ = timeout(PATIENCE, scene.are_well()).await;
    }
    let mut outcomes = Vec::new();
    for (side, mut records) in scene.sides.iter_mut().zip(records) {
        side.check()?;
        let courses = side.watches.iter().map(Watch::course).collect();
        let LastLook {
            record,
            truth_from,
            is_complete,
        } = LastLook::at(&side.stage).await;
        records.push(record);
        let evidence = Evidence {
            stage: &side.stage,
            samples: side.samples.all().clone(),
            records,
            courses,
            truth_from,
            is_complete,
        };
        outcomes.push(SideOutcome::of(side.name, evidence, scenario, &played)?);
    }
    judge(&mut outcomes, &scene.sides, scenario, options.ignore_speed);
    Ok((played, outcomes))
}

/// Breaks and mends, and tells when.
async fn direct(
    scene: &mut Scene,
    scenario: &Scenario,
    clock: Clock,
    live: &Live,
) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    if !scenario.from_the_start {
        live.phase("before");
        sleep(scenario.before).await;
    }
    for time in 0..scenario.times {
        if time > 0 {
            live.phase("between");
            sleep(scenario.between).await;
        }
        live.phase("broken");
        let broken = clock.now();
        if !scenario.from_the_start {
            scene.act(&scenario.breaks).await?;
        }
        sleep(scenario.lasts).await;
        scene.act(&scenario.mend).await?;
        let mended = clock.now();
        spans.push(Span { broken, mended });
    }
    Ok(spans)
}

fn judge(outcomes: &mut [SideOutcome], sides: &[Side], scenario: &Scenario, ignore_speed: bool) {
    let reference = sides.iter().position(Side::is_reference);
    let reference = reference.map(|index| outcomes[index].clone());
    for outcome in outcomes {
        if let Some(reference) = &reference {
            outcome.compare(reference);
        }
        outcome.hold_against(scenario, ignore_speed);
    }
}
