//! Cells of the matrix: pauses, loaders and trouble of a run.

use std::fmt;

use super::Trouble;
use super::fit::CALLS;
use super::trouble::Fault;

/// Workers and prefetched batches of the loaders.
const LOADERS: [(usize, usize); 4] = [(0, 0), (0, 4), (2, 0), (2, 4)];

/// One variant of the run: its parts, each of which runs in a separate process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The parts in order; only the last runs to the end.
    pub legs: Vec<Leg>,
}

/// One part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Number of steps, including evaluation steps, from the beginning of the run to the pause.
    /// `None` for the last part, which runs to the end.
    pub stop: Option<u64>,
    /// Loader threads.
    pub workers: usize,
    /// Batches prefetched if there are workers.
    pub prefetch: usize,
    /// Ranks, which are threads of the process. 0 for a run without peers.
    pub ranks: u64,
    /// Additional trouble.
    pub trouble: Trouble,
}

impl Leg {
    /// Returns `true` if the batches are such that ranks can share them.
    pub(super) fn is_shared(&self) -> bool {
        self.ranks > 0 || self.trouble == Trouble::AnyRanks
    }
}

impl Cell {
    /// The run without a pause.
    pub fn in_one_piece() -> Cell {
        Cell::new(&[], |_| 0)
    }

    /// A pause after every step of training and evaluation. The kinds of loaders alternate, with
    /// and without a change at the pause.
    pub fn each_stop() -> Vec<Cell> {
        stops().map(|stop| Cell::new(&[stop], |leg| stop as usize + leg * (stop as usize / 4 % 4))).collect()
    }

    /// The full matrix: no pause, with every kind of loader; a pause after every step, with every
    /// kind of loader and with a change of kind; and two pauses one step apart.
    pub fn all() -> Vec<Cell> {
        let mut cells: Vec<Cell> = (0..LOADERS.len()).map(|loader| Cell::new(&[], |_| loader)).collect();
        for stop in stops() {
            cells.extend((0..LOADERS.len()).map(|loader| Cell::new(&[stop], |_| loader)));
            // Two entries further is a loader with another number of workers.
            cells.push(Cell::new(&[stop], |leg| stop as usize + 2 * leg));
        }
        cells.extend(stops().skip(1).map(|stop| Cell::new(&[stop - 1, stop], |leg| stop as usize + leg)));
        cells
    }

    /// Some pauses, with manual passes over other data before and after.
    pub fn by_hand() -> Vec<Cell> {
        stops().step_by(5).map(|stop| Cell::new(&[stop], |leg| leg).with(|_| Trouble::ByHand)).collect()
    }

    /// Errors and panics in steps, at each place in turn. The run continues in the same process, or
    /// from the last checkpoint in another.
    pub fn faults() -> Vec<Cell> {
        let fault = |n: usize, panics| Fault { at: 1 + n as u64 * 5 % 56, place: n % 4, panics };
        let each = (0..16).flat_map(|n| [false, true].map(|panics| fault(n, panics)));
        each.flat_map(|fault| {
            let goes_on = Cell::new(&[], |_| fault.place).with(|_| Trouble::Fails(fault));
            // By then there is a checkpoint.
            let later = Fault { at: 26 + fault.at % 28, ..fault };
            let stopped = move |leg| if leg == 0 { Trouble::FailsAndEnds(later) } else { Trouble::None };
            [goes_on, Cell::new(&[CALLS], |_| fault.place).with(stopped)]
        })
        .collect()
    }

    /// Pauses in the first epoch. In the first part the end of the data would end it, in the second
    /// the cap does.
    pub fn caps() -> Vec<Cell> {
        let uncapped = |leg| if leg == 0 { Trouble::Uncapped } else { Trouble::None };
        (1..=7).map(|stop| Cell::new(&[stop], |_| 0).with(uncapped)).collect()
    }

    /// Early stopping in the evaluation at the last step of an epoch. A pause or an error comes
    /// before that step, after it, or at each step of the evaluation.
    pub fn final_stops() -> Vec<Cell> {
        let whole = Cell::new(&[], |_| 0).with(|_| Trouble::EndsEarly);
        let pauses = (40..45).map(|stop| Cell::new(&[stop], |_| 0).with(|_| Trouble::EndsEarly));
        let errors = (40..=46).map(|at| Cell::new(&[], |_| 0).with(|_| Trouble::EndsEarlyAndFails(at)));
        std::iter::once(whole).chain(pauses).chain(errors).collect()
    }

    /// Some pauses, with a prediction that is paused with the run, continued in the next process,
    /// and requested once more.
    pub fn predictions() -> Vec<Cell> {
        stops().step_by(20).map(|stop| Cell::new(&[stop], |_| 0).with(|_| Trouble::Predicts)).collect()
    }

    /// A pause after every step, of 4 ranks and of 1, 2 or 3 in turn. The run goes on with as many.
    pub fn ranks() -> Vec<Cell> {
        let cell = |ranks, stop| Cell::new(&[stop], |leg| stop as usize + leg).on(|_| ranks);
        stops().flat_map(|stop| [cell(4, stop), cell(1 + stop % 3, stop)]).collect()
    }

    /// The run on each number of ranks, and a pause after every step, after which it goes on with another number:
    /// none without peers to 4, in every combination.
    pub fn any_ranks() -> Vec<Cell> {
        let whole = (1..=4).map(|ranks| Cell::new(&[], |_| 0).on(|_| ranks));
        let paused = stops().map(|stop| {
            let change = 1 + stop / 5 % 4;
            Cell::new(&[stop], |leg| stop as usize + leg).on(|leg| (stop + leg as u64 * change) % 5)
        });
        whole.chain(paused).map(|cell| cell.with(|_| Trouble::AnyRanks)).collect()
    }

    /// The same cell on `ranks` for each part.
    fn on(mut self, ranks: impl Fn(usize) -> u64) -> Cell {
        self.legs.iter_mut().enumerate().for_each(|(n, leg)| leg.ranks = ranks(n));
        self
    }

    /// The same cell with `trouble` for each part.
    fn with(mut self, trouble: impl Fn(usize) -> Trouble) -> Cell {
        self.legs.iter_mut().enumerate().for_each(|(n, leg)| leg.trouble = trouble(n));
        self
    }

    /// The uninterrupted run that this one must equal.
    pub(super) fn whole(&self) -> Cell {
        let has = |kind: fn(Trouble) -> bool| self.legs.iter().any(|leg| kind(leg.trouble));
        if has(Trouble::ends_early) {
            Cell::in_one_piece().with(|_| Trouble::EndsEarly)
        } else if has(|trouble| trouble == Trouble::AnyRanks) {
            Cell::in_one_piece().with(|_| Trouble::AnyRanks)
        } else {
            Cell::in_one_piece().on(|_| self.legs.first().map_or(0, |leg| leg.ranks))
        }
    }

    /// Creates a cell with pauses after `stops`. `loader` returns each part's index into [`LOADERS`].
    fn new(stops: &[u64], loader: impl Fn(usize) -> usize) -> Cell {
        let stops = stops.iter().copied().map(Some).chain([None]);
        let leg = |(n, stop)| {
            let (workers, prefetch) = LOADERS[loader(n) % LOADERS.len()];
            Leg { stop, workers, prefetch, ranks: 0, trouble: Trouble::None }
        };
        Cell { legs: stops.enumerate().map(leg).collect() }
    }
}

/// All steps but the last, after which there is nothing to pause.
fn stops() -> impl Iterator<Item = u64> {
    1..CALLS
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Leg { stop, workers, prefetch, ranks, trouble } in &self.legs {
            if *ranks > 0 {
                write!(f, "ranks: {ranks}, ")?;
            }
            write!(f, "{workers} workers, {prefetch} ahead")?;
            if *trouble != Trouble::None {
                write!(f, ", {trouble}")?;
            }
            if let Some(stop) = stop {
                write!(f, ", paused after step {stop}; then ")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cells_are_all_that_is_promised() {
        let cells = Cell::all();
        let count = |what: &dyn Fn(&[Leg]) -> bool| cells.iter().filter(|cell| what(&cell.legs)).count();
        let same = |legs: &[Leg]| legs.iter().all(|leg| leg.workers == legs[0].workers);
        assert_eq!(count(&|legs| legs.len() == 1), 4);
        assert_eq!(count(&|legs| legs.len() == 2 && same(legs)), 86 * 4);
        assert_eq!(count(&|legs| legs.len() == 2 && !same(legs)), 86);
        assert_eq!(count(&|legs| legs.len() == 3), 85);
        assert!(cells.iter().enumerate().all(|(n, cell)| !cells[..n].contains(cell)));
    }

    #[test]
    fn every_pair_of_numbers_of_ranks_is_among_the_changes() {
        let cells = Cell::any_ranks();
        let changes = cells.iter().filter(|cell| cell.legs.len() == 2);
        let mut pairs: Vec<_> = changes.map(|cell| (cell.legs[0].ranks, cell.legs[1].ranks)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let expected =
            (0..5).flat_map(|from| (0..5).map(move |to| (from, to))).filter(|(from, to)| from != to);
        assert_eq!(pairs, expected.collect::<Vec<_>>());
    }

    #[test]
    fn each_stop_comes_once_and_every_pair_of_loaders_is_among_them() {
        let cells = Cell::each_stop();
        let stops: Vec<_> = cells.iter().map(|cell| cell.legs[0].stop.unwrap()).collect();
        assert_eq!(stops, (1..CALLS).collect::<Vec<_>>());
        let loaders =
            |cell: &Cell| -> Vec<_> { cell.legs.iter().map(|leg| (leg.workers, leg.prefetch)).collect() };
        let mut pairs: Vec<_> = cells.iter().map(loaders).collect();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), 16);
    }
}
