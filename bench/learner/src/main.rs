//! One training, by regimen or by burn-train, with all that people have around one: a bar, logs of every
//! step, a checkpoint of every epoch.
//!
//! `learner regimen|burn-train EPOCHS OUT [DATA]` trains into the folder OUT on the MNIST files in the folder
//! DATA, or on images that it makes up. Its last line has the seconds of an epoch, the seconds of
//! the processors in it, the most MiB that were in memory, and the last accuracy of an evaluation.
#![forbid(unsafe_code)]

mod by_burn_train;
mod by_regimen;
mod cost;
mod data;

use std::path::Path;

use regimen::BoxError;

use cost::Cost;
use data::Images;

/// Images of a batch.
const BATCH: usize = 64;
const LEARNING_RATE: f64 = 1e-3;
const SEED: u64 = 7;

fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (who, epochs, out, data) = match args[..] {
        [who, epochs, out] => (who, epochs, out, None),
        [who, epochs, out, data] => (who, epochs, out, Some(data)),
        _ => return Err("usage: learner regimen|burn-train EPOCHS OUT [DATA]".into()),
    };
    let train = match who {
        "regimen" => by_regimen::train,
        "burn-train" => by_burn_train::train,
        _ => return Err(format!("there is no trainer `{who}`: write regimen or burn-train").into()),
    };
    let (epochs, images) = (epochs.parse()?, Images::new(data.map(Path::new))?);
    let begun = Cost::now()?;
    let accuracy = train(images, epochs, Path::new(out))?;
    let cost = Cost::now()?.since(&begun);
    let epochs = epochs as f64;
    println!("{} {} {} {accuracy}", cost.wall / epochs, cost.processors / epochs, cost::peak_mib()?);
    Ok(())
}
