//! Checkpoints to which every rank writes are whole: infinite weights, arrays of one name, shares without arrays, the best.

use std::sync::Arc;

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::Every;
use regimen::checkpoint::{Checkpointer, Checkpoints, SaveStats, SimDisk, Snapshot, Store, Writer};
use regimen::data::Rank;
use regimen::engine::{Engine, Part};
use regimen::peers::Peers;
use regimen::run::{Evaluate, Train};
use regimen::saved::{AppState, Array, Parts, StateDict, Stateful};
use regimen::unit::TrainUnit;
use regimen::{AutoUnit, BoxError, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyLinear, ToyOptimizer, ToyVars, manual_seed};

use super::{DISK, ROWS, fit, loader, on, pieces, rank_of, run_with, saved, unit};

/// A model of which each rank has a share of the weights.
struct Model {
    rank: Rank,
    /// The name of the array in the share.
    own: String,
    weight: f64,
}

impl TrainUnit for Model {
    type Batch = f64;

    fn train_step(&mut self, _: &mut State, batch: f64) -> Result<(), BoxError> {
        self.weight += batch;
        Ok(())
    }
}

impl AppState for Model {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("shares", &mut Share { rank: self.rank, own: &self.own, weight: self.weight })?;
        // Its file comes before the pieces, and the part after the one in pieces.
        parts.part("shares-2", &mut Weights(&mut self.weight))
    }
}

/// Weights with a mask of infinity.
fn masked(weight: f64) -> Array {
    Array::from_slice(&[f64::NEG_INFINITY, weight])
}

struct Weights<'m>(&'m mut f64);

impl Stateful for Weights<'_> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("masked", masked(*self.0))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        *self.0 = dict.array("masked")?.to_vec::<f64>()?[1];
        Ok(())
    }

    fn is_weights(&self) -> bool {
        true
    }
}

struct Share<'m> {
    rank: Rank,
    own: &'m str,
    weight: f64,
}

impl Stateful for Share<'_> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert(format!("of.{}", self.own), masked(self.weight))?;
        dict.insert("ranks.share", Array::from_slice(&[self.rank.index, self.rank.count]))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        dict.array(&format!("of.{}", self.own)).map(drop)
    }

    fn is_of_rank(&self, name: &str) -> bool {
        name.starts_with("of.")
    }

    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        let mut own = StateDict::new();
        let is_own = |name: &str| name == format!("of.{}", rank.index);
        for (name, array) in saved.iter().flat_map(StateDict::iter).filter(|(name, _)| is_own(name)) {
            own.insert(name, array.clone())?;
        }
        own.insert("ranks.share", Array::from_slice(&[rank.index, rank.count]))?;
        Ok(own)
    }

    fn is_weights(&self) -> bool {
        true
    }
}

fn saver(disk: &SimDisk) -> Checkpointer {
    Checkpointer::new(DISK).every(Every::steps(1)).store(Arc::new(disk.clone())).every_rank_writes()
}

/// Trains two ranks on `batches`, from the latest checkpoint if there is one. Returns how each ended.
fn train(
    disk: &SimDisk,
    own: fn(u64) -> String,
    batches: fn(u64) -> [f64; 2],
) -> Vec<(Result<(), String>, SaveStats)> {
    let ended = on(2, |peers| {
        let rank = peers.as_ref().map(|peers| peers.rank()).unwrap_or_default();
        let mut model = Model { rank, own: own(rank.index), weight: 0.5 };
        let saver = saver(disk);
        let stats = saver.stats();
        let mut run = Run::new(&mut model).saver(saver).peers(peers.unwrap());
        let restored = run.restore_latest().map(drop);
        let ended = restored.and_then(|()| run.train(&batches(rank.index)[..], Train::steps(2)).map(drop));
        Ok((ended.map_err(|error| format!("{error:#}")), stats))
    });
    ended.into_iter().map(Result::unwrap).collect()
}

fn steps(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(DISK.as_ref()).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("step-") || name.starts_with('.')).collect()
}

#[test]
fn infinity_in_weights_is_saved_by_every_rank_as_by_one() {
    let disk = SimDisk::new();
    for saves in [[2, 0], [0, 0]] {
        let ended = train(&disk, |rank| rank.to_string(), |_| [1.0, 1.0]);
        for ((ended, stats), saves) in ended.into_iter().zip(saves) {
            assert_eq!((ended, stats.saved()), (Ok(()), saves));
        }
        assert_eq!(steps(&disk), ["step-000000001", "step-000000002"]);
    }
}

#[test]
fn weights_with_nan_on_one_rank_are_not_saved() {
    let disk = SimDisk::new();
    let ended = train(&disk, |rank| rank.to_string(), |rank| [1.0, if rank == 1 { f64::NAN } else { 1.0 }]);
    for (ended, _) in ended {
        let error = ended.unwrap_err();
        assert!(error.contains("the weights are not finite: `shares-2/masked`"), "{error}");
    }
    assert_eq!(steps(&disk), ["step-000000001"]);
}

#[test]
fn two_shares_with_an_array_of_one_name_are_not_saved() {
    let disk = SimDisk::new();
    for (ended, _) in train(&disk, |_| "all".to_owned(), |_| [1.0, 1.0]) {
        let error = ended.unwrap_err();
        let text = "the part `shares` is in shares, and two of them have an array `of.all`";
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(steps(&disk), Vec::<String>::new());
}

#[test]
fn pieces_with_an_array_of_one_name_are_damage() {
    let disk = SimDisk::new();
    train(&disk, |rank| rank.to_string(), |_| [1.0, 1.0]).into_iter().for_each(|(ended, _)| ended.unwrap());
    let newest = saved(&disk);
    let mut parts = newest.content;
    parts.remove("shares").unwrap();
    for n in 1..=2 {
        let mut dict = StateDict::new();
        dict.insert("of.1", masked(1.0)).unwrap();
        parts.insert(format!("shares@{n:05}-of-00002"), dict);
    }
    let store: Arc<dyn Store> = Arc::new(disk.clone());
    let mut writer = Writer::open_on(Arc::clone(&store), DISK, &*newest.checkpoint.manifest().run).unwrap();
    let twice = writer.save(&Snapshot { step: 3, parts, ..Snapshot::default() }).unwrap();
    let text = "cannot read `/run/step-000000003/shares@00002-of-00002.safetensors`: ";
    for error in [twice.verify().unwrap_err(), twice.read_all().unwrap_err()] {
        assert!(error.to_string().starts_with(text), "{error}");
    }
    let checkpoints = Checkpoints::on(store, DISK);
    assert_eq!(checkpoints.list().unwrap().checkpoints[0].manifest().step, 3);
    let restored = on(2, |peers| {
        let rank = peers.as_ref().map(|peers| peers.rank()).unwrap_or_default();
        let mut model = Model { rank, own: rank.index.to_string(), weight: 0.5 };
        let mut run = Run::new(&mut model).saver(saver(&disk)).peers(peers.unwrap());
        let restored = run.restore_latest()?;
        Ok(restored.map(|restored| (restored.step, restored.skipped.len())))
    });
    assert_eq!(restored, [Ok(Some((2, 1))), Ok(Some((2, 1)))]);
}

#[test]
fn a_rank_without_the_setting_is_found_at_the_first_save() {
    for without in 0..2 {
        let disk = SimDisk::new();
        let ended = on(2, |peers| {
            let rank = rank_of(&peers);
            let mut unit = unit(rank, true);
            let saver = pieces::saver(Arc::new(disk.clone()), rank != without);
            run_with(peers, &mut unit, saver).train(&loader(ROWS), Train::steps(7)).map(drop)?;
            Ok(())
        });
        let has = |rank| if rank == without { "does not keep" } else { "keeps" };
        let text = format!(
            "state failed in train at epoch 0 step 3: the part `optimizer` is in shares: rank 1 {} its own, and rank 0 {}; \
             give `Checkpointer::every_rank_writes` on all ranks or on none",
            has(1),
            has(0)
        );
        assert_eq!(ended, [Err(text.clone()), Err(text)]);
        assert_eq!(steps(&disk), Vec::<String>::new());
    }
}

/// Two parameters.
struct Line(ToyLinear);

struct Fixpoint;

impl Task<ToyEngine<Line>> for Fixpoint {
    type Batch = ToyArray;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        Line(line): &Line,
        x: &ToyArray,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(line.forward(x).mean_squared_error(x), 1.0), ()))
    }
}

#[test]
fn a_rank_without_arrays_saves_a_pass_after_a_restore() {
    let disk = SimDisk::new();
    let ended = on(3, |peers| {
        let unit = || {
            manual_seed(7);
            let mut vars = ToyVars::new();
            let line = Line(ToyLinear::new(&mut vars, "line", 1, 1));
            let engine = ToyEngine::new(vars, line, ToyOptimizer::adam_w(0.01));
            AutoUnit::new(engine, Fixpoint).learning_rate(1e-2).shard_optimizer(true)
        };
        let peers: Arc<dyn Peers> = peers.unwrap();
        let data = vec![ToyArray::new(&[1, 1], &[0.5]); 6];
        let mut trained = unit();
        let mut run = Run::new(&mut trained).saver(saver(&disk)).peers(peers.clone());
        run.train(&data[..], Train::steps(2))?;
        drop(run);

        let mut restored = unit();
        let mut run = Run::new(&mut restored).saver(saver(&disk)).peers(peers);
        run.restore_latest()?;
        run.evaluate(&data[..], Evaluate::steps(2).resume("test"))?;
        drop(run);
        let of = |unit: &AutoUnit<ToyEngine<Line>, Fixpoint>| unit.engine().state(Part::Optimizer);
        assert_eq!(of(&trained)?, of(&restored)?);
        Ok(of(&trained)?.is_empty())
    });
    assert_eq!(ended, [Ok(false), Ok(false), Ok(true)]);
    assert_eq!(steps(&disk), ["step-000000001", "step-000000002-2"]);
    assert_eq!(saved(&disk).checkpoint.manifest().parts.len(), 6);
}

#[test]
fn the_best_in_pieces_is_put_back_at_the_end() {
    let states = |every_rank_writes| {
        let disk = SimDisk::new();
        let ended = on(3, |peers| {
            let rank = rank_of(&peers);
            let mut unit = unit(rank, true);
            let saver = Checkpointer::new(DISK).store(Arc::new(disk.clone()));
            // The worst, so that it is not the state of the end.
            let saver = saver.keep_max(1, EVAL_LOSS).keep_last(1).restore_best_at_end();
            let saver = if every_rank_writes { saver.every_rank_writes() } else { saver };
            let mut run = Run::new(&mut unit).seed(42).saver(saver).peers(peers.unwrap());
            fit(&mut run)?;
            drop(run);
            Ok((unit.engine().state(Part::Module)?, unit.engine().state(Part::Optimizer)?))
        });
        assert_eq!(steps(&disk).len(), 2);
        ended.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert!(states(true) == states(false));
}
