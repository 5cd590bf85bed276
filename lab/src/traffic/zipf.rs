//! Which rows are asked for how often.

/// How much rarer a row is asked for than the one before it: the n-th is asked for as often as the
/// first, divided by n to this power.
const SKEW: f64 = 0.99;

/// Zipf's law, over so many rows: a few of them get most of the requests.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// How likely it is that a row is this one or one before it.
    up_to: Vec<f64>,
}

impl Zipf {
    /// Over so many rows.
    pub(crate) fn over(rows: usize) -> Self {
        let weights = (1..=rows).map(|rank| (rank as f64).powf(-SKEW));
        let sums: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let all = sums.last().copied().unwrap_or(1.0);
        Self {
            up_to: sums.into_iter().map(|sum| sum / all).collect(),
        }
    }

    /// The row that so much luck, from 0 to 1, leads to; they count from 0.
    pub(crate) fn row(&self, luck: f64) -> usize {
        let row = self.up_to.partition_point(|&sum| sum <= luck);
        row.min(self.up_to.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_rows_are_asked_for_most() {
        let zipf = Zipf::over(100);
        let all: f64 = (1..=100).map(|rank| f64::from(rank).powf(-SKEW)).sum();
        let mut luck = fastrand::Rng::with_seed(7);
        let draws = 20_000;
        let first = (0..draws).filter(|_| zipf.row(luck.f64()) == 0).count();
        let share = first as f64 / f64::from(draws);
        assert!((share - 1.0 / all).abs() < 0.02, "{share}");
    }

    proptest! {
        #[test]
        fn every_luck_leads_to_a_row(rows in 1_usize..500, luck in 0.0..=1.0) {
            prop_assert!(Zipf::over(rows).row(luck) < rows);
        }
    }
}
