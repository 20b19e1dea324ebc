//! A durable save, compared with writing and syncing a plain file of the same bytes.

use std::path::Path;
use std::time::Instant;

use regimen::BoxError;
use regimen::checkpoint::{Keep, Writer};
use regimen_bench::{figure, median, rounds};

use crate::{snapshot, write_plainly};

/// Sizes in megabytes, each with its number of rounds.
const SIZES: [(usize, usize); 3] = [(1, 41), (64, 9), (512, 5)];

pub(crate) fn measure(folder: &Path) -> Result<(), BoxError> {
    for (megabytes, n) in SIZES {
        let (mut snapshot, plain) = (snapshot(megabytes)?, folder.join("plain"));
        let mut writer = Writer::open(folder.join(format!("save-{megabytes}")), "bench")?;
        let same = snapshot.clone();
        let mut save = || {
            snapshot.step += 1;
            let begun = Instant::now();
            writer.save(&snapshot)?;
            let seconds = begun.elapsed().as_secs_f64();
            writer.prune(&Keep::all().last(1));
            Ok(seconds)
        };
        let mut write = || {
            let seconds = write_plainly(&same, &plain)?;
            std::fs::remove_file(&plain)?;
            Ok::<_, BoxError>(seconds)
        };
        let times = rounds(n, &mut [&mut save, &mut write])?;
        let [saved, written] = [0, 1].map(|contestant| median(times[contestant].clone()));
        let case = format!("save/{megabytes}MB");
        figure(&case, "ms", 1e3 * saved, "ms")?;
        figure(&case, "plain_fsync_ms", 1e3 * written, "ms")?;
        figure(&case, "extra_ms", 1e3 * (saved - written), "ms")?;
        figure(&case, "ratio_to_plain_fsync", saved / written, "ratio")?;
        drop(writer);
        std::fs::remove_dir_all(folder.join(format!("save-{megabytes}")))?;
    }
    Ok(())
}
