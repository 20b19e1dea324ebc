//! Ranks that are killed: the others go on in place, or a restart loop does.

mod job;
mod rank;

pub(crate) use rank::rank;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use regimen::BoxError;
use regimen::random::Random;

use self::job::{Blow, Ended, LAUNCHER, told};
use self::rank::{BATCHES, EPOCHS, Training};
use crate::tally::Tally;

/// The most that the loss of a rank may cost in place. A restart costs the start of a job and the steps since the checkpoint.
const LONGEST: Duration = Duration::from_secs(15);

/// Relative difference of evaluation losses: rounding of sums over other numbers of ranks.
const TOLERANCE: f64 = 1e-13;

/// Starts of one job by the restart loop.
const STARTS: usize = 8;

/// One way in which ranks are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    One,
    Two,
    InSave,
    Stopped,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::One, Kind::Two, Kind::InSave, Kind::Stopped];

    fn name(self) -> &'static str {
        match self {
            Kind::One => "one killed",
            Kind::Two => "two killed, one after the other",
            Kind::InSave => "one killed during a save",
            Kind::Stopped => "one stopped (SIGSTOP)",
        }
    }
}

/// The undisturbed run.
struct Reference {
    losses: BTreeMap<u64, f64>,
    end: String,
    log: BTreeSet<String>,
    took: Duration,
    trained: Duration,
}

/// The sums of the cases of one kind.
#[derive(Default)]
struct Row {
    cases: u64,
    in_place: u64,
    costs: Vec<Duration>,
    missing: usize,
    largest: f64,
}

/// Kills ranks in `n` runs of `ranks`. With `is_elastic` the others go on in place, and otherwise a loop starts the
/// run again.
pub(crate) fn elastic(ranks: u64, n: u64, is_elastic: bool, seed: u64) -> Result<Tally, BoxError> {
    let mut tally = Tally::new(if is_elastic { "elastic" } else { "restarts" }, n);
    if env::var_os(LAUNCHER).is_none() {
        return Ok(tally.not_run("there is no Open MPI: `cargo xtask torture` installs it"));
    }
    let mut references = Vec::new();
    for accumulate in [1, 2] {
        references.push(reference(ranks, accumulate)?);
    }
    let mut random = Random::new(seed);
    let mut rows = BTreeMap::<Kind, Row>::new();
    let (mut done, mut in_place) = (0, 0);
    while done < n {
        let kind = match random.below(10) {
            7 => Kind::Two,
            8 => Kind::InSave,
            9 if is_elastic => Kind::Stopped,
            _ => Kind::One,
        };
        let accumulate = 1 + random.below(2);
        let reference = &references[accumulate as usize - 1];
        let dir = Path::new("elastic").join(format!("{done}"));
        let _ = fs::remove_dir_all(&dir);
        // Ranks with shares of the optimizer cannot go on in place.
        let in_pieces = !is_elastic && done % 2 == 1;
        let training = Training { dir: dir.clone(), accumulate, every: 8, in_pieces };
        let blows = blows(kind, ranks, reference.trained, &mut random);
        let ended = run(&training, ranks, is_elastic, &blows)?;
        if ended.struck == 0 {
            // It was over before.
            continue;
        }
        done += 1;
        let row = rows.entry(kind).or_default();
        row.cases += 1;
        let what = format!("{}, accumulate {accumulate}, in pieces: {in_pieces}, {blows:?}", kind.name());
        let outcome = check(&training, &ended, reference, is_elastic, row);
        let restored =
            told(&ended.lines, "notice").any(|(_, text)| text.contains(" go on from the checkpoint "));
        if outcome.is_ok() && is_elastic && !restored {
            row.in_place += 1;
            in_place += 1;
        }
        let notices: Vec<&str> = told(&ended.lines, "notice").map(|(_, text)| text).collect();
        if outcome.is_ok() {
            fs::remove_dir_all(&dir)?;
        }
        tally.count(outcome.map_err(|why| {
            format!("{}: {why}; {what}; {notices:?}; {}", dir.display(), ended.errors.trim())
        }));
    }
    if is_elastic {
        let enough = 10 * in_place >= 9 * n;
        tally.note(if enough { Ok(()) } else { Err(format!("only {in_place} of {n} went on in place")) });
    }
    show(&rows, is_elastic);
    let each = if is_elastic { format!("{in_place} went on in place, ") } else { String::new() };
    tally.detail = each;
    Ok(tally)
}

fn blows(kind: Kind, ranks: u64, trained: Duration, random: &mut Random) -> Vec<Blow> {
    let first = random.below(ranks);
    let after = Duration::from_micros(random.below(trained.as_micros() as u64 * 9 / 10));
    let signal = if kind == Kind::Stopped { "STOP" } else { "KILL" };
    let mut blows = vec![Blow { rank: first, after, in_save: kind == Kind::InSave, signal }];
    if kind == Kind::Two {
        let second = (first + 1 + random.below(ranks - 1)) % ranks;
        let after = Duration::from_micros(random.below(400_000));
        blows.push(Blow { rank: second, after, in_save: false, signal });
    }
    blows
}

/// Runs it to its end.
fn run(training: &Training, ranks: u64, is_elastic: bool, blows: &[Blow]) -> Result<Ended, BoxError> {
    let mut all = training.run(ranks, is_elastic, blows)?;
    if is_elastic || all.struck == 0 {
        return Ok(all);
    }
    // `until mpirun ...; do :; done`
    for _ in 1..STARTS {
        if all.status.is_none_or(|status| status.success()) {
            break;
        }
        let next = training.run(ranks, false, &[])?;
        all.status = next.status;
        all.took += next.took;
        all.lines.extend(next.lines);
        all.errors += &next.errors;
    }
    Ok(all)
}

fn reference(ranks: u64, accumulate: u64) -> Result<Reference, BoxError> {
    let dir = Path::new("elastic").join(format!("reference-{accumulate}"));
    let _ = fs::remove_dir_all(&dir);
    let training = Training { dir, accumulate, every: 8, in_pieces: false };
    let ended = training.run(ranks, false, &[])?;
    if ended.status.is_none_or(|status| !status.success()) {
        return Err(format!("an undisturbed job failed: {:?} {}", ended.status, ended.errors).into());
    }
    let losses = losses(&ended);
    let end = told(&ended.lines, "end").next().map(|(_, end)| end.to_owned()).unwrap_or_default();
    if losses.len() as u64 != EPOCHS || !end.starts_with(&format!("{} ", EPOCHS * BATCHES)) {
        return Err(format!("an undisturbed job has the losses {losses:?} and the end {end}").into());
    }
    let log = moments(&training)?.into_keys().collect();
    Ok(Reference { losses, end, log, took: ended.took, trained: ended.trained })
}

fn losses(ended: &Ended) -> BTreeMap<u64, f64> {
    let losses = told(&ended.lines, "eval").filter_map(|(_, rest)| {
        let (epoch, loss) = rest.split_once(' ')?;
        Some((epoch.parse().ok()?, loss.parse().ok()?))
    });
    losses.collect()
}

/// The losses of evaluations in the log, which a restart goes on with.
fn logged_losses(training: &Training) -> Result<BTreeMap<u64, f64>, BoxError> {
    let mut losses = BTreeMap::new();
    for line in fs::read_to_string(training.log())?.lines() {
        if let [_, "eval", "eval/loss", loss, epoch] = line.split(',').collect::<Vec<_>>()[..] {
            losses.insert(epoch.parse()?, loss.parse()?);
        }
    }
    Ok(losses)
}

/// The records of the log without their values, and how often each is there.
fn moments(training: &Training) -> Result<BTreeMap<String, usize>, BoxError> {
    let mut moments = BTreeMap::new();
    for line in fs::read_to_string(training.log())?.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [step, phase, name, _, epoch] = fields[..] else {
            return Err(format!("the log has the line `{line}`").into());
        };
        *moments.entry(format!("{step},{phase},{name},{epoch}")).or_default() += 1;
    }
    Ok(moments)
}

/// Compares the run with the undisturbed one.
fn check(
    training: &Training,
    ended: &Ended,
    reference: &Reference,
    is_elastic: bool,
    row: &mut Row,
) -> Result<(), String> {
    match ended.status {
        None => return Err("the job hangs".into()),
        Some(status) if !status.success() => return Err(format!("the job ended with {status}")),
        Some(_) => {}
    }
    let ends: Vec<(&str, &str)> = told(&ended.lines, "end").collect();
    if ends.is_empty() || ends.iter().any(|(_, end)| *end != reference.end) {
        return Err(format!("the ranks end with {ends:?}, and undisturbed ones with {}", reference.end));
    }
    let mut all = logged_losses(training).map_err(|error| error.to_string())?;
    // The line of an evaluation may be lost with the first rank; the others know its loss.
    all.extend(losses(ended));
    if !all.keys().eq(reference.losses.keys()) {
        return Err(format!("there are the evaluations {:?}", all.keys()));
    }
    for (epoch, expected) in &reference.losses {
        let difference = (all[epoch] - expected).abs() / expected.abs();
        row.largest = row.largest.max(difference);
        if difference.is_nan() || difference > TOLERANCE {
            return Err(format!("the loss of evaluation {epoch} is {}, and not {expected}", all[epoch]));
        }
    }
    let moments = moments(training).map_err(|error| error.to_string())?;
    if let Some((moment, count)) = moments.iter().find(|(_, count)| **count != 1) {
        return Err(format!("`{moment}` is in the log {count} times"));
    }
    if let Some(unknown) = moments.keys().find(|moment| !reference.log.contains(*moment)) {
        return Err(format!("`{unknown}` is in the log"));
    }
    // A first rank that is killed between a step and its line takes that line with it.
    let missing: BTreeSet<(&str, bool)> = reference
        .log
        .iter()
        .filter(|moment| !moments.contains_key(*moment))
        .map(|moment| (moment.split(',').next().unwrap_or_default(), moment.ends_with(',')))
        .collect();
    row.missing += missing.len();
    if missing.len() > ended.struck {
        return Err(format!("the log lacks the moments {missing:?}"));
    }
    // Of a loss in place, until the others go on; of a restart, all that the job takes longer.
    let restart = ended.took.saturating_sub(reference.took);
    let cost = if is_elastic { ended.lost } else { restart };
    row.costs.push(cost);
    if is_elastic && cost > LONGEST {
        return Err(format!("the loss costs {:.1} s", cost.as_secs_f64()));
    }
    Ok(())
}

fn show(rows: &BTreeMap<Kind, Row>, is_elastic: bool) {
    let in_place = if is_elastic { " in place |" } else { "" };
    println!(
        "| ranks lost | runs |{in_place} cost, median and most | lines lost with rank 0 | loss, relative |"
    );
    println!("|---|---|{}---|---|---|", if is_elastic { "---|" } else { "" });
    for kind in Kind::ALL {
        let Some(Row { cases, in_place, costs, missing, largest }) = rows.get(&kind) else { continue };
        let mut costs: Vec<f64> = costs.iter().map(Duration::as_secs_f64).collect();
        costs.sort_by(f64::total_cmp);
        let median = costs.get(costs.len() / 2).copied().unwrap_or_default();
        let most = costs.last().copied().unwrap_or_default();
        let in_place = if is_elastic { format!(" {in_place} |") } else { String::new() };
        println!(
            "| {} | {cases} |{in_place} {median:.1} s, {most:.1} s | {missing} | {largest:.0e} |",
            kind.name()
        );
    }
}
