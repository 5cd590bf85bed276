//! The history as a file: CSV, compressed with gzip.
//!
//! `docs/freshness.md` tells what the columns mean.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::schedule::Played;
use crate::history::fleet::{History, Instance, Moment, Outcome};
use crate::traffic::{Failed, Thing};

/// Writes all that was seen, times in microseconds since the run's start, rounded to the outside.
pub(super) fn write(
    path: &Path,
    history: &History<Thing, u32>,
    failed: &[Failed],
    played: &Played,
) -> io::Result<()> {
    let file = GzEncoder::new(File::create(path)?, Compression::fast());
    // In front of the compressor, for which each call is dear.
    let mut file = BufWriter::with_capacity(1 << 16, file);
    writeln!(
        file,
        "what,register,value,instance,position,began_us,ended_us"
    )?;
    for act in &played.acts {
        let (began, ended) = span(act.began, act.mended);
        writeln!(file, "fault,{},,,,{began},{ended}", act.fault)?;
    }
    for absence in &played.absences {
        let (began, ended) = span(absence.from, absence.to);
        writeln!(file, "absent,,,{},,{began},{ended}", absence.instance.0)?;
    }
    for Failed {
        instance: Instance(instance),
        began,
        ended,
        ..
    } in failed
    {
        let (began, ended) = span(*began, *ended);
        writeln!(file, "failed,,,{instance},,{began},{ended}")?;
    }
    for (thing, write) in history.all_writes() {
        let (began, ended) = span(write.began, write.ended);
        let (value, Instance(instance)) = (write.value, write.instance);
        match write.outcome {
            Outcome::Initial => writeln!(file, "initial,{thing},{value},,,{began},{ended}")?,
            Outcome::Acknowledged(position) => {
                writeln!(
                    file,
                    "write,{thing},{value},{instance},{position},{began},{ended}"
                )?;
            }
            Outcome::Unknown => {
                writeln!(file, "unknown,{thing},{value},{instance},,{began},{ended}")?;
            }
        }
    }
    for (thing, read) in history.all_reads() {
        let (began, ended) = span(read.began, read.ended);
        let (value, Instance(instance)) = (read.value, read.instance);
        match read.position {
            Some(sent) => writeln!(
                file,
                "read,{thing},{value},{instance},{sent},{began},{ended}"
            )?,
            None => writeln!(file, "read,{thing},{value},{instance},,{began},{ended}")?,
        }
    }
    file.into_inner()?.finish()?.sync_all()
}

fn span(began: Moment, ended: Moment) -> (u64, u64) {
    (began.0 / 1000, ended.0.div_ceil(1000))
}
