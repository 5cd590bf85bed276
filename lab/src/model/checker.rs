//! A small explicit-state model checker: it visits every state that a model can reach, breadth
//! first, so that the first violation it finds has one of the shortest traces.
//!
//! ```
//! use alacena_lab::model::checker::{Model, explore};
//!
//! /// Two jugs of three and five litres, of which neither must ever hold four.
//! struct Jugs;
//!
//! impl Model for Jugs {
//!     type State = String;
//!     type Label = &'static str;
//!
//!     fn initial(&self) -> String {
//!         "00".to_owned()
//!     }
//!
//!     fn steps(&self, state: &String) -> Vec<(&'static str, String)> {
//!         let [three, five] = [0, 1].map(|jug| state.as_bytes()[jug] - b'0');
//!         let (over, back) = (three.min(5 - five), five.min(3 - three));
//!         let next = [
//!             ("fill three", 3, five),
//!             ("fill five", three, 5),
//!             ("empty three", 0, five),
//!             ("empty five", three, 0),
//!             ("three into five", three - over, five + over),
//!             ("five into three", three + back, five - back),
//!         ];
//!         next.map(|(label, three, five)| (label, format!("{three}{five}")))
//!             .to_vec()
//!     }
//!
//!     fn check(&self, state: &String) -> Result<(), String> {
//!         match state.contains('4') {
//!             true => Err("four litres".to_owned()),
//!             false => Ok(()),
//!         }
//!     }
//! }
//!
//! let violation = explore(&Jugs).expect_err("it can be done");
//! assert_eq!(violation.trace.len(), 6);
//! ```

use std::collections::{HashSet, VecDeque};
use std::fmt::{self, Display, Formatter};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

/// What can be explored: states, the steps between them, and what must be true of each.
pub trait Model {
    /// All there is to know at one time. Two states that differ only in what can no longer matter
    /// should be equal: that is what keeps the exploration small.
    type State: Clone + Hash + Display;
    /// What a step is called in a trace.
    type Label: Display;

    /// Where everything begins.
    fn initial(&self) -> Self::State;

    /// Every step that can come next, always in the same order.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Label, Self::State)>;

    /// Whether the state is as it must be.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, state: &Self::State) -> Result<(), String>;
}

/// What an exploration without a violation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// How many steps the farthest of them is away.
    pub depth: usize,
}

/// A state that must not be, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// Each step that led there, and the state after it.
    pub trace: Vec<(String, String)>,
    /// How many different states were seen before it.
    pub states: usize,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        let width = self.trace.iter().map(|(step, _)| step.len()).max();
        let width = width.unwrap_or_default();
        for (number, (step, state)) in self.trace.iter().enumerate() {
            writeln!(f, "{:>3}. {step:<width$}  {state}", number + 1)?;
        }
        Ok(())
    }
}

/// How a state was first reached: from which one, by which of its steps.
struct Reached {
    from: u32,
    step: u16,
}

/// Visits every state of the model.
///
/// Visited states are remembered by a fingerprint of 64 bits: among ten million of them, the odds
/// that any two share one are below one in a hundred thousand.
///
/// # Errors
/// The first violation found.
///
/// # Panics
/// If there are more than 2³² states.
pub fn explore<M: Model>(model: &M) -> Result<Explored, Violation> {
    let hasher = BuildHasherDefault::<DefaultHasher>::new();
    let mut visited = HashSet::new();
    let mut reached: Vec<Reached> = Vec::new();
    let mut frontier = VecDeque::new();
    let mut depth = 0;

    let initial = model.initial();
    visited.insert(hasher.hash_one(&initial));
    reached.push(Reached { from: 0, step: 0 });
    frontier.push_back((0, 0, initial));
    while let Some((number, distance, state)) = frontier.pop_front() {
        depth = distance;
        if let Err(what) = model.check(&state) {
            return Err(Violation {
                what,
                trace: retrace(model, &reached, number),
                states: visited.len(),
            });
        }
        for (step, (_, next)) in (0..).zip(model.steps(&state)) {
            if visited.insert(hasher.hash_one(&next)) {
                let next_number = u32::try_from(reached.len()).expect("fewer states than 2^32");
                reached.push(Reached { from: number, step });
                frontier.push_back((next_number, distance + 1, next));
            }
        }
    }
    Ok(Explored {
        states: visited.len(),
        depth,
    })
}

/// Walks the way to a state once more. Only how it was reached was kept.
fn retrace<M: Model>(model: &M, reached: &[Reached], number: u32) -> Vec<(String, String)> {
    let mut way = Vec::new();
    let mut at = number;
    while at != 0 {
        let Reached { from, step } = reached[at as usize];
        way.push(step);
        at = from;
    }
    let mut state = model.initial();
    let walk = way.into_iter().rev().map(|step| {
        let (label, next) = model.steps(&state).swap_remove(usize::from(step));
        state = next;
        (label.to_string(), state.to_string())
    });
    walk.collect()
}
