//! Where the time of training goes, in words.

use std::time::Duration;

use crate::timer::{Timer, Timing};

/// A share of training that is no computation is named first, with a remedy, from here on.
const WORTH_A_REMEDY: f64 = 0.1;

/// Any share is named from here on.
const WORTH_NAMING: f64 = 0.05;

/// A part of training.
struct Part {
    name: String,
    time: Duration,
    /// What makes it shorter, if it is no computation.
    remedy: Option<String>,
}

/// The time of training, without that of evaluations.
pub(super) fn training(timer: &Timer) -> Duration {
    blocks(timer).filter(|(path, _)| path.len() == 2).map(|(_, timing)| timing.total()).sum()
}

/// Where the time of training goes, and what would help. Empty before the first step.
pub(super) fn sentence(timer: &Timer) -> String {
    let total = training(timer).as_secs_f64();
    let mut parts = parts(timer);
    if !parts.iter().any(|part| part.remedy.is_none() && !part.time.is_zero()) {
        return String::new();
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.time));
    let share = |part: &Part| part.time.as_secs_f64() / total;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let worst = parts.iter().position(|part| part.remedy.is_some());
    let worst = worst.filter(|&at| share(&parts[at]) >= WORTH_A_REMEDY).map(|at| parts.remove(at));
    let (first, separator) = match &worst {
        Some(part) => {
            let remedy = part.remedy.as_deref().unwrap_or_default();
            (format!("{} of training is {}: {remedy}", percent(share(part)), part.name), "; ")
        }
        None => {
            let computation: f64 = parts.iter().filter(|part| part.remedy.is_none()).map(share).sum();
            (format!("{} of training is computation", percent(computation)), ": ")
        }
    };
    let others = parts.iter().filter(|part| share(part) >= WORTH_NAMING);
    let others: Vec<_> = others.map(|part| format!("{} {}", part.name, percent(share(part)))).collect();
    match others.is_empty() {
        true => first,
        false => format!("{first}{separator}{}", others.join(", ")),
    }
}

/// The blocks in training, each with its path: the call, `training`, and so on.
fn blocks(timer: &Timer) -> impl Iterator<Item = (Vec<&str>, Timing<'_>)> {
    let mut path = Vec::new();
    let blocks = timer.timings().map(move |timing| {
        path.truncate(timing.depth());
        path.push(timing.name());
        (path.clone(), timing)
    });
    blocks.filter(|(path, _)| path.get(1) == Some(&"training"))
}

/// The parts of training, over all calls. Those of steps are separate.
fn parts(timer: &Timer) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |name: &str, time: Duration, remedy: Option<&str>| match parts
        .iter_mut()
        .find(|part| part.name == name)
    {
        Some(part) => part.time += time,
        None => {
            parts.push(Part { name: name.to_owned(), time, remedy: remedy.map(str::to_owned) });
        }
    };
    let (mut in_parts, mut steps, mut exchange) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut largest: Option<Timing<'_>> = None;
    for (path, timing) in blocks(timer) {
        let time = timing.total();
        match path[2..] {
            ["fetch" | "open data"] => add("waiting for data", time, Some("more workers, or a prefetch")),
            ["callbacks"] => add("callbacks", time, Some("")),
            ["callbacks", _] if largest.is_none_or(|largest| largest.total() < time) => {
                largest = Some(timing)
            }
            ["saver"] => add("saving", time, Some("fewer saves")),
            ["step"] => steps += time,
            ["step", part] => {
                in_parts += time;
                match part {
                    "transfer" => add("the transfer of batches", time, Some("smaller types, or a prefetch")),
                    part => add(part, time, None),
                }
            }
            ["step", "update", "exchange"] => exchange += time,
            _ => {}
        }
    }
    add("the rest of the step", steps.saturating_sub(in_parts), None);
    if !exchange.is_zero() {
        add("the exchange between ranks", exchange, Some("larger batches, or more steps per update"));
    }
    for part in &mut parts {
        match (&*part.name, largest) {
            ("update", _) => part.time = part.time.saturating_sub(exchange),
            ("the rest of the step", _) if in_parts.is_zero() => {
                "the step of the unit".clone_into(&mut part.name)
            }
            ("callbacks", Some(largest)) => {
                part.remedy = Some(format!("most is `{}`, which may have a lower cadence", largest.name()));
            }
            _ => {}
        }
    }
    parts
}
