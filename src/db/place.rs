use std::fmt;
use std::str::FromStr;

/// Where in the log somebody has got to. As text it can be kept elsewhere: then what it knows of
/// transactions above its horizon is lost, and they are looked for anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Every change at a lower position is settled, and lies behind.
    pub(super) horizon: i64,
    /// Behind lies also what is below this, ...
    pub(super) next: i64,
    /// ... but for these.
    pub(super) open: Vec<i64>,
    pub(super) witness: Witness,
}

/// The newest row below a place's horizon. Position 0 stands for none, and the mark is the first row's
/// then: as long as that is there, nothing is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub(super) lineage: String,
    pub(super) position: i64,
    pub(super) mark: i64,
}

impl Place {
    /// Every change at a lower position lies behind.
    pub fn horizon(&self) -> i64 {
        self.horizon
    }

    /// Whether the database had got further at the other place, which it never had if they are of one
    /// history.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.horizon < other.horizon || self.next < other.next
    }

    /// What tells this log from another.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lineage,
            position,
            mark,
        } = self;
        write!(f, "{position} {mark} {lineage}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.horizon, self.witness)
    }
}

/// A text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.splitn(4, ' ');
        let mut part = || parts.next().ok_or(NoPlace);
        let mut number = || part()?.parse().map_err(|_| NoPlace);
        let (horizon, position, mark) = (number()?, number()?, number()?);
        Ok(Self {
            horizon,
            next: horizon,
            open: Vec::new(),
            witness: Witness {
                lineage: part()?.to_owned(),
                position,
                mark,
            },
        })
    }
}

/// The oldest open transaction, the next one, and those that are open: `10:20:10,14,15`.
pub(super) fn parse_snapshot(text: &str) -> Option<(i64, i64, Vec<i64>)> {
    let mut parts = text.splitn(3, ':');
    let oldest = parts.next()?.parse().ok()?;
    let next = parts.next()?.parse().ok()?;
    let open = parts.next()?.split(',').filter(|id| !id.is_empty());
    let open: Result<Vec<i64>, _> = open.map(str::parse).collect();
    Some((oldest, next, open.ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_is_read_back_as_it_was_written(
            horizon: i64,
            position: i64,
            mark: i64,
            lineage in "[0-9A-F.-]{0,40}",
        ) {
            let witness = Witness { lineage, position, mark };
            let place = Place { horizon, next: horizon, open: vec![], witness };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn any_text_is_a_place_or_none(text: String) {
            let _ = text.parse::<Place>();
        }

        #[test]
        fn a_snapshot_is_read(oldest: i64, next: i64, open: Vec<i64>) {
            let list: Vec<String> = open.iter().map(i64::to_string).collect();
            let text = format!("{oldest}:{next}:{}", list.join(","));
            prop_assert_eq!(parse_snapshot(&text), Some((oldest, next, open)));
        }
    }
}
