//! Restore of a checkpoint with every checksum verified, compared with reading a file of the same
//! bytes. Both are in the page cache, so the disk does not matter.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoints, Which, Writer};
use regimen_bench::{figure, median, rounds};

use crate::{snapshot, write_plainly};

const MEGABYTES: usize = 512;
const ROUNDS: usize = 7;

pub(crate) fn measure(folder: &Path) -> Result<(), BoxError> {
    let (dir, plain) = (folder.join("restore"), folder.join("plain"));
    let snapshot = snapshot(MEGABYTES)?;
    Writer::open(&dir, "bench")?.save(&snapshot)?;
    write_plainly(&snapshot, &plain)?;
    drop(snapshot);
    let mut restore = || {
        let begun = Instant::now();
        let found = Checkpoints::in_dir(&dir).load(Which::Latest)?.ok_or("nothing was saved")?;
        black_box(&found.content);
        Ok(begun.elapsed().as_secs_f64())
    };
    let mut read = || {
        let begun = Instant::now();
        black_box(std::fs::read(&plain)?);
        Ok::<_, BoxError>(begun.elapsed().as_secs_f64())
    };
    let times = rounds(ROUNDS, &mut [&mut restore, &mut read])?;
    let [restored, read] = [0, 1].map(|contestant| median(times[contestant].clone()));
    let case = format!("restore/{MEGABYTES}MB");
    figure(&case, "mb_per_s", MEGABYTES as f64 / restored, "MB/s")?;
    figure(&case, "read_mb_per_s", MEGABYTES as f64 / read, "MB/s")?;
    figure(&case, "ratio_to_read", restored / read, "ratio")?;
    std::fs::remove_dir_all(dir)?;
    std::fs::remove_file(plain)?;
    Ok(())
}
