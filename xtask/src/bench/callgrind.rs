//! Instruction counts by callgrind: the same on a busy machine as on an idle one.

use std::process::Command;

use crate::BoxError;

/// Instructions per step: the difference between `long` and `short` steps, in which start-up and
/// exit cancel. `program` returns the command for a number of steps.
pub(crate) fn instructions_per_step(
    [short, long]: [u64; 2],
    program: impl Fn(u64) -> Command,
) -> Result<f64, BoxError> {
    let [few, many] = [instructions(&program(short))?, instructions(&program(long))?];
    Ok((many as f64 - few as f64) / (long - short) as f64)
}

fn instructions(command: &Command) -> Result<u64, BoxError> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(command.get_program()).args(command.get_args());
    // Threads that wait for work spin, and would be counted.
    let output = valgrind.env("RAYON_NUM_THREADS", "1").output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{command:?} under callgrind ended with {}:\n{text}", output.status).into());
    }
    collected(&text).ok_or_else(|| format!("callgrind printed no instruction count:\n{text}").into())
}

/// The number in callgrind's line `==1234== Collected : 56789`.
fn collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_count_is_read_from_what_callgrind_says() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 123456\n"), Some(123_456));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
