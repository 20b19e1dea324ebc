//! Throughput of the loader in samples per second: pad 2, random crop, normalise to `f32`, batch
//! 64, shuffled.
//!
//! Usage: `loader FOLDER` with the MNIST files, or `loader generate FOLDER` to create files of that
//! shape. The memory moved per second, divided by the machine's copy bandwidth, shows how near the
//! loader comes to the limit.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use regimen::BoxError;
use regimen::data::{At, Data, Epoch, Idx, Loader, indices};
use regimen::random::Random;
use regimen_bench::{figure, median, rounds};

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;
const PADDED: usize = SIDE + 4;
const ROUNDS: usize = 7;
const WORKERS: [usize; 3] = [0, 1, 2];

/// Memory moved per sample: its bytes are read and its numbers written.
const BYTES_PER_SAMPLE: usize = PIXELS + PIXELS * size_of::<f32>();

fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["generate", folder] => generate(Path::new(folder)),
        [folder] => measure(Path::new(folder)),
        _ => Err("usage: loader FOLDER, or loader generate FOLDER".into()),
    }
}

/// Writes files of random bytes with the shape of MNIST's training images and labels.
fn generate(folder: &Path) -> Result<(), BoxError> {
    let count = 60_000_u32;
    let mut random = Random::new(42);
    let mut bytes = |head: &[u8], length: usize| {
        let tail = (0..length.div_ceil(8)).flat_map(|_| random.bits().to_le_bytes());
        head.iter().copied().chain(tail.take(length)).collect::<Vec<u8>>()
    };
    let [a, b, c, d] = count.to_be_bytes();
    let images = bytes(&[0, 0, 8, 3, a, b, c, d, 0, 0, 0, 28, 0, 0, 0, 28], count as usize * PIXELS);
    let labels = bytes(&[0, 0, 8, 1, a, b, c, d], count as usize);
    std::fs::write(folder.join("images-idx3-ubyte"), images)?;
    std::fs::write(folder.join("labels-idx1-ubyte"), labels)?;
    Ok(())
}

fn measure(folder: &Path) -> Result<(), BoxError> {
    let images = Idx::open(found(folder, "images-idx3-ubyte")?)?.arrays::<PIXELS>()?;
    let labels = Idx::open(found(folder, "labels-idx1-ubyte")?)?.into_values();
    let digits = Arc::new((images, labels));
    let loaders = WORKERS.map(|workers| loader(digits.clone(), workers));
    let mut passes = loaders.iter().map(|loader| || samples_per_second(loader)).collect::<Vec<_>>();
    let mut contestants: Vec<_> = passes.iter_mut().map(|pass| pass as &mut dyn FnMut() -> _).collect();
    for (workers, rates) in WORKERS.into_iter().zip(rounds(ROUNDS, &mut contestants)?) {
        let case = format!("regimen/workers={workers}");
        let rate = median(rates);
        let bandwidth = copied_per_second(workers.max(1));
        figure(&case, "samples_per_s", rate, "samples/s")?;
        figure(&case, "bandwidth_share", rate * BYTES_PER_SAMPLE as f64 / bandwidth, "ratio")?;
    }
    let seeks = rounds(ROUNDS, &mut [&mut || seek(1_000_000_000)])?.swap_remove(0);
    figure("seek/1e9", "seconds", median(seeks), "s")?;
    Ok(())
}

/// The file in `folder` whose name ends in `ending`, compressed or not.
fn found(folder: &Path, ending: &str) -> Result<std::path::PathBuf, BoxError> {
    let mut files = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(|file| file.file_name());
    let named = |name: &str| name.strip_suffix(".gz").unwrap_or(name).ends_with(ending);
    let file = files.iter().find(|file| named(&file.file_name().to_string_lossy()));
    Ok(file.ok_or_else(|| format!("no file in {} ends in {ending}", folder.display()))?.path())
}

struct Digits {
    images: Vec<f32>,
    labels: Vec<u8>,
}

/// A loader without copies: samples are read in place and written to the batch.
fn loader(digits: Arc<(Vec<[u8; PIXELS]>, Vec<u8>)>, workers: usize) -> Loader<Digits> {
    Loader::collate_into(
        indices(digits.0.len()),
        |samples| Digits {
            images: Vec::with_capacity(samples * PIXELS),
            labels: Vec::with_capacity(samples),
        },
        move |batch, index, random| {
            let (images, labels) = &*digits;
            cropped(&images[index], random, &mut batch.images);
            batch.labels.push(labels[index]);
            Ok(())
        },
    )
    .batch_size(64)
    .shuffle()
    .workers(workers)
}

/// Appends `image`, padded by 2 on each side, randomly cropped to its size, and normalised.
fn cropped(image: &[u8; PIXELS], random: &mut Random, images: &mut Vec<f32>) {
    let mut padded = [[0; PADDED]; PADDED];
    for (row, pixels) in padded[2..].iter_mut().zip(image.as_chunks::<SIDE>().0) {
        row[2..][..SIDE].copy_from_slice(pixels);
    }
    let (top, left) = (random.below(5) as usize, random.below(5) as usize);
    for row in &padded[top..][..SIDE] {
        if let Some(pixels) = row[left..].first_chunk::<SIDE>() {
            images.extend_from_slice(&pixels.map(|pixel| f32::from(pixel) * SCALE - SHIFT));
        }
    }
}

const SCALE: f32 = 1.0 / (255.0 * 0.3081);
const SHIFT: f32 = 0.1307 / 0.3081;

fn samples_per_second(data: &impl Data<Batch = Digits>) -> Result<f64, BoxError> {
    let begun = Instant::now();
    let mut epoch = data.epoch(At::epoch(0, 42))?;
    let mut samples = 0;
    while let Some(fetched) = epoch.next() {
        let batch = black_box(fetched?.batch);
        samples += batch.labels.len();
        black_box(batch.images);
    }
    Ok(samples as f64 / begun.elapsed().as_secs_f64())
}

/// Bytes read and written per second by `threads` that copy buffers larger than their caches.
fn copied_per_second(threads: usize) -> f64 {
    const BYTES: usize = 256 << 20;
    let copy = || {
        let (from, mut to) = (vec![1_u8; BYTES], vec![0_u8; BYTES]);
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let begun = Instant::now();
            to.copy_from_slice(black_box(&from));
            black_box(&to);
            best = best.min(begun.elapsed().as_secs_f64());
        }
        2.0 * BYTES as f64 / best
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(copy)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

/// Seconds to start a shuffled epoch at batch `number` and to return that batch.
fn seek(number: u64) -> Result<f64, BoxError> {
    let loader = Loader::new(indices(100_000_000_000)).batch_size(64).shuffle();
    let begun = Instant::now();
    let mut epoch = loader.epoch(At::epoch(7, 42).skip(number))?;
    black_box(epoch.next().ok_or("the epoch has no such batch")??.batch);
    Ok(begun.elapsed().as_secs_f64())
}
