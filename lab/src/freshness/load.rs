//! What readers and writers do all day.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::traffic::{Clients, HOT, Leaver, Notes, Record, Stage, Thing, Visitor, Whom, Work};

/// Rows of each table that are asked for rarely.
const COLD: usize = 250;
/// All rows of a table.
pub(super) const ROWS: usize = HOT + COLD;

/// How many products a writer lets live at once.
const LEAVERS: usize = 2;

/// How often a writer looks at what it has just written.
const LOOKS: usize = 4;

/// How long a client rests after a failure: an instance that was killed is not there at once.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Clients at work.
pub(super) struct Load {
    clients: Clients,
    notes: Vec<Notes>,
}

impl Load {
    /// Lets readers and writers at the stage, until it is over.
    pub(super) fn start(
        stage: &Arc<Stage>,
        readers: usize,
        writers: usize,
        rest: Duration,
    ) -> Result<Self> {
        let (mut works, mut notes) = (Vec::<Work>::new(), Vec::new());
        let mut visitor = || {
            let visitor = Visitor::new(Arc::clone(stage), AFTER_FAILURE);
            notes.push(visitor.notes.clone());
            visitor
        };
        for _ in 0..readers {
            works.push(Box::pin(read(visitor())));
        }
        for number in 0..writers {
            works.push(Box::pin(Writer::new(visitor(), number).write(rest)));
        }
        Ok(Self {
            clients: Clients::start(works)?,
            notes,
        })
    }

    /// What they saw, once the stage is over. Blocks.
    pub(super) fn finish(self) -> Result<Vec<Record>> {
        self.clients.finish()?;
        Ok(self.notes.iter().map(Notes::take).collect())
    }
}

fn hot() -> u32 {
    fastrand::u32(..HOT as u32)
}

fn cold() -> u32 {
    HOT as u32 + fastrand::u32(..COLD as u32)
}

async fn read(mut visitor: Visitor) {
    while !visitor.stage.is_over() {
        let whom = Whom::any();
        // Whatever fails is noted.
        match fastrand::u8(..100) {
            0..42 => drop(visitor.look_at(Thing::User(hot()), whom).await),
            42..80 => drop(visitor.look_at(Thing::Product(hot()), whom).await),
            80..84 => drop(visitor.look_at(Thing::User(cold()), whom).await),
            84..88 => drop(visitor.look_at(Thing::Product(cold()), whom).await),
            88..90 => drop(visitor.look_at_page(true, whom).await),
            90..92 => drop(visitor.look_at_page(false, whom).await),
            92..95 => {
                let writer = fastrand::usize(..visitor.stage.newcomers.len());
                visitor.look_for_newcomer(writer, whom).await;
            }
            95..99 => {
                let leaver = visitor.stage.any_leaver();
                if let Some(leaver) = leaver {
                    let _ = visitor.look_for_leaver(&leaver, whom).await;
                }
            }
            _ => drop(visitor.look_past_the_end().await),
        }
    }
}

struct Writer {
    visitor: Visitor,
    number: usize,
    leavers: VecDeque<Arc<Leaver>>,
}

impl Writer {
    fn new(visitor: Visitor, number: usize) -> Self {
        Self {
            visitor,
            number,
            leavers: VecDeque::new(),
        }
    }

    async fn write(mut self, rest: Duration) {
        while !self.visitor.stage.is_over() {
            match fastrand::u8(..100) {
                0..35 => self.rename(Thing::User(hot())).await,
                35..60 => self.rename(Thing::Product(hot())).await,
                60..66 => self.rename(Thing::User(cold())).await,
                66..72 => self.rename(Thing::Product(cold())).await,
                72..82 => self.bring_a_newcomer().await,
                _ if self.leavers.len() < LEAVERS => self.make_a_leaver().await,
                _ => self.remove_a_leaver().await,
            }
            tokio::time::sleep(rest.mul_f64(fastrand::f64())).await;
        }
    }

    async fn rename(&mut self, thing: Thing) {
        if self.visitor.rename(thing).await.is_err() {
            return;
        }
        let is_user = matches!(thing, Thing::User(_));
        for _ in 0..LOOKS {
            let whom = Whom::any();
            let _ = match fastrand::u8(..4) {
                0 => self.visitor.look_at_page(is_user, whom).await,
                _ => self.visitor.look_at(thing, whom).await,
            };
        }
    }

    async fn bring_a_newcomer(&mut self) {
        if let Some(Ok(_)) = self.visitor.bring_newcomer(self.number).await {
            for _ in 0..LOOKS {
                let whom = Whom::any();
                self.visitor.look_for_newcomer(self.number, whom).await;
            }
        }
        self.visitor.announce_newcomer(self.number);
    }

    async fn make_a_leaver(&mut self) {
        let _ = self.visitor.look_past_the_end().await;
        if let (_, Some(leaver)) = self.visitor.make_leaver().await {
            self.leavers.push_back(Arc::clone(&leaver));
            self.look_for(&leaver).await;
        }
    }

    async fn remove_a_leaver(&mut self) {
        let Some(leaver) = self.leavers.pop_front() else {
            return;
        };
        if self.visitor.remove_leaver(&leaver).await.is_ok() {
            self.look_for(&leaver).await;
        }
        let mut leavers = self.visitor.stage.leavers();
        leavers.retain(|other| other.id != leaver.id);
    }

    async fn look_for(&mut self, leaver: &Leaver) {
        for _ in 0..LOOKS {
            let _ = self.visitor.look_for_leaver(leaver, Whom::any()).await;
        }
    }
}
