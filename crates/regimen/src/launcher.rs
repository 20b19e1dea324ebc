//! The rank of this process, as a launcher sets it in the environment.
//!
//! `torchrun` and other launchers start one process per device, and set `RANK`, `WORLD_SIZE` and `LOCAL_RANK`
//! in each. A process that was started without a launcher is the only one.
//!
//! A rank gives a process its share of the data. Gradients and metrics are exchanged only by
//! [`Run::peers`](crate::Run::peers), with `init` of the crate `regimen-dist`.
//!
//! ```
//! use regimen::launcher::{local_rank, rank};
//!
//! # fn example<U>(run: regimen::Run<'_, U>) -> Result<regimen::Run<'_, U>, regimen::BoxError> {
//! let device = format!("cuda:{}", local_rank()?); // for the `device` of an engine crate
//! let run = run.rank(rank()?); // its share of the data, and callbacks for one rank on the first
//! # drop(device);
//! # Ok(run)
//! # }
//! ```

use std::env;

use regimen_core::BoxError;
use regimen_core::data::Rank;

/// The rank of this process among all: `RANK` of `WORLD_SIZE`. The only one if neither is set.
///
/// It is an error if only one of them is set, if either is not a whole number, or if the rank is not below
/// the world size.
pub fn rank() -> Result<Rank, BoxError> {
    Environment(read).rank()
}

/// The number of this process on its machine, which is that of its device: `LOCAL_RANK`. 0 for the only
/// process.
///
/// It is an error if it is not set for one of several processes, if it is not a whole number, or if it is not
/// below the world size. Errors of [`rank`] are errors here too.
pub fn local_rank() -> Result<u64, BoxError> {
    Environment(read).local_rank()
}

fn read(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Variables by name.
struct Environment<F>(F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    fn rank(&self) -> Result<Rank, BoxError> {
        match (self.number("RANK")?, self.number("WORLD_SIZE")?) {
            (None, None) => Ok(Rank::default()),
            (Some(index), Some(count)) if index < count => Ok(Rank { index, count }),
            (Some(index), Some(count)) => {
                Err(format!("`RANK` is {index}, and must be below `WORLD_SIZE`, which is {count}").into())
            }
            (Some(_), None) => Err(half("RANK", "WORLD_SIZE")),
            (None, Some(_)) => Err(half("WORLD_SIZE", "RANK")),
        }
    }

    fn local_rank(&self) -> Result<u64, BoxError> {
        let count = self.rank()?.count;
        match self.number("LOCAL_RANK")? {
            Some(local) if local < count => Ok(local),
            Some(local) => {
                let all = format!("below `WORLD_SIZE`, which is {count}");
                Err(format!("`LOCAL_RANK` is {local}, and must be {all}").into())
            }
            None if count == 1 => Ok(0),
            None => Err(format!(
                "`WORLD_SIZE` is {count}, and `LOCAL_RANK` is not set: processes on one machine would share a \
                 device; start them with a launcher that sets it, such as torchrun"
            )
            .into()),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, BoxError> {
        let Some(value) = (self.0)(name) else { return Ok(None) };
        let number =
            value.parse().map_err(|_| format!("`{name}` is {value:?}, and must be a whole number"))?;
        Ok(Some(number))
    }
}

fn half(set: &str, missing: &str) -> BoxError {
    format!("`{set}` is set and `{missing}` is not: a launcher sets both; unset `{set}` for a single process")
        .into()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The rank and the local rank, or the error of each, in an environment such as `RANK=1 WORLD_SIZE=2`.
    fn found(environment: &str) -> (String, String) {
        let get = |name: &str| {
            let mut variables = environment.split(' ').filter_map(|variable| variable.split_once('='));
            variables.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        let rank = match Environment(get).rank() {
            Ok(Rank { index, count }) => format!("{index} of {count}"),
            Err(error) => error.to_string(),
        };
        let local = Environment(get).local_rank();
        (rank, local.map_or_else(|error| error.to_string(), |local| local.to_string()))
    }

    #[test]
    fn ranks_are_those_of_the_launcher() {
        let check = |environment, rank: &str, local: &str| {
            assert_eq!(found(environment), (rank.to_owned(), local.to_owned()), "{environment}");
        };
        check("", "0 of 1", "0");
        check("RANK=0 WORLD_SIZE=1", "0 of 1", "0");
        check("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0", "0 of 1", "0");
        check("RANK=11 WORLD_SIZE=16 LOCAL_RANK=3", "11 of 16", "3");
        check("LOCAL_RANK=0", "0 of 1", "0");
    }

    #[test]
    fn an_environment_of_no_launcher_is_refused() {
        let check = |environment, expected: &str| {
            assert_eq!(found(environment), (expected.to_owned(), expected.to_owned()), "{environment}");
        };
        check("RANK=2 WORLD_SIZE=2", "`RANK` is 2, and must be below `WORLD_SIZE`, which is 2");
        check("RANK=0 WORLD_SIZE=0", "`RANK` is 0, and must be below `WORLD_SIZE`, which is 0");
        check("RANK=-1 WORLD_SIZE=2", "`RANK` is \"-1\", and must be a whole number");
        check("RANK=0 WORLD_SIZE=", "`WORLD_SIZE` is \"\", and must be a whole number");
        check(
            "RANK=0 LOCAL_RANK=0",
            "`RANK` is set and `WORLD_SIZE` is not: a launcher sets both; unset `RANK` for a single process",
        );
        check(
            "WORLD_SIZE=2",
            "`WORLD_SIZE` is set and `RANK` is not: a launcher sets both; unset `WORLD_SIZE` for a single process",
        );
    }

    #[test]
    fn a_local_rank_that_names_no_device_is_refused() {
        let check = |environment, expected: &str| assert_eq!(found(environment).1, expected, "{environment}");
        check("LOCAL_RANK=1", "`LOCAL_RANK` is 1, and must be below `WORLD_SIZE`, which is 1");
        check("RANK=0 WORLD_SIZE=2 LOCAL_RANK=x", "`LOCAL_RANK` is \"x\", and must be a whole number");
        check(
            "RANK=0 WORLD_SIZE=2",
            "`WORLD_SIZE` is 2, and `LOCAL_RANK` is not set: processes on one machine would share a device; \
             start them with a launcher that sets it, such as torchrun",
        );
    }

    #[test]
    fn the_variables_are_those_of_the_process() {
        let (child, test) = ("REGIMEN_TEST_CHILD", "launcher::tests::the_variables_are_those_of_the_process");
        if env::var_os(child).is_some() {
            assert_eq!((rank().unwrap(), local_rank().unwrap()), (Rank { index: 5, count: 8 }, 1));
            return;
        }
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", test]).env(child, "");
        process.envs([("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")]);
        let told = String::from_utf8(process.output().unwrap().stdout).unwrap();
        assert!(told.contains("test result: ok. 1 passed"), "{told}");
    }
}
